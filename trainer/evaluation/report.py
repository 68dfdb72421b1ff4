"""The figures of `evaluate` and `live_catalogue` as text, 105 columns wide."""

import itertools

import numpy as np

from trainer.evaluation.floors import PCA, RANDOM, RAW_PIXELS
from trainer.evaluation.measures import MEASURES, RECALL_LEVELS
from trainer.evaluation.views import BY_ROW, CODES, EMBEDDING, OUTPUTS

WIDTH = 42
"""Of the names at the left."""

SHORT_NAMES = {
    CODES: "codes",
    BY_ROW: "by row",
    OUTPUTS: "outputs",
    EMBEDDING: "embedding",
    RAW_PIXELS: "pixels",
    PCA: "PCA",
    RANDOM: "random",
}


def report(result: dict) -> str:
    """The figures as tables, those per class first."""
    k, rows = result["k"], result["retrieval"]
    sections = [_per_class(result["first_row"], rows[result["first_row"]], k), _of_codes(result)]
    if "model" in result:
        first = rows[result["first_row"]]
        sections += [
            _by_other_means(result["first_row"], first, k),
            _compact(rows, k),
            _gains(result["gain_of_order_in_ties"], k),
            _precision_at_recall(result["first_row"], first),
            _another_picture(result["another_picture"], k),
            _histogram(result["first_row"], result["distances"]),
            _codes(result["codes"]),
        ]
    if "service" in result:
        sections.append(_service(result["service"], k))
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _title(result: dict) -> str:
    if "service" in result:
        versions = ", ".join(result["service"]["index_versions"])
        return f"{result['service']['url']}, index version {versions}"
    return f"{result['model']['name']} ({result['model']['sha256'][:12]}…)"


def _names(k: int, measures: dict | tuple = MEASURES) -> list[str]:
    words = {
        "precision_at_k": f"P@{k}",
        "recall_at_k": f"R@{k}",
        "map_at_k": f"mAP@{k}",
        "map": "mAP@all",
    }
    return [words[name] for name in MEASURES if name in measures]


def _heading(title: str, names: list[str], width: int) -> str:
    return f"{title:{WIDTH}}{'queries':>8}{'gallery':>8}" + "".join(f"{n:>{width}}" for n in names)


def _line(name: str, figures: dict | str) -> str:
    if isinstance(figures, str):
        return f"  {name:{WIDTH - 2}}  {figures}"
    values = "".join(
        f"{figures['micro'][m]:8.3f}{figures['macro'][m]:6.3f}" for m in figures["micro"]
    )
    return f"  {name:{WIDTH - 2}}{figures['queries']:8,}{figures['gallery']:8,}{values}"


def _of_codes(result: dict) -> list[str]:
    rows = result["retrieval"]
    known = [row[CODES] for row in rows.values() if isinstance(row, dict)]
    return [
        f"{_title(result)}; two numbers: mean over queries, mean over classes",
        _heading("", _names(result["k"], known[0]["micro"] if known else ()), 14),
        *(_line(name, row if isinstance(row, str) else row[CODES]) for name, row in rows.items()),
    ]


def _by_other_means(name: str, views: dict, k: int) -> list[str]:
    return [
        _heading(f"{name}, by other means", _names(k), 14),
        *(_line(view, figures) for view, figures in views.items()),
    ]


def _compact(rows: dict, k: int) -> list[str]:
    """Every row by every view, one measure at a time."""
    lines = []
    for measure, words in (("precision_at_k", f"P@{k}"), ("map", "mAP@all")):
        heading = "".join(f"{short:>10}" for short in SHORT_NAMES.values())
        lines.append(f"{words + ', mean over queries':{WIDTH}}{heading}")
        for name, views in rows.items():
            if isinstance(views, dict):
                values = [views.get(view) for view in SHORT_NAMES]
                known = [f"{v['micro'][measure]:10.3f}" if isinstance(v, dict) else f"{'-':>10}"
                         for v in values]  # fmt: skip
                lines.append(f"  {name:{WIDTH - 2}}{''.join(known)}")
    return lines


def _gains(gains: dict, k: int) -> list[str]:
    def line(name: str, gain: dict) -> str:
        values = (f"{gain['micro'][m]:+8.4f}{gain['macro'][m]:+8.4f}" for m in MEASURES)
        return f"  {name:{WIDTH - 2}}{''.join(values)}"

    heading = "".join(f"{name:>16}" for name in _names(k))
    return [
        f"{'gain of the order among equal distances':{WIDTH}}{heading}",
        *(line(name, gain) for name, gain in gains.items()),
    ]


def _precision_at_recall(name: str, views: dict) -> list[str]:
    levels = np.arange(10, 101, 10)
    at = [int(np.abs(RECALL_LEVELS * 100 - level).argmin()) for level in levels]
    return [
        f"{name + ', precision at recall':{WIDTH}}" + "".join(f"{n:5} %" for n in levels),
        *(
            f"  {view:{WIDTH - 2}}" + "".join(f"{row['precision_at_recall'][i]:7.3f}" for i in at)
            for view, row in views.items()
            if isinstance(row, dict)
        ),
    ]


def _per_class(title: str, views: dict | str, k: int) -> list[str]:
    if isinstance(views, str):
        return []
    figures = views[CODES]
    by_size = sorted(figures["per_class"].items(), key=lambda item: -item[1]["queries"])
    return [
        _heading(title, _names(k, figures["micro"]), 9),
        *(
            f"  {name:{WIDTH - 2}}{own['queries']:8,}{own['relevant']:8,}"
            + "".join(f"{own[m]:9.3f}" for m in figures["micro"])
            for name, own in by_size
        ),
    ]


def _another_picture(table: dict, k: int) -> list[str]:
    degrees = list(table)
    queries = next(iter(table[degrees[0]].values()))["queries"]

    def line(view: str) -> str:
        cells = [table[degree][view] for degree in degrees]
        if isinstance(cells[0], str):
            return f"  {view:{WIDTH - 2}}  {cells[0]}"
        values = (f"{c['recall_at_1']:14.3f}{c['recall_at_k']:12.3f}" for c in cells)
        return f"  {view:{WIDTH - 2}}{''.join(values)}"

    names = f"{'recall@1':>14}{f'recall@{k}':>12}" * len(degrees)
    return [
        f"{f'another picture, {queries:,} queries':{WIDTH}}"
        + "".join(f"{degree:>26}" for degree in degrees),
        f"{'':{WIDTH}}{names}",
        *(line(view) for view in table[degrees[0]]),
    ]


def _histogram(name: str, histograms: dict) -> list[str]:
    """Shares of the pairs in bins of four distances, 0 by itself."""
    edges = [0, *range(1, 65, 4), 65]
    bins = list(itertools.pairwise(edges))
    lines = [f"{name}, pairs by Hamming distance, %"]
    lines.append(f"{'':15}" + "".join(f"{low if low == high - 1 else f'-{high - 1}':>6}"
                                      for low, high in bins))  # fmt: skip
    for kind, words in (("matching", "matching"), ("non_matching", "not matching")):
        counts = np.array(histograms[name][kind])
        shares = [counts[low:high].sum() / max(1, counts.sum()) * 100 for low, high in bins]
        lines.append(f"  {words:13}" + "".join(f"{share:6.1f}" for share in shares))
    return lines


def _codes(table: dict) -> list[str]:
    lines = []
    for source, codes in table.items():
        bits = codes["bits"]
        name, worst = max(codes["by_class"].items(), key=lambda item: item[1]["largest_bucket"])
        lines += [
            f"{source}: {codes['distinct']:,} distinct codes of {codes['rows']:,} "
            f"({codes['distinct_share']:.1%}), largest bucket {codes['largest_bucket']}; within "
            f"one class at most {worst['largest_bucket']} ({name}, {worst['distinct']:,} distinct "
            f"of {worst['rows']:,})",
            f"  bits: share of ones worst {bits['balance_worst_share']:.3f}, mean deviation from "
            f"0.5 {bits['balance_mean_deviation']:.3f}; entropy mean {bits['entropy_mean']:.3f}, "
            f"lowest {bits['entropy_lowest']:.3f} bits; correlation mean "
            f"{bits['correlation_mean']:.3f}, largest {bits['correlation_largest']:.3f}",
        ]
    return lines


def _service(service: dict, k: int) -> list[str]:
    versions, left_out = service["index_versions"], service["not_answered"]
    latency = service["latency_ms"]
    lines = [
        f"{service['answered']:,} queries answered, {service['at_a_time']} at a time: median "
        f"{latency['median']:.1f} ms, 95 % within {latency['p95']:.1f} ms",
        f"own picture among the results at distance 0: {service['own_picture_at_distance_0']:.1%} "
        "of the queries",
    ]
    if len(versions) > 1:
        counted = ", ".join(f"{version}: {count:,}" for version, count in versions.items())
        lines.append(f"the index version changed while this was measured ({counted})")
    if left_out["queries"]:
        lines.append(f"{left_out['queries']:,} not answered; the first: {left_out['first_reason']}")
    if service["results_without_label"]:
        lines.append(
            f"{service['results_without_label']:,} of {service['results']:,} results passed over: "
            f"{service['pictures_without_label']:,} pictures have no label, the first is "
            f"{service['first_without_label']!r}"
        )
    if service["short_of_k"]:
        lines.append(
            f"{service['short_of_k']:,} queries have fewer than {k} labelled results; the missing "
            "ones count as wrong"
        )
    return lines
