"""A version searched by FAISS in its own files, which workers on one machine share in memory."""

import functools
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BITS, as_outputs, fine_similarity
from searcher.nearest import ALL, FEW, Among
from searcher.opened import EVERYTHING, Selection, first_of_products, search_each
from searcher.order import Found, Query, Ranked, check_query, in_order, needed
from searcher.version import VersionError, check_sizes, open_index, read_manifest


class FaissVersion:
    """An `OpenVersion` that also has what only the files tell: all codes, hashes of the paths."""

    def __init__(self, folder: Path):
        """Raises VersionError."""
        self.manifest = read_manifest(folder)
        if problems := check_sizes(folder, self.manifest):
            raise VersionError(f"{folder} is not complete: " + "; ".join(problems))
        self._nearest, self._columns = open_index(folder, self.manifest)

    @property
    def has_fine_codes(self) -> bool:
        return self._columns.fine_codes is not None

    def search(
        self, codes: np.ndarray, k: int, outputs: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return search_each(self._ranked, codes, k, outputs)

    def select(
        self,
        code: np.ndarray,
        count: int,
        outputs: np.ndarray | None = None,
        selection: Selection = EVERYTHING,
        weight: float | None = None,
    ) -> Ranked:
        check_query(code[None], count, None if outputs is None else outputs[None])
        ranked = functools.partial(
            self._ranked,
            Query(code, outputs, weight),
            farthest=selection.max_distance,
            among=self._among(selection),
        )
        if not selection.by_product:
            return ranked(count)
        return first_of_products(ranked, self._columns.product_of, count, self.manifest.rows)

    def similarities(self, rows: np.ndarray, outputs: np.ndarray, weight: float) -> np.ndarray:
        assert self._columns.fine_codes is not None
        codes, fine_codes = (
            column.take(rows, axis=0) for column in (self.codes, self._columns.fine_codes)
        )
        return fine_similarity(outputs, codes, fine_codes, weight)

    def path(self, row: int) -> str:
        return self._columns.path(row)

    def paths(self, rows: np.ndarray) -> list[str]:
        return [self.path(row) for row in rows]

    def row(self, path: str) -> int | None:
        return self._columns.row(path)

    def code(self, row: int) -> np.ndarray:
        code: np.ndarray = self._nearest.codes[int(row)]
        return code.copy()

    def outputs(self, row: int) -> np.ndarray | None:
        if self._columns.fine_codes is None:
            return None
        return as_outputs(np.concatenate([self.code(row), self._columns.fine_codes[int(row)]]))

    @property
    def shops(self) -> dict[str, int]:
        return dict(zip(self._columns.shops, self._columns.rows_in.tolist(), strict=True))

    @property
    def shop_names(self) -> Collection[str]:
        return self._columns.shops

    @property
    def ways(self) -> dict[str, int]:
        return dict(self._nearest.ways)

    @property
    def codes(self) -> np.ndarray:
        """The codes of all rows, memory-mapped: uint8 [rows, 8]."""
        return self._nearest.codes

    def lowest_hashed(self, count: int) -> list[int]:
        """Rows of the paths whose hashes are the lowest: the same pictures version after version,
        as long as they are in the catalogue."""
        return self._columns.lowest_hashed(count)

    def path_hashes(self) -> Iterator[np.ndarray]:
        """A hash of every path, uint64, piece by piece; the same for the same path in this
        process."""
        return self._columns.paths.pieces_of_hashes()

    @property
    def digests(self) -> np.ndarray | None:
        """The beginning of the digest of every picture's file, memory-mapped: uint64 [rows]; None
        where the version has none."""
        return self._columns.digests

    def words(self, rows: slice, with_fine_codes: bool) -> np.ndarray:
        """The codes of some rows as numbers, uint64 [n, 1], or with the longer ones [n, 5]."""
        codes = [self.codes[rows]]
        if with_fine_codes and self._columns.fine_codes is not None:
            codes.append(self._columns.fine_codes[rows])
        return np.concatenate(codes, axis=1).view(np.uint64)

    def _ranked(
        self,
        query: Query,
        count: int,
        farthest: int = CODE_BITS,
        among: Among = ALL,
    ) -> Ranked:
        wanted = needed(query, count, self.has_fine_codes)
        distances, rows = self._nearest.find(query.code, wanted, farthest, among)
        codes, fine_codes = self._nearest.codes[:0], None
        if query.outputs is not None:
            codes = self._nearest.codes.take(rows, axis=0)
        if query.has_fine_outputs and self._columns.fine_codes is not None:
            fine_codes = self._columns.fine_codes.take(rows, axis=0)
        return in_order(Found(rows, distances, codes, fine_codes), query, count)

    def _among(self, selection: Selection) -> Among:
        """The rows of the selected shops."""
        if selection.shops is None and not selection.exclude_shops:
            return ALL
        numbers = self._columns.shops
        is_chosen = np.full(len(numbers), selection.shops is None)
        is_chosen[[numbers[name] for name in (selection.shops or ()) if name in numbers]] = True
        is_chosen[[numbers[name] for name in selection.exclude_shops if name in numbers]] = False
        if self._columns.rows_in[is_chosen].sum() > FEW * self.manifest.rows:
            return Among(keep=lambda rows: is_chosen[self._columns.shop_of(rows)])
        rows = [self._columns.rows_of(shop) for shop in np.flatnonzero(is_chosen).tolist()]
        return Among(rows=np.concatenate(rows) if rows else np.empty(0, np.int64))


def open_version(path: str | Path) -> FaissVersion:
    """Open the version in the folder `path`.  Raises VersionError."""
    return FaissVersion(Path(path))
