"""The picture of `benchmarks/search.py`: time against the number of rows."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only
import matplotlib.pyplot as plt

TITLES = {
    "clustered": "clustered codes",
    "uniform": "uniform codes (worst case)",
    "model": "the model's codes",
}
STYLES = {
    "ours": {"color": "#d1495b", "linewidth": 2.6, "marker": "o", "zorder": 5},
    "ours, unnecessary fast": {"color": "#e39a35", "linewidth": 1.8, "marker": "s", "zorder": 4},
    "FAISS flat": {"color": "#1f5a8c", "linewidth": 1.8, "marker": "D"},
    "FAISS multi-hash": {"color": "#4aa3c7", "linewidth": 1.8, "marker": "v"},
    "numpy": {"color": "#5b8e55", "linewidth": 1.2, "marker": "^"},
    "usearch exact": {"color": "#8a6bb1", "linewidth": 1.2, "marker": "x"},
    "reading the codes": {"color": "#777777", "linewidth": 1.2, "linestyle": ":", "marker": "."},
}


def plot(searches: list[dict], path: Path) -> None:
    """A column for every kind of codes, a row for the smallest and for the largest k; medians, and
    of ours the 99th percentile too.  searches: as in search.json."""
    kinds = [kind for kind in TITLES if any(one["codes"] == kind for one in searches)]
    counts = sorted({one["k"] for one in searches})
    counts = counts if len(counts) == 1 else [counts[0], counts[-1]]
    figure, axes = plt.subplots(
        len(counts),
        len(kinds),
        figsize=(4.3 * len(kinds), 0.9 + 3.5 * len(counts)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, k in zip(axes, counts, strict=True):
        for cell, kind in zip(row, kinds, strict=True):
            _lines(cell, [one for one in searches if (one["codes"], one["k"]) == (kind, k)])
            cell.set_title(f"{TITLES[kind]}, k = {k:,}", fontsize=10, loc="left")
            cell.grid(which="major", color="#dddddd", linewidth=0.6)
            cell.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("milliseconds a query")
    for cell in axes[-1]:
        cell.set_xlabel("rows")
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside upper center", ncols=4, frameon=False, handlelength=3, fontsize=9
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _lines(cell, searches: list[dict]) -> None:
    cell.set(xscale="log", yscale="log")
    for way, style in STYLES.items():
        own = sorted((one for one in searches if one["way"] == way), key=lambda one: one["rows"])
        if not own:
            continue
        rows = [one["rows"] for one in own]
        cell.plot(rows, [one["median_ms"] for one in own], label=way, markersize=5, **style)
        if way == "ours" and all(one["p99_ms"] for one in own):
            cell.plot(
                rows,
                [one["p99_ms"] for one in own],
                color=style["color"],
                linewidth=1.2,
                linestyle="--",
                label="ours, 99th percentile",
            )
