"""Columns of a version: what is known of a row beside its code, memory-mapped and shared.

    paths.bin, paths.offsets.npy    the paths' bytes, one after the other, and where each begins
    paths.hashes.npy, .rows.npy     rows in the order of their path's hash: which row has a path
    shops.json, shops.npy           names of the shops; each row's shop
    shops.rows.npy, shops.starts.npy    rows in the order of their shop, and where each shop begins
    products.npy                    each row's product, as a number
    fine_codes.npy                  each row's longer code, where the model or an import gives one

A path's shop is the folder it lies in, its product what stands before the first `_` of its name,
within the shop: `data/abc.com/69_abc_com.jpg` is a picture of product 69 of abc.com.  A path
without a folder is in the shop without a name.
"""

import dataclasses
import functools
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from hashing.codes import FINE_BYTES

ROW = np.uint32
MOST_ROWS = 2**32 // 4
"""More do not fit the row numbers on disk (the tables hold three of them a row)."""

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


@dataclasses.dataclass(frozen=True)
class Paths:
    """Paths as one run of bytes: text uint8 [total], offsets uint64 [n + 1]."""

    text: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, paths: list[str]) -> "Paths":
        """Of texts; surrogates stand for bytes that are not UTF-8."""
        encoded = [os.fsencode(path) for path in paths]
        offsets = np.zeros(len(encoded) + 1, np.uint64)
        np.cumsum([len(path) for path in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        data = np.ascontiguousarray(self.text).data
        return (bytes(data[start:end]) for start, end in itertools.pairwise(self.offsets.tolist()))

    def raw(self, row: int) -> bytes:
        """The bytes of a path."""
        return self.text[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes()


def build(paths: Paths) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of ARRAYS by name, and the names of the shops, in the order in which they first
    appear."""
    hashes, shops, products = (np.empty(len(paths), np.uint32) for _ in range(3))
    shop_numbers: dict[bytes, int] = {}
    product_numbers: dict[bytes, int] = {}
    for row, path in enumerate(paths):
        shop, product = _shop_and_product(path)
        hashes[row] = zlib.crc32(path)
        shops[row] = shop_numbers.setdefault(shop, len(shop_numbers))
        key = shop + b"/" + product  # a product is one of its shop: `abc.com/69`
        products[row] = product_numbers.setdefault(key, len(product_numbers))
    by_hash = np.argsort(hashes, kind="stable")
    arrays = {
        "paths.offsets": paths.offsets,
        "paths.hashes": hashes[by_hash],
        "paths.rows": by_hash,
        "shops": shops,
        "shops.rows": np.argsort(shops, kind="stable"),
        "shops.starts": np.concatenate([[0], np.cumsum(np.bincount(shops))]),
        "products": products,
    }
    arrays = {name: arrays[name].astype(dtype, copy=False) for name, dtype in ARRAYS.items()}
    return arrays, [os.fsdecode(name) for name in shop_numbers]


def _shop_and_product(path: bytes) -> tuple[bytes, bytes]:
    """The last folder's name, empty without one, and the file's name up to its first `_`."""
    folder, _, name = path.rpartition(b"/")
    return folder.rstrip(b"/").rpartition(b"/")[2], name.partition(b"_")[0]


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


def shops_json(names: list[str]) -> bytes:
    """What stands in the file of the shops' names."""
    return json.dumps(names).encode()  # ASCII: surrogates travel as escapes
