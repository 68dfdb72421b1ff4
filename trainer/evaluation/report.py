"""The figures of `evaluate` and `live_catalogue` as text, 105 columns wide."""

import itertools
from collections.abc import Iterable

import numpy as np

from hashing.nearness import Nearness, Scale
from trainer.evaluation.bits import CodeFigures, Histogram
from trainer.evaluation.figures import (
    NOT_AVAILABLE,
    Evaluation,
    FirstHits,
    LiveEvaluation,
    Recall,
    Retrieval,
    Service,
)
from trainer.evaluation.floors import PCA, RANDOM, RAW_PIXELS
from trainer.evaluation.measures import MEASURES, RECALL_LEVELS, Figures
from trainer.evaluation.views import BY_ROW, CODES, EMBEDDING, FINE, OUTPUTS
from trainer.evaluation.weights import WeightFigures

WIDTH = 42
"""Of the names at the left."""

SHORT_NAMES = {
    CODES: "codes",
    FINE: "fine",
    BY_ROW: "by row",
    OUTPUTS: "outputs",
    EMBEDDING: "float",
    RAW_PIXELS: "pixels",
    PCA: "PCA",
    RANDOM: "random",
}


def report(result: Evaluation | LiveEvaluation) -> str:
    """The figures as tables, those per class first."""
    k, rows, name = result.k, result.retrieval, result.first_row
    sections = [_per_class(name, rows[name], k), _of_codes(result)]
    if isinstance(result, Evaluation):
        sections += [
            _by_other_means(name, rows[name], k),
            _compact(rows, k),
            _gains(result.gain_of_order_in_ties, k),
            _precision_at_recall(name, rows[name]),
            _another_picture(result.another_picture, k),
            _changed_picture(result.changed_picture, k),
            _first_hits(result.first_hits),
            _histogram(name, result.distances[name]),
            _codes(result.codes),
            _weights(result.rank_weights, k),
            _nearness(result.match),
        ]
    else:
        sections.append(_service(result.service, k))
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _weights(weights: dict[str, tuple[WeightFigures, WeightFigures]], k: int) -> list[str]:
    """Rank fine by the weight of the 64-bit code; of two halves of the queries."""
    if not weights:
        return []
    rows = list(next(iter(weights.values()))[0].precision_at_k)
    best = max(weights, key=lambda weight: weights[weight][0].score)

    def line(weight: str, halves: tuple[WeightFigures, WeightFigures]) -> str:
        values = (f"{half.precision_at_k[row]:8.3f}" for row in rows for half in halves)
        found = "".join(f"{half.another_picture_at_1:8.3f}" for half in halves)
        chosen = "  best by the first half" if weight == best else ""
        return f"  {weight:>8}{''.join(values)}{found}{chosen}"

    return [
        f"rank fine by the weight of the 64 bits, each on two halves: P@{k} of {', '.join(rows)}; "
        "another picture first",
        *(line(weight, halves) for weight, halves in weights.items()),
    ]


def _nearness(match: Nearness) -> list[str]:
    """From which value on hits are told to be the same product, and the right type."""

    def line(name: str, scale: Scale) -> str:
        shares = ", ".join(f"{share:.2f} at {value:g}" for value, share in scale.shares[::3])
        near = f"same to {scale.same:g}, alike to {scale.alike:g}"
        return f"  {name:{WIDTH - 2}}  {near}; right type: {shares}"

    scales = {"distance, bits": match.distance, "similarity by both codes": match.similarity}
    return [
        "how near is near",
        *(line(name, scale) for name, scale in scales.items() if scale is not None),
    ]


def _names(k: int, measures: Iterable[str] = MEASURES) -> list[str]:
    words = {
        "precision_at_k": f"P@{k}",
        "recall_at_k": f"R@{k}",
        "map_at_k": f"mAP@{k}",
        "map": "mAP@all",
    }
    return [words[name] for name in MEASURES if name in measures]


def _heading(title: str, names: list[str], width: int) -> str:
    return f"{title:{WIDTH}}{'queries':>8}{'gallery':>8}" + "".join(f"{n:>{width}}" for n in names)


def _line(name: str, figures: Figures | None, otherwise: str) -> str:
    if figures is None:
        return f"  {name:{WIDTH - 2}}  {otherwise}"
    values = "".join(f"{figures.micro[m]:8.3f}{figures.macro[m]:6.3f}" for m in figures.micro)
    return f"  {name:{WIDTH - 2}}{figures.queries:8,}{figures.gallery:8,}{values}"


def _of_codes(result: Evaluation | LiveEvaluation) -> list[str]:
    rows = {name: views.get(CODES) for name, views in result.retrieval.items()}
    measures = next((own.micro for own in rows.values() if own), {})
    return [
        f"{result.title}; two numbers: mean over queries, mean over classes",
        _heading("", _names(result.k, measures), 14),
        *(_line(name, own, result.no_query) for name, own in rows.items()),
    ]


def _by_other_means(name: str, views: dict[str, Figures], k: int) -> list[str]:
    return [
        _heading(f"{name}, by other means", _names(k), 14),
        *(_line(view, views.get(view), NOT_AVAILABLE) for view in {**views, EMBEDDING: None}),
    ]


def _compact(rows: Retrieval, k: int) -> list[str]:
    """Every row by every view, one measure at a time."""
    lines = []
    for measure, words in (("precision_at_k", f"P@{k}"), ("map", "mAP@all")):
        heading = "".join(f"{short:>8}" for short in SHORT_NAMES.values())
        lines.append(f"{words + ', mean over queries':{WIDTH}}{heading}")
        for name, views in rows.items():
            if views:
                known = [views.get(view) for view in SHORT_NAMES]
                values = (f"{v.micro[measure]:8.3f}" if v else f"{'-':>8}" for v in known)
                lines.append(f"  {name:{WIDTH - 2}}{''.join(values)}")
    return lines


def _gains(gains: dict[str, dict[str, dict[str, float]]], k: int) -> list[str]:
    def line(name: str, gain: dict[str, dict[str, float]]) -> str:
        values = (f"{gain['micro'][m]:+8.4f}{gain['macro'][m]:+8.4f}" for m in MEASURES)
        return f"  {name:{WIDTH - 2}}{''.join(values)}"

    heading = "".join(f"{name:>16}" for name in _names(k))
    return [
        f"{'gain of the order among equal distances':{WIDTH}}{heading}",
        *(line(name, gain) for name, gain in gains.items()),
    ]


def _precision_at_recall(name: str, views: dict[str, Figures]) -> list[str]:
    levels = np.arange(10, 101, 10)
    at = [int(np.abs(RECALL_LEVELS * 100 - level).argmin()) for level in levels]
    return [
        f"{name + ', precision at recall':{WIDTH}}" + "".join(f"{n:5} %" for n in levels),
        *(
            f"  {view:{WIDTH - 2}}" + "".join(f"{row.precision_at_recall[i]:7.3f}" for i in at)
            for view, row in views.items()
        ),
    ]


def _per_class(title: str, views: dict[str, Figures], k: int) -> list[str]:
    if not views:
        return []
    figures = views[CODES]
    by_size = sorted(figures.per_class.items(), key=lambda item: -item[1]["queries"])
    return [
        _heading(title, _names(k, figures.micro), 9),
        *(
            f"  {name:{WIDTH - 2}}{own['queries']:8,}{own['relevant']:8,}"
            + "".join(f"{own[m]:9.3f}" for m in figures.micro)
            for name, own in by_size
        ),
    ]


def _another_picture(table: dict[str, dict[str, Recall]], k: int) -> list[str]:
    degrees = list(table)
    first = table[degrees[0]]
    queries = next(iter(first.values())).queries

    def line(view: str) -> str:
        if view not in first:
            return f"  {view:{WIDTH - 2}}  {NOT_AVAILABLE}"
        cells = (table[degree][view] for degree in degrees)
        values = (f"{c.recall_at_1:14.3f}{c.recall_at_k:12.3f}" for c in cells)
        return f"  {view:{WIDTH - 2}}{''.join(values)}"

    names = f"{'recall@1':>14}{f'recall@{k}':>12}" * len(degrees)
    return [
        f"{f'another picture, {queries:,} queries':{WIDTH}}"
        + "".join(f"{degree:>26}" for degree in degrees),
        f"{'':{WIDTH}}{names}",
        *(line(view) for view in {**first, EMBEDDING: None}),
    ]


def _changed_picture(table: dict[str, dict[str, Recall]], k: int) -> list[str]:
    first = next(iter(table.values()))
    one = first[CODES]
    title = f"the same picture changed, {one.queries:,} in {one.gallery:,}"

    def line(change: str, views: dict[str, Recall]) -> str:
        values = (f"{own.recall_at_1:14.3f}{own.recall_at_k:12.3f}" for own in views.values())
        return f"  {change:{WIDTH - 2}}{''.join(values)}"

    return [
        f"{'':{WIDTH}}" + "".join(f"{view:>26}" for view in first),
        f"{title:{WIDTH}}" + f"{'recall@1':>14}{f'recall@{k}':>12}" * len(first),
        *(line(change, views) for change, views in table.items()),
    ]


def _first_hits(table: dict[str, dict[str, FirstHits]]) -> list[str]:
    if not table:
        return []
    first = next(iter(table.values()))

    def line(row: str, views: dict[str, FirstHits]) -> str:
        values = (f"{own.right:14.3f}{own.hubs:12.3f}" for own in views.values())
        return f"  {row:{WIDTH - 2}}{''.join(values)}"

    return [
        f"{'':{WIDTH}}" + "".join(f"{view:>26}" for view in first),
        f"{'first hits, and what five answer':{WIDTH}}" + f"{'right':>14}{'hubs':>12}" * len(first),
        *(line(row, views) for row, views in table.items()),
    ]


def _histogram(name: str, histogram: Histogram) -> list[str]:
    """Shares of the pairs in bins of four distances, 0 by itself."""
    edges = [0, *range(1, 65, 4), 65]
    bins = list(itertools.pairwise(edges))
    lines = [f"{name}, pairs by Hamming distance, %"]
    lines.append(f"{'':15}" + "".join(f"{low if low == high - 1 else f'-{high - 1}':>6}"
                                      for low, high in bins))  # fmt: skip
    kinds = ((histogram.matching, "matching"), (histogram.non_matching, "not matching"))
    for pairs, words in kinds:
        counts = np.array(pairs)
        shares = [counts[low:high].sum() / max(1, counts.sum()) * 100 for low, high in bins]
        lines.append(f"  {words:13}" + "".join(f"{share:6.1f}" for share in shares))
    return lines


def _codes(table: dict[str, CodeFigures]) -> list[str]:
    lines = []
    for source, codes in table.items():
        bits = codes.bits
        name, worst = max(codes.by_class.items(), key=lambda item: item[1].largest_bucket)
        lines += [
            f"{source}: {codes.distinct:,} distinct codes of {codes.rows:,} "
            f"({codes.distinct_share:.1%}), largest bucket {codes.largest_bucket}; within "
            f"one class at most {worst.largest_bucket} ({name}, {worst.distinct:,} distinct "
            f"of {worst.rows:,})",
            f"  bits: share of ones worst {bits.balance_worst_share:.3f}, mean deviation from "
            f"0.5 {bits.balance_mean_deviation:.3f}; entropy mean {bits.entropy_mean:.3f}, "
            f"lowest {bits.entropy_lowest:.3f} bits; correlation mean "
            f"{bits.correlation_mean:.3f}, largest {bits.correlation_largest:.3f}",
        ]
    return lines


def _service(service: Service, k: int) -> list[str]:
    versions, left_out = service.index_versions, service.not_answered
    latency = service.latency_ms
    lines = [
        f"{service.answered:,} queries answered, {service.at_a_time} at a time: median "
        f"{latency.median:.1f} ms, 95 % within {latency.p95:.1f} ms",
        f"own picture among the results at distance 0: {service.own_picture_at_distance_0:.1%} "
        "of the queries",
    ]
    if len(versions) > 1:
        counted = ", ".join(f"{version}: {count:,}" for version, count in versions.items())
        lines.append(f"the index version changed while this was measured ({counted})")
    if left_out.queries:
        lines.append(f"{left_out.queries:,} not answered; the first: {left_out.first_reason}")
    if service.results_without_label:
        lines.append(
            f"{service.results_without_label:,} of {service.results:,} results passed over: "
            f"{service.pictures_without_label:,} pictures have no label, the first is "
            f"{service.first_without_label!r}"
        )
    if service.short_of_k:
        lines.append(
            f"{service.short_of_k:,} queries have fewer than {k} labelled results; the missing "
            "ones count as wrong"
        )
    return lines
