"""What `benchmarks/search.py` compares: ways of finding the nearest codes."""

from collections.abc import Callable

import faiss
import numpy as np

from hashing.codes import CODE_BITS
from searcher import OpenVersion
from searcher.publish import DEFAULT, FAST

OURS, OURS_FAST, FLAT, MULTI_HASH, NUMPY, USEARCH, FLOOR = (
    "ours",
    "ours, unnecessary fast",
    "FAISS flat",
    "FAISS multi-hash",
    "numpy",
    "usearch exact",
    "reading the codes",
)

Answer = tuple[np.ndarray | None, np.ndarray | None]
"""Rows int64 [k] and distances [k], nearest first; None where a way does not tell them."""
Way = Callable[[np.ndarray, int], Answer]
"""A query uint8 [1, 8] and k -> its answer."""


WAYS = (OURS, FLAT, OURS_FAST, MULTI_HASH, NUMPY, USEARCH, FLOOR)


def ways_of(
    indexes: dict[str, OpenVersion], codes: np.ndarray, names: tuple[str, ...] = WAYS
) -> dict[str, Way]:
    """The ways of these names, but for usearch where it is not installed."""
    flat = flat_of(codes)
    words = codes.view(np.uint64)[:, 0]

    def ours(query, k):
        rows, distances = indexes[DEFAULT].search(query, k)
        return rows[0], distances[0]

    def ours_fast(query, k):
        rows, distances = indexes[FAST].search(query, k)
        return rows[0], distances[0]

    def faiss_flat(query, k):
        distances, rows = flat.search(query, k)
        return rows[0], distances[0]

    def by_numpy(query, k):
        distances = np.bitwise_count(words ^ query.view(np.uint64)[0])
        rows = np.argpartition(distances, k - 1)[:k]
        rows = rows[np.lexsort((rows, distances[rows]))]
        return rows, distances[rows]

    def reading(query, k):
        words.sum()
        return None, None

    ways: dict[str, Way] = {OURS: ours, FLAT: faiss_flat, OURS_FAST: ours_fast}
    ways |= {NUMPY: by_numpy, FLOOR: reading}
    if MULTI_HASH in names:
        ways[MULTI_HASH] = _multi_hash(codes, flat)
    if usearch := find_usearch():

        def by_usearch(query, k):
            found = usearch.search(
                codes, query[0], k, usearch.MetricKind.Hamming, exact=True, threads=1
            )
            return found.keys.astype(np.int64), found.distances.astype(np.int32)

        ways[USEARCH] = by_usearch
    return {name: way for name, way in ways.items() if name in names}


def flat_of(codes: np.ndarray) -> faiss.IndexBinaryFlat:
    flat = faiss.IndexBinaryFlat(CODE_BITS)
    flat.use_heap = False
    flat.add(codes)
    return flat


def _multi_hash(codes: np.ndarray, flat: faiss.IndexBinaryFlat) -> Way:
    """What a step costs, it only says when it has been taken."""
    tables, bits, most_flips = 3, 21, 3
    index = faiss.IndexBinaryMultiHash(CODE_BITS, tables, bits)
    index.add(codes)

    def search(query, k):
        for index.nflip in range(most_flips + 1):
            distances, rows = index.search(query, k)
            if rows[0, -1] >= 0 and distances[0, -1] < tables * (index.nflip + 1):
                return rows[0], distances[0]
        distances, rows = flat.search(query, k)
        return rows[0], distances[0]

    return search


def find_usearch():
    try:
        import usearch.index
    except ImportError:
        return None
    return usearch.index
