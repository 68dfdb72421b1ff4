"""An opened version, whatever searches in it, and the order that its answers have.

`searcher.faiss_version` searches in the files on this machine, `searcher.milvus_version` in Milvus.
A backend gives the nearest rows to a code with all that are as near as the last of them; their
order (`searcher.order`) and one row a product are made here for both.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np

from hashing.codes import CODE_BITS
from searcher.order import Query, Ranked, check_query
from searcher.version import Manifest

MOST_OPEN = 2
"""Versions that stay open because somebody asked for them by number; what a removed version took on
disk is free once it is closed."""


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

    @property
    def has_fine_codes(self) -> bool:
        """Whether rows have longer codes."""
        ...

    def search(
        self, codes: np.ndarray, k: int, outputs: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, exact, ordered by (Hamming distance, row).

        With outputs they are ordered by (Hamming distance, -similarity, row), where similarity is
        that of `hashing.codes.similarity`: an order that means something among equal distances.
        With the outputs of a longer code, in a version that `has_fine_codes`, it is by these.
        Of an approximate index (`manifest.index_mode`) some of the nearest rows may be missing.

        codes: uint8 [n, 8].  outputs: float32 [n, 64] or [n, 320], what the codes were packed from.
        Returns rows int64 [n, k] and distances in bits int32 [n, k]; where the index has fewer than
        k rows, row and distance are -1 from there on.  Raises ValueError.
        """
        ...

    def select(
        self,
        code: np.ndarray,
        count: int,
        outputs: np.ndarray | None = None,
        selection: Selection = EVERYTHING,
        weight: float | None = None,
    ) -> Ranked:
        """The first `count` of the selected rows in the order of `search`, fewer when there are no
        more.

        weight: orders the first `order.WINDOW` of them anew, before one row a product is taken: by
        `hashing.codes.fine_similarity` with this weight, where there are longer codes.
        code: uint8 [8].  outputs: float32 [64] or [320], or None.  Raises ValueError.
        """
        ...

    def similarities(self, rows: np.ndarray, outputs: np.ndarray, weight: float) -> np.ndarray:
        """`hashing.codes.fine_similarity` of rows (int64 [f]) to a query's outputs (float32 [320]):
        float64 [f].  Of a version that `has_fine_codes`."""
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

    def outputs(self, row: int) -> np.ndarray | None:
        """What stands for the outputs of a row's picture, the signs of its codes: float32 [320];
        None where it has no longer code."""
        ...

    @property
    def shops(self) -> dict[str, int]:
        """Names of the shops and how many pictures each has."""
        ...

    @property
    def shop_names(self) -> Collection[str]:
        """The same names, not counted."""
        ...

    @property
    def ways(self) -> dict[str, int]:
        """How often each way of finding led to an answer, by name; empty where the backend does not
        tell."""
        ...


# -- what the backends share ---------------------------------------------------------------------


def search_each(
    ranked: Callable[[Query, int], Ranked],
    codes: np.ndarray,
    k: int,
    outputs: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`OpenVersion.search` from ranked(query, count)."""
    check_query(codes, k, outputs)
    rows = np.full((len(codes), k), -1, np.int64)
    distances = np.full((len(codes), k), -1, np.int32)
    for i, code in enumerate(codes):
        own = Query(code, None if outputs is None else outputs[i])
        own_rows, own_distances = ranked(own, k)
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
