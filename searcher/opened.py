"""An opened version, whatever searches in it, and the order that its answers have.

`searcher.faiss_version` searches in the files on this machine, `searcher.milvus_version` in Milvus.
A backend gives the nearest rows to a code with all that are as near as the last of them; the order
of those, and one row a product, are made here for both.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, LARGEST_SIMILARITY, pack, similarity
from searcher.version import Manifest

MOST_OPEN = 2
"""Versions that stay open because somebody asked for them by number; what a removed version took on
disk is free once it is closed."""

_SIMILARITY_BITS = (2 * LARGEST_SIMILARITY).bit_length()
_ROW_BITS = 63 - CODE_BITS.bit_length() - _SIMILARITY_BITS

Ranked = tuple[np.ndarray, np.ndarray]
"""Rows int64 [f] and their distances in bits int32 [f], in the order of an answer."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows may be answered."""

    max_distance: int = CODE_BITS
    """In bits."""
    shops: frozenset[str] | None = None
    """Only rows of these shops, of all when None.  A shop that the catalogue does not have has no
    rows."""
    exclude_shops: frozenset[str] = frozenset()
    """No rows of these."""
    by_product: bool = False
    """One row a product, its first."""


EVERYTHING = Selection()


class OpenVersion(Protocol):
    """A version opened for search; immutable, safe to use from several threads.  One that is
    searched elsewhere raises its backend's Problem besides, from every method."""

    @property
    def manifest(self) -> Manifest: ...

    def search(
        self, codes: np.ndarray, k: int, outputs: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, exact, ordered by (Hamming distance, row).

        With outputs they are ordered by (Hamming distance, -similarity, row), where similarity is
        that of `hashing.codes.similarity`: an order that means something among equal distances.
        Of an approximate index (`manifest.index_mode`) some of the nearest rows may be missing.

        codes: uint8 [n, 8].  outputs: float32 [n, 64], what the codes were packed from.  Returns
        rows int64 [n, k] and distances in bits int32 [n, k]; where the index has fewer than k rows,
        row and distance are -1 from there on.  Raises ValueError.
        """
        ...

    def select(
        self,
        code: np.ndarray,
        count: int,
        outputs: np.ndarray | None = None,
        selection: Selection = EVERYTHING,
    ) -> Ranked:
        """The first `count` of the selected rows in the order of `search`, fewer when there are no
        more.

        code: uint8 [8].  outputs: float32 [64] or None.  Raises ValueError.
        """
        ...

    def path(self, row: int) -> str:
        """The path of a row as the catalogue spells it (bytes that are not UTF-8 as surrogates)."""
        ...

    def paths(self, rows: np.ndarray) -> list[str]:
        """The paths of rows, asked for at once."""
        ...

    def row(self, path: str) -> int | None:
        """The row of a path, the first if there are several; None when no row has it."""
        ...

    def code(self, row: int) -> np.ndarray:
        """The code of a row: uint8 [8]."""
        ...

    @property
    def shops(self) -> dict[str, int]:
        """Names of the shops and how many pictures each has."""
        ...

    @property
    def ways(self) -> dict[str, int]:
        """How often each way of finding led to an answer, by name; empty where the backend does not
        tell."""
        ...


# -- what the backends share ---------------------------------------------------------------------


def search_each(
    ranked: Callable[[np.ndarray, int, np.ndarray | None], Ranked],
    codes: np.ndarray,
    k: int,
    outputs: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`OpenVersion.search` from ranked(code, count, outputs of that code)."""
    check_query(codes, k, outputs)
    rows = np.full((len(codes), k), -1, np.int64)
    distances = np.full((len(codes), k), -1, np.int32)
    for i, code in enumerate(codes):
        own_rows, own_distances = ranked(code, k, None if outputs is None else outputs[i])
        rows[i, : len(own_rows)], distances[i, : len(own_rows)] = own_rows, own_distances
    return rows, distances


def first_of_products(
    ranked: Callable[[int], Ranked],
    product_of: Callable[[np.ndarray], np.ndarray],
    count: int,
    rows_in_all: int,
) -> Ranked:
    """The first row of each of the first `count` products in a ranking; ranked(n) is its first n
    rows, product_of(rows [f]) the products of rows as numbers [f]."""
    looked = count
    while True:
        # The first rows of the ranking hold the first of every product that is among them.
        looked = min(2 * looked, rows_in_all)
        rows, distances = ranked(looked)
        _, first = np.unique(product_of(rows), return_index=True)
        first.sort()
        if len(first) >= count or len(rows) < looked or looked == rows_in_all:
            return rows[first[:count]], distances[first[:count]]


def in_order(
    rows: np.ndarray,
    distances: np.ndarray,
    count: int,
    outputs: np.ndarray | None,
    codes: np.ndarray | None,
) -> Ranked:
    """The first `count` of some rows (int64 [n]) by (distance, -similarity, row), and their
    distances in bits, int32.

    distances: int [n].  outputs: of the query, float32 [64], and codes: of the rows, uint8 [n, 8];
    without both the order is (distance, row).
    """
    # One number a row that sorts as the three do: 7, 18 and 38 bits.
    keys = distances.astype(np.int64) << _SIMILARITY_BITS
    if outputs is not None and codes is not None:
        keys |= LARGEST_SIMILARITY - similarity(outputs, codes)
    keys <<= _ROW_BITS
    keys |= rows
    if count < len(keys):
        keys = np.partition(keys, count - 1)[:count]
    keys.sort()
    distances = (keys >> (_SIMILARITY_BITS + _ROW_BITS)).astype(np.int32)
    return keys & ((1 << _ROW_BITS) - 1), distances


def check_query(codes: np.ndarray, k: int, outputs: np.ndarray | None) -> None:
    """Raise ValueError unless these are codes uint8 [n, 8], k is at least 1, and outputs float32
    [n, 64] or None are what the codes were packed from."""
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES or k < 1:
        raise ValueError(
            f"search takes codes uint8 [n, {CODE_BYTES}] and k of at least 1, "
            f"not {codes.dtype} {list(codes.shape)} and {k}"
        )
    if outputs is None:
        return
    if outputs.dtype != np.float32 or outputs.shape != (len(codes), CODE_BITS):
        raise ValueError(
            f"search takes outputs float32 [{len(codes)}, {CODE_BITS}] with these codes, "
            f"not {outputs.dtype} {list(outputs.shape)}"
        )
    if not np.array_equal(pack(outputs), codes):
        raise ValueError("these codes are not the signs of these outputs; pack them from the same")
