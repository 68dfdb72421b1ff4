"""Search in one opened version: codes -> the nearest rows, in a defined order."""

import dataclasses
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, LARGEST_SIMILARITY, pack, similarity
from searcher.nearest import ALL, FEW, Among
from searcher.version import VersionError, check_sizes, open_index, read_manifest

_SIMILARITY_BITS = (2 * LARGEST_SIMILARITY).bit_length()
_ROW_BITS = 63 - CODE_BITS.bit_length() - _SIMILARITY_BITS


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows may be answered.  max_distance: in bits.  shops: only those of these shops, of all
    when None; exclude_shops: none of these.  A shop that the catalogue does not have has no rows.
    by_product: one row a product, its first."""

    max_distance: int = CODE_BITS
    shops: frozenset[str] | None = None
    exclude_shops: frozenset[str] = frozenset()
    by_product: bool = False


EVERYTHING = Selection()


class OpenVersion:
    """A version opened for search; immutable, safe to use from several threads."""

    def __init__(self, folder: Path):
        self.manifest = read_manifest(folder)
        if problems := check_sizes(folder, self.manifest):
            raise VersionError(f"{folder} is not complete: " + "; ".join(problems))
        self._nearest, self._columns = open_index(folder, self.manifest)
        self.path, self.row = self._columns.path, self._columns.row

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
        _check_query(codes, k, outputs)
        rows = np.full((len(codes), k), -1, np.int64)
        distances = np.full((len(codes), k), -1, np.int32)
        for i, code in enumerate(codes):
            own_rows, own_distances = self._ranked(code, k, None if outputs is None else outputs[i])
            rows[i, : len(own_rows)], distances[i, : len(own_rows)] = own_rows, own_distances
        return rows, distances

    def select(
        self,
        code: np.ndarray,
        count: int,
        outputs: np.ndarray | None = None,
        selection: Selection = EVERYTHING,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` of the selected rows in the order of `search`, fewer when there are no
        more: rows int64 [f] and distances in bits int32 [f].

        code: uint8 [8].  outputs: float32 [64] or None.  Raises ValueError.
        """
        _check_query(code[None], count, None if outputs is None else outputs[None])
        among = self._among(selection)
        if not selection.by_product:
            return self._ranked(code, count, outputs, selection.max_distance, among)
        looked = count
        while True:
            # The first rows of the ranking hold the first of every product that is among them.
            looked = min(2 * looked, self.manifest.rows)
            rows, distances = self._ranked(code, looked, outputs, selection.max_distance, among)
            _, first = np.unique(self._product_of(rows), return_index=True)
            first.sort()
            if len(first) >= count or len(rows) < looked or looked == self.manifest.rows:
                return rows[first[:count]], distances[first[:count]]

    def paths(self, rows: np.ndarray) -> list[str]:
        """The paths of rows."""
        return [self.path(row) for row in rows]

    def code(self, row: int) -> np.ndarray:
        """The code of a row: uint8 [8]."""
        return self._nearest.codes[int(row)].copy()

    @property
    def codes(self) -> np.ndarray:
        """The codes of all rows, memory-mapped: uint8 [rows, 8]."""
        return self._nearest.codes

    def lowest_hashed(self, count: int) -> list[int]:
        """Rows of the paths whose hashes are the lowest: the same pictures version after version,
        as long as they are in the catalogue."""
        return self._columns.lowest_hashed(count)

    def path_hashes(self) -> np.ndarray:
        """int64 [rows]: a hash of every path, the same for the same path in this process."""
        return np.fromiter(map(hash, self._columns.paths), np.int64, self.manifest.rows)

    @property
    def shops(self) -> dict[str, int]:
        """Names of the shops and how many pictures each has."""
        return dict(zip(self._columns.shops, self._columns.rows_in.tolist(), strict=True))

    @property
    def ways(self) -> dict[str, int]:
        """How often each way of `searcher.nearest.Nearest` led to an answer."""
        return dict(self._nearest.ways)

    def _ranked(self, code, count, outputs, farthest=CODE_BITS, among=ALL):
        """The first `count` rows by (distance, -similarity, row): (rows, distances)."""
        distances, rows = self._nearest.find(code, count, farthest, among)
        codes = None if outputs is None else self._nearest.codes.take(rows, axis=0)
        return in_order(rows, distances, count, outputs, codes)

    def _product_of(self, rows: np.ndarray) -> np.ndarray:
        return self._columns.product_of(rows)

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


def in_order(
    rows: np.ndarray,
    distances: np.ndarray,
    count: int,
    outputs: np.ndarray | None,
    codes: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` of some rows (int64 [n]) by (distance, -similarity, row), and their
    distances in bits, int32.

    distances: int [n].  outputs: of the query, float32 [64], and codes: of the rows, uint8 [n, 8];
    without both the order is (distance, row).
    """
    # One number a row that sorts as the three do: 7, 18 and 38 bits.
    keys = distances.astype(np.int64) << _SIMILARITY_BITS
    if outputs is not None:
        keys |= LARGEST_SIMILARITY - similarity(outputs, codes)
    keys <<= _ROW_BITS
    keys |= rows
    if count < len(keys):
        keys = np.partition(keys, count - 1)[:count]
    keys.sort()
    distances = (keys >> (_SIMILARITY_BITS + _ROW_BITS)).astype(np.int32)
    return keys & ((1 << _ROW_BITS) - 1), distances


def _check_query(codes: np.ndarray, k: int, outputs: np.ndarray | None) -> None:
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


def open_version(path: str | Path) -> OpenVersion:
    """Open the version in the folder `path`.  Raises VersionError."""
    try:
        return OpenVersion(Path(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise VersionError(f"{path} cannot be opened: {error}") from error
