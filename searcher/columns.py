"""Columns of a version: what is known of a row beside its code, memory-mapped and shared.

    paths.bin, paths.offsets.npy    the paths' bytes, one after the other, and where each begins
    paths.hashes.npy, .rows.npy     rows in the order of their path's hash: which row has a path
    shops.json, shops.npy           names of the shops; each row's shop
    shops.rows.npy, shops.starts.npy    rows in the order of their shop, and where each shop begins
    products.npy                    each row's product, as a number
    fine_codes.npy                  each row's longer code, where the model or an import gives one
    digests.npy                     the first 8 bytes of each row's SHA-256, where files were read

`searcher.shops` says which shop and product a path is of.  A path without a folder is in the shop
without a name.
"""

import contextlib
import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from hashing.codes import FINE_BYTES
from machine.arrays import parts
from searcher.paths import Paths
from searcher.shops import LAST_FOLDER, ShopRule

ROW = np.uint32
MOST_ROWS = 2**32 // 4
"""More do not fit the row numbers on disk (the tables hold up to four of them a row)."""

ARRAYS = {
    "paths.offsets": np.uint64,
    "paths.hashes": np.uint32,
    "paths.rows": ROW,
    "shops": np.uint32,
    "shops.rows": ROW,
    "shops.starts": np.uint64,
    "products": np.uint32,
}
"""name -> dtype of the columns that are one-dimensional arrays, in files `name.npy`."""
PATHS, SHOPS, FINE_CODES = "paths.bin", "shops.json", "fine_codes.npy"
DIGESTS = "digests.npy"


def build(paths: Paths, rule: ShopRule = LAST_FOLDER) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of ARRAYS by name, and the names of the shops, in the order in which they first
    appear.  At its height it takes some 50 bytes a row."""
    hashes, shops, checks = (np.empty(len(paths), np.uint32) for _ in range(3))
    keys = np.empty(len(paths), np.int64)
    numbers: dict[bytes, int] = {}
    start = 0
    for piece in paths.pieces():
        own = slice(start, start + len(piece))
        shops[own], products = _shops_and_products(piece, rule, numbers)
        hashes[own] = np.fromiter(map(zlib.crc32, piece), np.uint32, len(piece))
        checks[own] = np.fromiter(map(zlib.crc32, products), np.uint32, len(piece))
        keys[own] = np.fromiter(map(hash, products), np.int64, len(piece))
        start += len(piece)
    arrays = {"paths.offsets": paths.offsets, "shops": shops, "products": _numbered(keys, checks)}
    del keys, checks
    arrays["paths.hashes"], arrays["paths.rows"] = _sorted(hashes)
    del hashes
    _, arrays["shops.rows"] = _sorted(shops)
    arrays["shops.starts"] = np.concatenate([[0], np.cumsum(np.bincount(shops))])
    arrays = {name: arrays[name].astype(dtype, copy=False) for name, dtype in ARRAYS.items()}
    return arrays, [os.fsdecode(name) for name in numbers]


def _shops_and_products(
    paths: list[bytes], rule: ShopRule, numbers: dict[bytes, int]
) -> tuple[list[int], list[bytes]]:
    """The shops of paths as numbers, and their products with shop and folders before them,
    `abc.com/69`, `abc.com/dresses/69`.  numbers: of the shops until now; new ones are added."""
    shops, products = [], []
    before, number, prefix = None, 0, b""
    for path in paths:
        folder, _, name = path.rpartition(b"/")
        if folder != before:  # mostly a shop's pictures stand side by side
            shop, below = rule.of_folder(folder)
            number = numbers.setdefault(shop, len(numbers))
            before, prefix = folder, shop + b"/" + (below + b"/" if below else b"")
        shops.append(number)
        products.append(prefix + name.partition(b"_")[0])
    return shops, products


def _numbered(keys: np.ndarray, checks: np.ndarray) -> np.ndarray:
    """Numbers uint32 [n] in the order in which they first appear, the same where both the keys
    int64 [n] and the checks uint32 [n] are: 96 bits, which do not meet by chance."""
    first = np.empty(len(keys), ROW)  # the first row that is the same
    for rows in parts(keys.view(np.uint64)):
        own, checked = keys[rows], checks[rows]
        order = np.argsort(own, kind="stable")  # equal ones as they stand
        is_new, is_other = _changes(own[order]), _changes(checked[order])
        if (is_other & ~is_new).any():  # where checks must tell, they are sorted too
            order = np.lexsort((checked, own))
            is_new = _changes(own[order]) | _changes(checked[order])
        rows = rows[order]
        first[rows] = np.repeat(rows[is_new], np.diff(np.flatnonzero(is_new), append=len(rows)))
    is_first = first == np.arange(len(keys), dtype=ROW)
    numbers = np.cumsum(is_first, dtype=np.uint32) - np.uint32(1)
    return numbers[first]


def _changes(values: np.ndarray) -> np.ndarray:
    """bool [n]: whether a value is another than the one before; the first one is."""
    return np.append(True, values[1:] != values[:-1])[: len(values)]


def _sorted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values uint32 [n] in ascending order, and their rows uint32 [n], equal ones as they
    stood."""
    both = values.astype(np.uint64) << np.uint64(32)
    both |= np.arange(len(values), dtype=np.uint32)
    both.sort()
    return (both >> np.uint64(32)).astype(np.uint32), both.astype(np.uint32)


def open_fine_codes(folder: Path) -> np.ndarray | None:
    """The longer codes of a version, memory-mapped: uint8 [rows, 32]; None where it has none, or
    where they are not at hand.  Raises OSError, ValueError."""
    path = folder / FINE_CODES
    return open_memmap(path, mode="r") if path.exists() else None


def fine_codes_fit(fine_codes: np.ndarray, rows: int) -> bool:
    """Whether they are uint8 [rows, 32]."""
    return fine_codes.dtype == np.uint8 and fine_codes.shape == (rows, FINE_BYTES)


class Columns:
    """The columns of an opened version, read where they are asked for."""

    def __init__(self, folder: Path):
        """Raises OSError or ValueError when a file cannot be opened."""
        self._arrays = {name: open_memmap(folder / f"{name}.npy", mode="r") for name in ARRAYS}
        size = (folder / PATHS).stat().st_size
        text = np.memmap(folder / PATHS, np.uint8, mode="r") if size else np.empty(0, np.uint8)
        self.paths = Paths(text, self._arrays["paths.offsets"])
        self._shops_text = (folder / SHOPS).read_bytes()
        self.fine_codes = open_fine_codes(folder)
        """Of a version that has them."""
        has_digests = (folder / DIGESTS).exists()
        self.digests = open_memmap(folder / DIGESTS, mode="r") if has_digests else None
        """Of a version that has them."""

    def problems(self, rows: int) -> list[str]:
        """Quick check that all columns have this number of rows, in words; none if they do."""
        problems = []
        for name, dtype in ARRAYS.items():
            array = self._arrays[name]
            if array.dtype != dtype or array.ndim != 1:
                problems.append(f"{name}.npy holds {array.dtype} {list(array.shape)}")
            elif name != "shops.starts" and len(array) - (name == "paths.offsets") != rows:
                problems.append(f"{name}.npy does not have {rows} rows, as the manifest says")
        offsets, starts = self.paths.offsets, self._arrays["shops.starts"]
        if not problems and (offsets[0] != 0 or offsets[-1] != len(self.paths.text)):
            problems.append(f"paths.offsets.npy does not fit {PATHS}")
        if not problems and (len(starts) < 2 or starts[0] != 0 or starts[-1] != rows):
            problems.append("shops.starts.npy does not fit the rows")
        fine = self.fine_codes
        if fine is not None and not fine_codes_fit(fine, rows):
            problems.append(f"{FINE_CODES} holds {fine.dtype} {list(fine.shape)}")
        digests = self.digests
        if digests is not None and (digests.dtype != np.uint64 or digests.shape != (rows,)):
            problems.append(f"{DIGESTS} holds {digests.dtype} {list(digests.shape)}")
        return problems

    def path(self, row: int) -> str:
        """The path of a row as the catalogue spells it (bytes that are not UTF-8 as surrogates)."""
        return os.fsdecode(self.paths.raw(row))

    def row(self, path: str) -> int | None:
        """The row of a path, the first if there are several; None when no row has it."""
        try:
            wanted = os.fsencode(path)
        except UnicodeEncodeError:  # text that no path can be
            return None
        hashes, hash_ = self._arrays["paths.hashes"], np.uint32(zlib.crc32(wanted))
        first, last = np.searchsorted(hashes, hash_), np.searchsorted(hashes, hash_, "right")
        rows = self._arrays["paths.rows"][first:last].tolist()
        return next((row for row in rows if self.paths.raw(row) == wanted), None)

    def lowest_hashed(self, count: int) -> list[int]:
        """The rows of the paths whose hashes are the lowest."""
        rows: list[int] = self._arrays["paths.rows"][:count].tolist()
        return rows

    @functools.cached_property
    def shops(self) -> dict[str, int]:
        """Names of the shops and their numbers."""
        return {name: number for number, name in enumerate(json.loads(self._shops_text))}

    def shop_of(self, rows: np.ndarray) -> np.ndarray:
        """uint32 [n]: the shops of rows."""
        return self._arrays["shops"].take(rows)

    def product_of(self, rows: np.ndarray) -> np.ndarray:
        """uint32 [n]: the products of rows; equal numbers, same product."""
        return self._arrays["products"].take(rows)

    @functools.cached_property
    def rows_in(self) -> np.ndarray:
        """int64 [shops]: how many rows each shop has."""
        return np.diff(self._arrays["shops.starts"].astype(np.int64))

    def rows_of(self, shop: int) -> np.ndarray:
        """uint32 [n]: a shop's rows, in ascending order."""
        starts = self._arrays["shops.starts"]
        return self._arrays["shops.rows"][int(starts[shop]) : int(starts[shop + 1])]


def read_shops(folder: Path) -> list[str] | None:
    """The names of the shops of the version in a folder, in the order of their numbers; None where
    the file is not at hand."""
    with contextlib.suppress(OSError, ValueError):
        names: list[str] = json.loads((folder / SHOPS).read_bytes())
        return names
    return None


def shops_json(names: list[str]) -> bytes:
    """What stands in the file of the shops' names."""
    return json.dumps(names).encode()  # ASCII: surrogates travel as escapes
