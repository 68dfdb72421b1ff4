"""Measures of rankings and of codes: pure functions of arrays.

A ranking is ordered as the service orders it: by (distance, row).  Formulas are those of Manning,
Raghavan and Schütze, "Introduction to Information Retrieval" (2008), chapter 8, unless another
source is named.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hashing.codes import CODE_BITS, unpack
from hashing.settings import available_cores

MEASURES = ("precision_at_k", "recall_at_k", "map_at_k", "map")
RECALL_LEVELS = np.linspace(0, 1, 101)
BATCH = 32

Distances = Callable[[slice], np.ndarray]
"""Distances of a slice of the queries to every row of the gallery: any number type [b, n]."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Retrieval measures of one kind of query against one gallery, each a dict by MEASURES.

    micro: mean over queries.  macro: mean over the labels' own means.  per_class: by label, its
    means, its number of `queries` and of `relevant` gallery rows.  precision_at_recall: the
    precision-recall curve at RECALL_LEVELS, mean over queries.
    """

    queries: int
    gallery: int
    micro: dict[str, float]
    macro: dict[str, float]
    per_class: dict[str, dict[str, float]]
    precision_at_recall: list[float]


def retrieval(
    distances: Distances, queries: np.ndarray, gallery: np.ndarray, k: int = 10
) -> Figures:
    """Measure a ranking of the whole gallery by labels; a result is relevant that has the query's.

    queries, gallery: labels, str [q] and [n].  Queries with label "" are left out; one whose label
    no row of the gallery has counts with 0 in every measure.  Raises ValueError when no query is
    left.
    """
    known = queries != ""
    if not known.any():
        raise ValueError("no query has a label")
    names, numbers = np.unique(np.concatenate([queries, gallery]), return_inverse=True)
    wanted, there = numbers[: len(queries)], numbers[len(queries) :]

    def measure(rows: slice) -> list[tuple[np.ndarray, np.ndarray]]:
        order = np.argsort(distances(rows), axis=1, kind="stable")
        relevant = there[order] == wanted[rows, None]
        return [(measures_of(row, k), precision_at_recall(row)) for row in relevant]

    measured = [pair for batch in _in_batches(measure, len(queries)) for pair in batch]
    values = np.array([value for value, _ in measured])[known]
    curve = np.mean([curve for _, curve in measured], axis=0, where=known[:, None])
    labels, rows = wanted[known], np.bincount(there, minlength=len(names))
    by_class = {label: values[labels == label] for label in np.unique(labels)}
    means = {label: own.mean(axis=0) for label, own in by_class.items()}
    return Figures(
        queries=len(values),
        gallery=len(gallery),
        micro=_named(values.mean(axis=0)),
        macro=_named(np.mean(list(means.values()), axis=0)),
        per_class={
            str(names[label]): {
                "queries": len(own),
                "relevant": int(rows[label]),
                **_named(means[label]),
            }
            for label, own in by_class.items()
        },
        precision_at_recall=[round(float(value), 6) for value in curve],
    )


def measures_of(relevant: np.ndarray, k: int) -> np.ndarray:
    """MEASURES of one ranking.  relevant: bool [n], best first.  Returns float64 [4].

    With R relevant rows in all and P(i) the share of relevant ones among the first i:
    precision@k = P(k); recall@k = relevant among the first k / R; average precision = mean of P(i)
    over the ranks i of the relevant rows; at k: sum of P(i) over those ranks up to k / min(k, R).
    """
    ranks = np.flatnonzero(relevant) + 1
    if not len(ranks):
        return np.zeros(len(MEASURES))
    precisions = np.arange(1, len(ranks) + 1) / ranks
    found = int(np.searchsorted(ranks, k, side="right"))
    return np.array(
        [
            found / min(k, len(relevant)),
            found / len(ranks),
            precisions[:found].sum() / min(k, len(ranks)),
            precisions.mean(),
        ]
    )


def precision_at_recall(relevant: np.ndarray) -> np.ndarray:
    """Interpolated precision of one ranking at RECALL_LEVELS: float64 [101].

    The interpolated precision at recall r is the highest precision at any recall >= r.
    """
    ranks = np.flatnonzero(relevant) + 1
    if not len(ranks):
        return np.zeros(len(RECALL_LEVELS))
    precisions = np.arange(1, len(ranks) + 1) / ranks
    best_from_here = np.maximum.accumulate(precisions[::-1])[::-1]
    needed = np.ceil(RECALL_LEVELS * len(ranks) - 1e-9).astype(int)
    return best_from_here[np.maximum(needed, 1) - 1]


def found(
    distances: Distances, queries: np.ndarray, gallery: np.ndarray, cuts: tuple[int, ...]
) -> list[float]:
    """Recall at each of `cuts` as instance retrieval has it: the share of queries with a relevant
    row among the first k (Song et al., "Deep Metric Learning via Lifted Structured Feature
    Embedding", 2016).

    queries, gallery: whom a row shows, str [q] and [n].
    """

    def hits(rows: slice) -> np.ndarray:
        first = np.argsort(distances(rows), axis=1, kind="stable")[:, : max(cuts)]
        same = gallery[first] == queries[rows, None]
        return np.stack([same[:, :k].any(axis=1) for k in cuts], axis=1)

    return np.concatenate(_in_batches(hits, len(queries))).mean(axis=0).tolist()


def distance_histogram(
    distances: Distances, queries: np.ndarray, gallery: np.ndarray
) -> dict[str, list[int]]:
    """Pairs of a query and a gallery row by Hamming distance, 0 to 64 bits: `matching` those with
    the same label, `non_matching` the others.  Labels as in `retrieval`."""

    def count(rows: slice) -> np.ndarray:
        known = queries[rows] != ""
        same = queries[rows][known, None] == gallery[None, :]
        bits = distances(rows)[known]
        return np.array(
            [np.bincount(bits[pairs], minlength=CODE_BITS + 1) for pairs in (same, ~same)]
        )

    matching, others = np.sum(_in_batches(count, len(queries)), axis=0).tolist()
    return {"matching": matching, "non_matching": others}


def bit_measures(codes: np.ndarray) -> dict:
    """How well the bits of codes uint8 [n, 8] are used; n > 1.

    share_of_ones: per bit, 0.5 is balanced.  entropy_bits: per bit, -p log2 p - (1-p) log2 (1-p)
    (Shannon 1948).  correlation: Pearson's, [64][64]; 0 where one of the two bits is constant.
    """
    bits = unpack(codes).astype(np.float64)
    ones = bits.mean(axis=0)
    sure = np.clip(ones, 1e-300, 1)
    unsure = np.clip(1 - ones, 1e-300, 1)
    entropy = -(ones * np.log2(sure) + (1 - ones) * np.log2(unsure))
    centred = bits - ones
    length = np.sqrt((centred**2).sum(axis=0))
    length[length == 0] = np.inf
    correlation = (centred / length).T @ (centred / length)
    between_two = np.abs(correlation[np.triu_indices(CODE_BITS, 1)])
    return {
        "share_of_ones": ones.tolist(),
        "balance_worst_share": float(ones[np.abs(ones - 0.5).argmax()]),
        "balance_mean_deviation": float(np.abs(ones - 0.5).mean()),
        "entropy_bits": entropy.tolist(),
        "entropy_mean": float(entropy.mean()),
        "entropy_lowest": float(entropy.min()),
        "correlation": np.round(correlation, 4).tolist(),
        "correlation_mean": float(between_two.mean()),
        "correlation_largest": float(between_two.max()),
    }


def bucket_measures(codes: np.ndarray) -> dict[str, int]:
    """How many codes uint8 [n, 8] are different, and how many rows share the most common one."""
    _, sizes = np.unique(codes, axis=0, return_counts=True)
    return {"rows": len(codes), "distinct": len(sizes), "largest_bucket": int(sizes.max())}


def _named(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(MEASURES, values, strict=True)}


def _in_batches(work: Callable[[slice], object], queries: int) -> list:
    """`work` on slices of the queries, on all cores: numpy lets go of the interpreter lock."""
    slices = [slice(i, min(i + BATCH, queries)) for i in range(0, queries, BATCH)]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(work, slices))
