"""Measures of rankings: pure functions of arrays.

Rankings are ordered by (distance, row).  Formulas are those of Manning, Raghavan and Schütze,
"Introduction to Information Retrieval" (2008), chapter 8, unless another source is named.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from machine.container import available_cores
from trainer.evaluation.distances import Distances

AT_K = ("precision_at_k", "recall_at_k", "map_at_k")
MEASURES = (*AT_K, "map")
RECALL_LEVELS = np.linspace(0, 1, 101)
BATCH = 32
DIGITS = 6

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Figures:
    """Retrieval measures of one kind of query against one gallery, by their names in MEASURES."""

    queries: int
    gallery: int
    micro: dict[str, float]
    """Mean over queries."""
    macro: dict[str, float]
    """Mean over the labels' own means."""
    per_class: dict[str, dict[str, float]]
    """By label: its means, its number of `queries` and of `relevant` gallery rows."""
    precision_at_recall: list[float] = dataclasses.field(default_factory=list)
    """The precision-recall curve at RECALL_LEVELS, mean over queries; empty where only the first
    results are known."""


def retrieval(
    distances: Distances,
    labels: dict[str, tuple[np.ndarray, np.ndarray]],
    k: int = 10,
    copies: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Figures]:
    """Measure one ranking of the whole gallery by each of several labels; a result is relevant that
    has the query's value.

    labels: name -> values of the queries, str [q], and of the gallery, str [n].  Queries with value
    "" are left out, and a name for which no query is left has no figures; a query whose value no
    row of the gallery has counts with 0 in every measure.  copies: groups of the queries and of the
    gallery; rows of the query's own group are passed over.
    """
    numbered = {name: _numbered(*values) for name, values in labels.items()}

    def measure(rows: slice) -> dict[str, list[np.ndarray]]:
        order = np.argsort(distances(rows), axis=1, kind="stable")
        counted = copies[1][order] != copies[0][rows, None] if copies else None
        measured = {}
        for name, (wanted, there, _) in numbered.items():
            relevant = there[order] == wanted[rows, None]
            rankings = relevant if counted is None else map(np.extract, counted, relevant)
            measured[name] = [
                np.concatenate([measures_of(row, k), precision_at_recall(row)]) for row in rankings
            ]
        return measured

    batches = in_batches(measure, max(len(queries) for queries, _ in labels.values()))
    figures = {}
    for name, (_, there, names) in numbered.items():
        queries = labels[name][0]
        known = queries != ""
        if known.any():
            rows = np.array([row for batch in batches for row in batch[name]])[known]
            values, curves = rows[:, : len(MEASURES)], rows[:, len(MEASURES) :]
            relevant = dict(zip(names, np.bincount(there, minlength=len(names)), strict=True))
            curve = curves.mean(axis=0).round(DIGITS).tolist()
            figures[name] = summary(MEASURES, values, queries[known], relevant, len(there), curve)
    return figures


def summary(
    measures: tuple[str, ...],
    values: np.ndarray,
    labels: np.ndarray,
    relevant: dict[str, int],
    gallery: int,
    curve: list[float] | tuple = (),
) -> Figures:
    """Figures of single queries put together.  values: float [q, measures], labels: str [q],
    relevant: how many gallery rows a label has."""

    def named(row: np.ndarray) -> dict[str, float]:
        return {name: round(float(x), DIGITS) for name, x in zip(measures, row, strict=True)}

    by_class = {label: values[labels == label] for label in np.unique(labels)}
    means = {label: own.mean(axis=0) for label, own in by_class.items()}
    return Figures(
        queries=len(values),
        gallery=gallery,
        micro=named(values.mean(axis=0)),
        macro=named(np.mean(list(means.values()), axis=0)),
        per_class={
            str(label): {
                "queries": len(own),
                "relevant": int(relevant[label]),
                **named(means[label]),
            }
            for label, own in by_class.items()
        },
        precision_at_recall=list(curve),
    )


def measures_of(relevant: np.ndarray, k: int) -> np.ndarray:
    """MEASURES of one ranking.  relevant: bool [n], best first.  Returns float64 [4].

    `measures_at_k`, and average precision: the mean of P(i) over the ranks i of the relevant rows.
    """
    ranks = np.flatnonzero(relevant) + 1
    if not len(ranks):
        return np.zeros(len(MEASURES))
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return np.append(measures_at_k(relevant[:k], k, len(ranks), len(relevant)), precisions.mean())


def measures_at_k(relevant: np.ndarray, k: int, total: int, rows: int) -> np.ndarray:
    """AT_K of one ranking of which the first k are known.  relevant: bool [at most k], best first;
    total: relevant rows in the whole gallery, of `rows` rows.  Returns float64 [3].

    With P(i) the share of relevant ones among the first i: precision@k = P(k); recall@k = relevant
    among the first k / total; average precision at k: sum of P(i) over the ranks i of the relevant
    rows up to k / min(k, total).
    """
    ranks = np.flatnonzero(relevant) + 1
    if not total:
        return np.zeros(len(AT_K))
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return np.array(
        [len(ranks) / min(k, rows), len(ranks) / total, precisions.sum() / min(k, total)]
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

    return np.concatenate(in_batches(hits, len(queries))).mean(axis=0).round(DIGITS).tolist()


def first_hits(distances: Distances, queries: int) -> np.ndarray:
    """Row of the gallery that each query finds first: int64 [q]."""
    firsts = in_batches(lambda rows: distances(rows).argmin(axis=1), queries)
    return np.concatenate(firsts)


def in_batches(work: Callable[[slice], Result], queries: int) -> list[Result]:
    """`work` on slices of the queries, on all cores: numpy lets go of the interpreter lock."""
    slices = [slice(i, min(i + BATCH, queries)) for i in range(0, queries, BATCH)]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(work, slices))


def _numbered(
    queries: np.ndarray, gallery: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values as numbers: those of the queries, those of the gallery, and the names by number."""
    names, numbers = np.unique(np.concatenate([queries, gallery]), return_inverse=True)
    return numbers[: len(queries)], numbers[len(queries) :], names
