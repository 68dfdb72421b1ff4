"""Arrays that are larger than the memory they may take: read from their files piece by piece, and
written to files that no name leads to."""

import mmap
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

PIECE_BYTES = 1 << 25
"""About so much is read at once."""


PART_ROWS = 1 << 21
"""Rows that are compared with each other at once."""


def scratch(folder: Path) -> BinaryIO:
    """A file without a name in `folder`, or beside where that will be: it is gone with the process,
    however that ends.  Raises OSError."""
    while not folder.is_dir():
        folder = folder.parent
    return tempfile.TemporaryFile(dir=folder)


def mapped(file: BinaryIO, dtype: np.dtype | type, width: int | None = None) -> np.ndarray:
    """What was written to a scratch file, memory-mapped for reading: [n], or [n, width]."""
    file.flush()
    if not file.tell():  # nothing cannot be mapped
        return np.empty(0 if width is None else (0, width), dtype)
    array = np.memmap(file, dtype, mode="r")
    return array if width is None else array.reshape(-1, width)


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array [n, …] as runs of rows of about PIECE_BYTES, whose pages do not stay in memory when
    it is mapped from a file."""
    rows = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        give_back(array)


def kept_rows(array: np.ndarray, is_kept: np.ndarray, folder: Path) -> np.ndarray:
    """The rows of an array [n, width] that are to be kept, bool [n], in a scratch file; the array
    itself where all are.  Raises OSError."""
    if is_kept.all():
        return array
    start = 0
    with scratch(folder) as file:
        for piece in pieces(array):
            file.write(piece[is_kept[start : start + len(piece)]].data)
            start += len(piece)
        return mapped(file, array.dtype, array.shape[1])


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return all(np.array_equal(a, b) for a, b in zip(pieces(one), pieces(other), strict=True))


def give_back(array: np.ndarray) -> None:
    """Let go of the pages of a mapped file that were read; those of an array in memory stay."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)


def parts(keys: np.ndarray) -> Iterator[np.ndarray]:
    """The rows int64 [f] of keys uint64 [n] that begin alike, about PART_ROWS at once where keys
    look random; those of equal keys come together, in ascending order."""
    bits = (len(keys) // PART_ROWS).bit_length()
    if not bits:
        yield np.arange(len(keys))
        return
    beginnings = (keys >> np.uint64(64 - bits)).astype(np.uint16)
    for beginning in range(1 << bits):
        yield np.flatnonzero(beginnings == beginning)
