"""Columns of a version: what is known of a row beside its code, memory-mapped and shared.

    paths.bin, paths.offsets.npy    the paths' bytes, one after the other, and where each begins
    paths.hashes.npy, .rows.npy     rows in the order of their path's hash: which row has a path
    shops.json, shops.npy           names of the shops; each row's shop
    shops.rows.npy, shops.starts.npy    rows in the order of their shop, and where each shop begins
    products.npy                    each row's product, as a number

A path's shop is the folder it lies in, its product what stands before the first `_` of its name,
within the shop: `data/abc.com/69_abc_com.jpg` is a picture of product 69 of abc.com.
"""

import dataclasses
import functools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

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
PATHS, SHOPS = "paths.bin", "shops.json"


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

    def raw(self, row: int) -> bytes:
        """The bytes of a path."""
        return self.text[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes()


def build(paths: Paths) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of ARRAYS by name, and the names of the shops, in the order in which they first
    appear."""
    starts, ends = paths.offsets[:-1].astype(np.int64), paths.offsets[1:].astype(np.int64)
    text = np.asarray(paths.text)
    names = _after_last(text, b"/", starts, ends)
    shop_ends = np.maximum(names - 1, starts)
    shop_starts = _after_last(text, b"/", starts, shop_ends)
    shops, first_rows = _numbers(_slices(text, shop_starts, shop_ends))
    # A product's key holds its shop: `abc.com/69`.
    products, _ = _numbers(_slices(text, shop_starts, _first(text, b"_", names, ends)))
    hashes = np.fromiter(map(zlib.crc32, _slices(text, starts, ends)), np.uint32, len(paths))
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
    shop_names = [
        os.fsdecode(text[shop_starts[row] : shop_ends[row]].tobytes()) for row in first_rows
    ]
    return {
        name: arrays[name].astype(dtype, copy=False) for name, dtype in ARRAYS.items()
    }, shop_names


class Columns:
    """The columns of an opened version, read where they are asked for."""

    def __init__(self, folder: Path):
        """Raises OSError or ValueError when a file cannot be opened."""
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        size = (folder / PATHS).stat().st_size
        text = np.memmap(folder / PATHS, np.uint8, mode="r") if size else np.empty(0, np.uint8)
        self.paths = Paths(text, self._arrays["paths.offsets"])
        self._shops_file = folder / SHOPS
        self._shops_text = self._shops_file.read_bytes()

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
        return problems

    def path(self, row: int) -> str:
        """The path of a row as the catalogue spells it (bytes that are not UTF-8 as surrogates)."""
        return os.fsdecode(self.paths.raw(row))

    def row(self, path: str) -> int | None:
        """The row of a path, the first if there are several."""
        wanted = os.fsencode(path)
        hashes = self._arrays["paths.hashes"]
        place = np.searchsorted(hashes, np.uint32(zlib.crc32(wanted)))
        while place < len(hashes) and hashes[place] == zlib.crc32(wanted):
            row = int(self._arrays["paths.rows"][place])
            if self.paths.raw(row) == wanted:
                return row
            place += 1
        return None

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


def _after_last(text: np.ndarray, mark: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Where the part after the last `mark` within each slice begins; its start without one."""
    marks = np.flatnonzero(text == ord(mark))
    last = np.searchsorted(marks, ends) - 1
    found = marks.take(last, mode="clip") if len(marks) else starts
    return np.where((last >= 0) & (found >= starts), found + 1, starts)


def _first(text: np.ndarray, mark: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Where the first `mark` within each slice is; its end without one."""
    marks = np.flatnonzero(text == ord(mark))
    if not len(marks):
        return ends
    return np.minimum(np.append(marks, len(text))[np.searchsorted(marks, starts)], ends)


def _slices(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Iterator[bytes]:
    data = memoryview(np.ascontiguousarray(text))
    return (
        bytes(data[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _numbers(keys: Iterator[bytes]) -> tuple[np.ndarray, list[int]]:
    """Equal keys get equal numbers, counted in the order in which they first appear: int64 [n], and
    the row of each one's first."""
    numbers: dict[bytes, int] = {}
    result = [numbers.setdefault(key, len(numbers)) for key in keys]
    result = np.array(result, np.int64)
    first = np.full(len(numbers), len(result), np.int64)
    np.minimum.at(first, result, np.arange(len(result)))
    return result, first.tolist()
