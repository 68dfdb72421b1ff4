"""Whether a fitted model helps: figures of it beside those of another, most without a label."""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BITS, pack
from hashing.model import Model
from indexer.tried import milliseconds
from searcher.hubs import hub_share
from trainer.evaluation.bits import bit_measures, bucket_measures
from trainer.evaluation.distances import Distances, by_rank
from trainer.evaluation.measures import in_batches
from trainer.fit.seen import FitError

QUERIES = 1000
"""Pictures that are asked for with themselves left out, at most."""
K = 10
FEWEST_LABELLED = 20
UNFAMILIAR = 0.61
"""Strength of outputs below which a catalogue is not what a model was made from: measured with the
shipped one 1.12 on photographs of its training, 0.78 on other pictures of clothes, 0.48 on
CIFAR-10."""
CLEAR_GAIN = 0.1


@dataclasses.dataclass(frozen=True)
class Helps:
    """Figures of one model on the sample of a catalogue; shares are 0 to 1."""

    name: str
    found_first: float
    """Changed pictures whose first hit in the sample is their own."""
    found_first_fine: float | None
    """The same by rank `fine`; None of a model without a longer code."""
    found_in_10: float
    uneven_bit: float
    """Share of the commoner value of the bit where that is most; 0.5 is even."""
    distinct: float
    """Codes that differ, of the pictures."""
    largest_bucket: int
    """Pictures that share one code."""
    hubs: float
    """Pictures whose nearest other one is among the five that most have."""
    strength: float
    """Mean square of the 64 outputs: 1 on the pictures that the model was made from, by the batch
    norm behind them, and the less, the less it finds of what it knows."""
    milliseconds: float
    """The model takes for a picture, on one core."""
    precision: float | None
    """Of the first ten by the labels; None without any."""
    precision_fine: float | None

    @property
    def best_found(self) -> float:
        """Changed pictures found first, by the better rank."""
        return max(self.found_first, self.found_first_fine or 0.0)


def helps(
    model: Model,
    outputs: np.ndarray,
    changed: np.ndarray,
    labels: np.ndarray | None,
) -> Helps:
    """outputs: of the sample, float32 [n, o].  changed: of its first q pictures with each change,
    float32 [q, c, o].  labels: str [n], "" where not known."""
    codes, sidecar = pack(outputs[:, :CODE_BITS]), model.sidecar
    bits, buckets = bit_measures(codes), bucket_measures(codes)
    own = np.repeat(np.arange(len(changed)), changed.shape[1])
    asked = changed.reshape(len(own), -1)
    ranks = _ranks(by_rank(asked, pack(outputs)), own)
    fine = None
    if sidecar.fine_bits:
        fine = _ranks(by_rank(asked, pack(outputs), sidecar.rank_weight), own)
    rows = np.arange(min(QUERIES, len(outputs)))
    worst = bits.balance_worst_share
    return Helps(
        name=sidecar.name,
        found_first=float((ranks == 0).mean()),
        found_first_fine=None if fine is None else float((fine == 0).mean()),
        found_in_10=float((ranks < K).mean()),
        uneven_bit=max(worst, 1 - worst),
        distinct=buckets.distinct_share,
        largest_bucket=buckets.largest_bucket,
        hubs=hub_share(_nearest(by_rank(outputs[rows], pack(outputs)), rows, 1)[:, 0]),
        strength=float(np.square(outputs[:, :CODE_BITS]).mean()),
        milliseconds=milliseconds(model),
        precision=None if labels is None else precision(outputs, labels),
        precision_fine=None
        if labels is None or not sidecar.fine_bits
        else precision(outputs, labels, sidecar.rank_weight),
    )


def precision(outputs: np.ndarray, labels: np.ndarray, weight: float | None = None) -> float:
    """Precision@10 of labelled pictures among the others: float32 [n, o], str [n], "" where not
    known.  weight: of rank `fine`; None for rank `distance`."""
    known = np.flatnonzero(labels != "")
    outputs, labels = outputs[known], labels[known]
    rows = np.arange(min(QUERIES, len(known)))
    found = _nearest(by_rank(outputs[rows], pack(outputs), weight), rows, K)
    return float((labels[found] == labels[rows, None]).mean())


def read_labels(path: Path, paths: list[str]) -> np.ndarray:
    """Labels of the pictures `paths`, str [n], "" where the CSV file (columns `path`, spelled as in
    the catalogue, and `label`) has none.  Raises FitError."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.DictReader(file)
            if not {"path", "label"} <= set(table.fieldnames or ()):
                raise FitError(f"{path} must have the columns path and label")
            by_path = {row["path"]: row["label"] or "" for row in table}
    except (OSError, csv.Error) as error:
        raise FitError(f"{path} cannot be read: {error}") from error
    labels = np.array([by_path.get(one, "") for one in paths])
    if (count := int((labels != "").sum())) < FEWEST_LABELLED:
        raise FitError(
            f"{path} has labels of {count} of the {len(paths)} pictures that were looked at; "
            f"{FEWEST_LABELLED} are needed, their paths spelled as in the catalogue "
            f"({paths[0]})"
        )
    return labels


def table(ours: Helps, theirs: Helps) -> str:
    """Both side by side."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    lines = [("", ours.name, theirs.name)]
    for words, how, name in (
        ("changed pictures found first", percent, "found_first"),
        ("  by rank fine", percent, "found_first_fine"),
        ("  among the first ten", percent, "found_in_10"),
        ("most uneven bit", percent, "uneven_bit"),
        ("distinct codes", percent, "distinct"),
        ("largest bucket", str, "largest_bucket"),
        ("nearest is one of five hubs", percent, "hubs"),
        ("strength of the outputs", "{:.2f}".format, "strength"),
        ("model, ms a picture", "{:.1f}".format, "milliseconds"),
        ("precision@10 by label", share, "precision"),
        ("  by rank fine", share, "precision_fine"),
    ):
        values = [getattr(one, name) for one in (ours, theirs)]
        if values != [None, None]:
            lines.append((words, how(values[0]), how(values[1])))
    widths = [max(14, len(name) + 2) for name in (ours.name, theirs.name)]
    return "\n".join(f"{a:30}{b:>{widths[0]}}{c:>{widths[1]}}" for a, b, c in lines)


def advice(ours: Helps, theirs: Helps) -> str:
    """One sentence: which of both to take, and by what.

    By labels where there are any.  Without, the other model stays where its outputs say that it was
    made from pictures like these: such a model knows what changed pictures cannot tell of, which
    ones are of a kind.
    """
    if ours.precision is not None and theirs.precision is not None:
        best, other = sorted((ours, theirs), key=lambda one: one.precision or 0, reverse=True)
        return (
            f"Take {best.name}: by the labels {best.precision:.3f} of its first ten are right, of "
            f"those of {other.name} {other.precision:.3f}."
        )
    if theirs.strength < UNFAMILIAR:
        return (
            f"Take {ours.name}: {theirs.name} was made from other pictures than these (strength of "
            f"its outputs {theirs.strength:.2f}, 1 is as on its own)."
        )
    gain = ours.best_found - theirs.best_found
    if gain > CLEAR_GAIN:
        return (
            f"Take {ours.name}: {100 * gain:.0f} % more of the changed pictures find themselves "
            f"than by {theirs.name}."
        )
    return (
        f"Keep {theirs.name}: it was made from pictures like these (strength of its outputs "
        f"{theirs.strength:.2f}, 1 is as on its own), and changed ones find themselves."
    )


def _ranks(distances: Distances, own: np.ndarray) -> np.ndarray:
    """How many rows come before each query's own: int [q]."""

    def before(rows: slice) -> np.ndarray:
        places = distances(rows)
        return (places < np.take_along_axis(places, own[rows, None], axis=1)).sum(axis=1)

    return np.concatenate(in_batches(before, len(own)))


def _nearest(distances: Distances, rows: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of each of the first rows but itself: int [q, k]."""

    def nearest(some: slice) -> np.ndarray:
        order = np.argsort(distances(some), axis=1, kind="stable")[:, : k + 1]
        others = np.argsort(order == rows[some, None], axis=1, kind="stable")  # itself last
        return np.take_along_axis(order, others, axis=1)[:, :k]

    return np.concatenate(in_batches(nearest, len(rows)))
