"""The figures of `trainer.evaluate` as plots.  Colours: Okabe and Ito's, told apart by everyone."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from hashing.codes import CODE_BITS
from trainer.measures import RECALL_LEVELS

BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#777777"
)  # fmt: skip
STYLES = [(BLUE, "-"), (SKY, "--"), (GREEN, "-."), (ORANGE, "-"), (PURPLE, "--"), (GREY, ":")]


def precision_recall(result: dict) -> Figure:
    """Interpolated precision-recall curves on article type: codes, their ceilings, floors."""
    rows = {"codes": result["labels"]["article type"], **result["article_type"]}
    curves = {name: row for name, row in rows.items() if not isinstance(row, str)}
    figure, axes = _figure(7.5, 5.6)
    for (name, row), (colour, line) in zip(curves.items(), STYLES, strict=False):
        axes.plot(
            RECALL_LEVELS * 100,
            np.array(row["precision_at_recall"]) * 100,
            line,
            color=colour,
            linewidth=2.4 if name == "codes" else 1.6,
            label=f"{name} (mAP {row['micro']['map']:.3f})",
        )
    axes.set(
        xlim=(0, 100),
        ylim=(0, 100),
        xlabel="recall: share of the type's pictures found, %",
        ylabel="precision: share of the found that are right, %",
        title=_title(result, "precision and recall by article type"),
    )
    sizes = f"{rows['codes']['queries']:,} queries in {rows['codes']['gallery']:,} products"
    figure.legend(title=sizes, frameon=False, fontsize=9, ncols=2, loc="outside lower center")
    return figure


def distances(result: dict) -> Figure:
    """Hamming distances of pairs with the same article type and of the others."""
    histogram = result["distances"]["article type"]
    figure, axes = _figure(7.5, 4.2)
    kinds = [
        ("matching", "same article type", BLUE, "-"),
        ("non_matching", "different article types", ORANGE, "--"),
    ]
    for kind, words, colour, line in kinds:
        counts = np.array(histogram[kind])
        shares = counts / max(1, counts.sum()) * 100
        mean = counts @ np.arange(CODE_BITS + 1) / max(1, counts.sum())
        edges = np.arange(CODE_BITS + 2) - 0.5
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        label = f"{words}: {_count(counts.sum())} pairs, mean {mean:.1f} bits"
        axes.stairs(shares, edges, color=colour, linestyle=line, linewidth=1.8, label=label)
    axes.set(
        xlim=(-0.5, CODE_BITS + 0.5),
        xticks=range(0, CODE_BITS + 1, 8),
        xlabel=f"Hamming distance of a query's and a gallery picture's code, of {CODE_BITS} bits",
        ylabel="share of the pairs of its kind, %",
        title=_title(result, "how far codes are apart"),
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)  # room for the legend above the curves
    axes.legend(framealpha=1, edgecolor="none", fontsize=9, loc="upper left")
    return figure


def bits(result: dict) -> Figure:
    """Share of ones of every bit, and the correlation of every two."""
    measures = result["codes"]["bits"]
    ones = np.array(measures["share_of_ones"]) * 100
    correlation = np.abs(np.array(measures["correlation"]))
    np.fill_diagonal(correlation, np.nan)
    figure = Figure(figsize=(11, 4.8), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _clean(left)
    left.axhline(50, color=GREY, linestyle="--", linewidth=1.2, label="balanced: 50 %")
    left.vlines(range(CODE_BITS), 50, ones, color=BLUE, linewidth=1.2)
    left.plot(range(CODE_BITS), ones, "o", color=BLUE, markersize=4, label="one bit")
    left.set(
        xlim=(-1, CODE_BITS),
        ylim=(0, 100),
        xticks=range(0, CODE_BITS, 8),
        xlabel="bit",
        ylabel="products whose bit is 1, %",
        title=f"balance: worst {measures['balance_worst_share'] * 100:.1f} %, "
        f"entropy {measures['entropy_mean']:.3f} bits on average",
    )
    left.legend(frameon=False, fontsize=9)
    image = right.imshow(correlation, cmap="cividis", vmin=0, vmax=1)
    right.set(
        xticks=range(0, CODE_BITS, 8),
        yticks=range(0, CODE_BITS, 8),
        xlabel="bit",
        ylabel="bit",
        title=f"correlation: mean {measures['correlation_mean']:.2f}, "
        f"largest {measures['correlation_largest']:.2f}",
    )
    figure.colorbar(image, ax=right, label="|Pearson's correlation| of two bits")
    figure.suptitle(_title(result, f"bits of the codes of {result['codes']['rows']:,} products"))
    return figure


def per_class(result: dict) -> Figure:
    """Precision@k of every article type, beside that of the floor that sees it best: raw pixels."""
    k, ours = result["k"], result["labels"]["article type"]
    floor_name = next(name for name in result["article_type"] if name.startswith("raw pixels"))
    floor = result["article_type"][floor_name]
    names = sorted(ours["per_class"], key=lambda name: ours["per_class"][name]["precision_at_k"])
    codes, pixels = (
        np.array([row["per_class"][name]["precision_at_k"] for name in names]) * 100
        for row in (ours, floor)
    )
    figure, axes = _figure(8, 1.6 + 0.19 * len(names))
    places = np.arange(len(names))
    axes.hlines(places, np.minimum(codes, pixels), np.maximum(codes, pixels), "#bbbbbb", zorder=1)
    axes.plot(pixels, places, "D", color=ORANGE, markersize=4, label=floor_name)
    axes.plot(codes, places, "o", color=BLUE, markersize=6, label="codes")
    axes.set_yticks(
        places, [f"{name} ({ours['per_class'][name]['queries']})" for name in names], fontsize=8
    )
    axes.set(
        xlim=(-2, 102),
        ylim=(-1, len(names)),
        xlabel=f"precision@{k}: share of the first {k} results of the query's article type, %",
        ylabel="article type (number of queries)",
        title=_title(result, f"precision@{k} by article type"),
    )
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=True, fontsize=9, loc="lower right")
    return figure


PLOTS: dict[str, Callable[[dict], Figure]] = {
    "precision_recall.png": precision_recall,
    "distances.png": distances,
    "bits.png": bits,
    "per_class.png": per_class,
}
"""File name -> the function that draws it from a result of `trainer.evaluate`."""


def _figure(width: float, height: float):
    """A figure of that many inches, drawn without a window system."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    _clean(axes)
    return figure, axes


def _clean(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def _title(result: dict, words: str) -> str:
    return f"{result['model']['name']}: {words}"


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
