"""How far pictures are apart, by what stands for them: codes, outputs, other float rows."""

from collections.abc import Callable

import numpy as np

from hashing.codes import LARGEST_SIMILARITY, pack, similarities

Distances = Callable[[slice], np.ndarray]
"""Distances of a slice of the queries to every row of the gallery: any number type [b, n]."""


def by_hamming(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Hamming distances of codes uint8 [q, 8] and [n, 8], in bits: uint8 [b, n]."""
    queries, gallery = (np.ascontiguousarray(codes).view(np.uint64) for codes in (queries, gallery))
    return lambda rows: np.bitwise_count(queries[rows] ^ gallery[None, :, 0])


def by_code(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Numbers that order codes as the service does: by (Hamming distance, -similarity).

    queries: the model's outputs, float [q, 64].  gallery: codes uint8 [n, 8].  Gives int32 [b, n].
    """
    step = 2 * LARGEST_SIMILARITY + 1  # more than two similarities differ by
    hamming = by_hamming(pack(queries), gallery)
    return lambda rows: hamming(rows).astype(np.int32) * step - similarities(queries[rows], gallery)


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
