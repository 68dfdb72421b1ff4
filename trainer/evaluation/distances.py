"""How far pictures are apart, by what stands for them: codes, outputs, other float rows."""

from collections.abc import Callable

import numpy as np

from hashing.codes import CODE_BITS, pack, split
from searcher import order

Distances = Callable[[slice], np.ndarray]
"""Distances of a slice of the queries to every row of the gallery: any number type [b, n]."""


def by_hamming(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Hamming distances of codes uint8 [q, 8] and [n, 8], in bits: uint8 [b, n]."""
    queries, gallery = (np.ascontiguousarray(codes).view(np.uint64) for codes in (queries, gallery))
    return lambda rows: np.bitwise_count(queries[rows] ^ gallery[None, :, 0])


def by_rank(queries: np.ndarray, gallery: np.ndarray, weight: float | None = None) -> Distances:
    """Places in the order that the service gives: by rank `distance`, or with a weight by rank
    `fine`, see `searcher.order`.

    queries: the model's outputs, float32 [q, 64 or 320].  gallery: packed, uint8 [n, 8 or 40].
    Gives int32 [b, n].
    """
    codes, fine = split(gallery)
    fine_codes = fine if fine.shape[1] else None
    own = pack(queries[:, :CODE_BITS])
    hamming = by_hamming(own, codes)
    everything = np.arange(len(gallery))

    def between(rows: slice) -> np.ndarray:
        places = np.empty((len(queries[rows]), len(gallery)), np.int32)
        for place, code, outputs, bits in zip(
            places, own[rows], queries[rows], hamming(rows), strict=True
        ):
            found = order.Found(everything, bits, codes, fine_codes)
            query = order.Query(code, outputs, weight)
            place[order.in_order(found, query, len(gallery))[0]] = everything
        return places

    return between


def by_cosine(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """1 - cosine of float rows [q, d] and [n, d]: float32 [b, n]."""
    queries, gallery = _unit(queries), _unit(gallery)
    return lambda rows: 1 - queries[rows] @ gallery.T


def by_euclidean(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Squared Euclidean distances of float rows [q, d] and [n, d], less each query's own square
    (which orders nothing): float32 [b, n]."""
    squares = (gallery**2).sum(axis=1)
    return lambda rows: squares - 2 * (queries[rows] @ gallery.T)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-12)
