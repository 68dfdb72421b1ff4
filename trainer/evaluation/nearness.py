"""How near is near: what the distances and similarities of a model mean, measured on pictures that
training never saw.  It becomes `match` in the sidecar."""

import dataclasses

import numpy as np

from hashing.codes import CODE_BITS, fine_similarity, hamming, pack, split
from hashing.nearness import Nearness, Scale
from searcher.order import WINDOW

PLACES = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]) - 1
"""Of a ranking, where is looked whether the type is right: all over it, since shoppers see all."""
SAME_SHARE, ALIKE_SHARE = 0.8, 0.5
FEWEST = 20
"""Hits that a share is told of."""
DISTANCE_STEP, SIMILARITY_STEP = 1.0, 0.05
"""How wide `about a value` is."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """Queries to a gallery, and what each of both shows."""

    outputs: np.ndarray
    """Of the queries, float32 [q, 64 or 320]."""
    gallery: np.ndarray
    """Packed, uint8 [n, 8 or 40]."""
    wanted: np.ndarray
    """str [q], "" where it is not known."""
    there: np.ndarray
    """str [n]."""


Hits = tuple[np.ndarray, np.ndarray]
"""Of some hits how far away they are, float [m], and whether they are right, bool [m]."""


def nearness(types: list[Asked], products: list[Asked], weight: float | None) -> Nearness:
    """What is near.

    types: held-out pictures asked for in the others, by their type; none of the others shows the
    product of the query.  products: other pictures of products that the gallery has, by product.
    weight: of rank `fine`; None for a model without a longer code.
    """
    distance = _scale(types, products, None, DISTANCE_STEP)
    if weight is None:
        return Nearness(distance)
    similarity = _scale(types, products, weight, SIMILARITY_STEP)
    return Nearness(
        distance,
        Scale(
            -similarity.same,
            -similarity.alike,
            tuple((-value, share) for value, share in similarity.shares),
        ),
    )


def _scale(types: list[Asked], products: list[Asked], weight: float | None, step: float) -> Scale:
    away, same = _hits(products, PLACES[:1], weight)
    others, _ = _hits(types, PLACES[:1], weight)  # of queries whose product is not there
    of_product = np.concatenate([away, others]), np.append(same, np.zeros(len(others), bool))
    nearest = -1.0 if weight is None else -1.1  # nearer than anything is
    shares = _shares(_hits(types, PLACES, weight), step)
    farthest_same = _farthest(of_product, SAME_SHARE, nearest)
    farthest_alike = nearest
    for value, share in shares:
        if share < ALIKE_SHARE:
            break
        farthest_alike = value + (step / 2 if weight is not None else 0)
    return Scale(
        round(farthest_same, 3),
        round(max(farthest_same, farthest_alike), 3),
        tuple((round(value, 3), round(share, 3)) for value, share in shares),
    )


def _farthest(hits: Hits, share: float, nearest: float) -> float:
    """The farthest value such that of the hits at least as near this share is right."""
    order = np.argsort(hits[0], kind="stable")
    away, right = hits[0][order], hits[1][order]
    count = np.arange(1, len(away) + 1)
    is_last = np.append(away[1:] != away[:-1], True)  # of hits equally far away
    holds = is_last & (np.cumsum(right) >= share * count) & (count >= FEWEST)
    return float(away[holds][-1]) if holds.any() else nearest


def _shares(hits: Hits, step: float) -> list[tuple[float, float]]:
    """(Value, share of right ones among the hits at about it), nearest first."""
    bins, place = np.unique(np.round(hits[0] / step), return_inverse=True)
    count = np.bincount(place)
    right = np.bincount(place, hits[1]) / count
    return [
        (float(value), float(share))
        for value, share, hits_there in zip(bins * step, right, count, strict=True)
        if hits_there >= FEWEST
    ]


def _hits(asked: list[Asked], places: np.ndarray, weight: float | None) -> Hits:
    """The hits at these places of every query whose value is known."""
    away, right = [np.empty(0)], [np.empty(0, bool)]
    for one in asked:
        for row in np.flatnonzero(one.wanted != ""):
            rows, values = _ranked(one.outputs[row], one.gallery, weight)
            looked = places[places < len(rows)]
            away.append(values[looked])
            right.append(one.there[rows[looked]] == one.wanted[row])
    return np.concatenate(away), np.concatenate(right)


def _ranked(outputs: np.ndarray, gallery: np.ndarray, weight: float | None) -> Hits:
    """The first rows of a ranking, and how far away they are: in bits or, by rank `fine`, the
    similarity with a minus."""
    codes, fine_codes = split(gallery)
    distances = hamming(pack(outputs[None, :CODE_BITS])[0], codes)
    rows = np.argsort(distances, kind="stable")[:WINDOW]
    if weight is None:
        return rows, distances[rows].astype(np.float64)
    away = -fine_similarity(outputs, codes[rows], fine_codes[rows], weight)
    order = np.argsort(away, kind="stable")
    return rows[order], away[order]
