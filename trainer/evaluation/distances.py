"""How far pictures are apart, by what stands for them: codes, outputs, other float rows."""

from collections.abc import Callable

import numpy as np

from hashing.codes import (
    CODE_BITS,
    FINE_BITS,
    LARGEST_WEIGHT,
    fine_similarity,
    pack,
    similarities,
    split,
)

Distances = Callable[[slice], np.ndarray]
"""Distances of a slice of the queries to every row of the gallery: any number type [b, n]."""


WINDOW = 1000
"""Rows that rank `fine` orders."""


def by_hamming(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Hamming distances of codes uint8 [q, 8] and [n, 8], in bits: uint8 [b, n]."""
    queries, gallery = (np.ascontiguousarray(codes).view(np.uint64) for codes in (queries, gallery))
    return lambda rows: np.bitwise_count(queries[rows] ^ gallery[None, :, 0])


def by_rank_distance(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Numbers that order codes as the service's rank `distance` does: by (Hamming distance,
    -similarity), that of the longer code where there is one.

    queries: the model's outputs, float [q, 64 or 320].  gallery: packed, uint8 [n, 8 or 40].  Gives
    int32 [b, n].
    """
    codes, fine = split(gallery)
    bits, signs = (slice(CODE_BITS, None), fine) if fine.shape[1] else (slice(CODE_BITS), codes)
    step = 2 * FINE_BITS * LARGEST_WEIGHT + 1  # more than two similarities differ by
    hamming = by_hamming(pack(queries[:, :CODE_BITS]), codes)

    def between(rows: slice) -> np.ndarray:
        return hamming(rows).astype(np.int32) * step - similarities(queries[rows, bits], signs)

    return between


def by_rank_fine(queries: np.ndarray, gallery: np.ndarray, weight: float) -> Distances:
    """Numbers that order codes as the service's rank `fine` does: a window of the first rows of
    rank `distance` by `codes.fine_similarity`, what follows as it was.

    queries: outputs, float [q, 320].  gallery: packed, uint8 [n, 40].  weight: of the 64-bit code.
    Gives int32 [b, n].
    """
    codes, fine = split(gallery)
    distance = by_rank_distance(queries, gallery)

    def between(rows: slice) -> np.ndarray:
        numbers = distance(rows)
        for outputs, own in zip(queries[rows], numbers, strict=True):
            window = np.argsort(own, kind="stable")[:WINDOW]
            similarity = fine_similarity(outputs, codes[window], fine[window], weight)
            first = own.min() - len(window)
            own[window[np.argsort(-similarity, kind="stable")]] = first + np.arange(len(window))
        return numbers

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
