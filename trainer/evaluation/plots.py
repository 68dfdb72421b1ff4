"""The figures of `trainer.evaluation.evaluate` and `trainer.evaluation.live_catalogue` as plots.

Colours: Okabe and Ito's, told apart by everyone.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashing.codes import CODE_BITS
from trainer.evaluation.figures import Evaluation, LiveEvaluation
from trainer.evaluation.floors import PCA, RANDOM, RAW_PIXELS
from trainer.evaluation.measures import RECALL_LEVELS
from trainer.evaluation.views import CODES, EMBEDDING, FINE, OUTPUTS

BLUE, ORANGE, GREEN, PURPLE, SKY, GREY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#777777", "#000000"
)  # fmt: skip
STYLES = {
    CODES: (BLUE, "-"),
    FINE: (BLACK, "-"),
    OUTPUTS: (SKY, "--"),
    EMBEDDING: (GREEN, "-."),
    RAW_PIXELS: (ORANGE, "-"),
    PCA: (PURPLE, "--"),
    RANDOM: (GREY, ":"),
}
"""How the curve of each view is drawn."""


def precision_recall(result: Evaluation) -> Figure:
    """Interpolated precision-recall curves of the first row: codes, their ceilings, floors."""
    name, views = result.first_row, result.retrieval[result.first_row]
    figure, axes = _figure(7.5, 5.6)
    for view, (colour, line) in STYLES.items():
        if (row := views.get(view)) is None:
            continue
        axes.plot(
            RECALL_LEVELS * 100,
            np.array(row.precision_at_recall) * 100,
            line,
            color=colour,
            linewidth=2.4 if view == CODES else 1.6,
            label=f"{view} (mAP {row.micro['map']:.3f})",
        )
    axes.set(
        xlim=(0, 100),
        ylim=(0, 100),
        xlabel="recall: share of the right pictures found, %",
        ylabel="precision: share of the found that are right, %",
        title=_title(result, f"precision and recall, {name}"),
    )
    sizes = f"{views[CODES].queries:,} queries in {views[CODES].gallery:,} pictures"
    figure.legend(title=sizes, frameon=False, fontsize=9, ncols=2, loc="outside lower center")
    return figure


def distances(result: Evaluation) -> Figure:
    """Hamming distances of pairs with the same first label and of the others."""
    name = result.first_row
    histogram = result.distances[name]
    figure, axes = _figure(7.5, 4.2)
    kinds = [
        (histogram.matching, "matching", BLUE, "-"),
        (histogram.non_matching, "not matching", ORANGE, "--"),
    ]
    for pairs, words, colour, line in kinds:
        counts = np.array(pairs)
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
        title=_title(result, f"how far codes are apart, {name}"),
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)  # room for the legend above the curves
    axes.legend(framealpha=1, edgecolor="none", fontsize=9, loc="upper left")
    return figure


def bits(result: Evaluation) -> Figure:
    """Share of ones of every bit, and the correlation of every two, in the first source."""
    source, codes = next(iter(result.codes.items()))
    measures = codes.bits
    ones = np.array(measures.share_of_ones) * 100
    correlation = np.abs(np.array(measures.correlation))
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
        ylabel="pictures whose bit is 1, %",
        title=f"balance: worst {measures.balance_worst_share * 100:.1f} %, "
        f"entropy {measures.entropy_mean:.3f} bits on average",
    )
    left.legend(frameon=False, fontsize=9)
    image = right.imshow(correlation, cmap="cividis", vmin=0, vmax=1)
    right.set(
        xticks=range(0, CODE_BITS, 8),
        yticks=range(0, CODE_BITS, 8),
        xlabel="bit",
        ylabel="bit",
        title=f"correlation: mean {measures.correlation_mean:.2f}, "
        f"largest {measures.correlation_largest:.2f}",
    )
    figure.colorbar(image, ax=right, label="|Pearson's correlation| of two bits")
    figure.suptitle(_title(result, f"bits of the codes of {codes.rows:,} {source}"))
    return figure


def per_class(result: Evaluation | LiveEvaluation) -> Figure:
    """Precision@k of every class, beside that of the floor that sees it best, raw pixels, where it
    was measured."""
    k, views = result.k, result.retrieval[result.first_row]
    ours = views[CODES].per_class
    names = sorted(ours, key=lambda name: ours[name]["precision_at_k"])
    places = np.arange(len(names))

    def shares(view: str) -> np.ndarray:
        return np.array([views[view].per_class[n]["precision_at_k"] for n in names]) * 100

    figure, axes = _figure(8, 1.6 + 0.19 * len(names))
    codes = shares(CODES)
    if RAW_PIXELS in views:
        floor = shares(RAW_PIXELS)
        axes.hlines(places, np.minimum(codes, floor), np.maximum(codes, floor), "#bbbbbb", zorder=1)
        axes.plot(floor, places, "D", color=ORANGE, markersize=4, label=RAW_PIXELS)
    axes.plot(codes, places, "o", color=BLUE, markersize=6, label=CODES)
    axes.set_yticks(places, [f"{name} ({ours[name]['queries']})" for name in names], fontsize=8)
    axes.set(
        xlim=(-2, 102),
        ylim=(-1, len(names)),
        xlabel=f"precision@{k}: share of the first {k} results with the query's value, %",
        ylabel=f"{result.first_row.split(': ', 1)[1]} (number of queries)",
        title=_title(result, f"precision@{k}, {result.first_row}"),
    )
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=True, fontsize=9, loc="lower right")
    return figure


def plots_of(result: Evaluation | LiveEvaluation) -> dict[str, Figure]:
    """File name -> plot, of all that there is to draw in a result of `evaluate` or
    `live_catalogue`."""
    if not result.retrieval[result.first_row]:
        return {}
    drawn = {"per_class.png": per_class(result)}
    if isinstance(result, Evaluation):
        drawn |= {
            "precision_recall.png": precision_recall(result),
            "distances.png": distances(result),
            "bits.png": bits(result),
        }
    return drawn


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that many inches, drawn without a window system."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    _clean(axes)
    return figure, axes


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def _title(result: Evaluation | LiveEvaluation, words: str) -> str:
    return f"{result.name}: {words}"


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
