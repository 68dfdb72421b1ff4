"""Paths of many rows, as bytes: in memory or in files, and never as texts all at once."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from machine.arrays import give_back, mapped, parts, scratch

AT_ONCE = 1 << 17
"""Rows whose paths stand in memory at once."""


class Paths:
    """Paths one after the other: text uint8 [total], offsets uint64 [n + 1]."""

    def __init__(self, text: np.ndarray, offsets: np.ndarray):
        self.text, self.offsets = text, offsets

    @classmethod
    def of(cls, paths: list[str]) -> "Paths":
        """Of texts; surrogates stand for bytes that are not UTF-8."""
        encoded = [os.fsencode(path) for path in paths]
        offsets = np.zeros(len(encoded) + 1, np.uint64)
        np.cumsum([len(path) for path in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def written(cls, folder: Path, pieces: Iterable[list[bytes]]) -> "Paths":
        """Of all these, in files in `folder` that are gone with the process.  Raises OSError."""
        end = np.uint64(0)
        with scratch(folder) as text, scratch(folder) as offsets:
            offsets.write(end.tobytes())
            for piece in pieces:
                text.write(b"".join(piece))
                ends = np.fromiter(map(len, piece), np.uint64, len(piece)).cumsum() + end
                offsets.write(ends.data)
                end = ends[-1] if len(ends) else end
            return cls(mapped(text, np.uint8), mapped(offsets, np.uint64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def raw(self, row: int) -> bytes:
        """The bytes of a path."""
        return self.text[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes()

    def pieces(self, rows: int = AT_ONCE) -> Iterator[list[bytes]]:
        """The bytes of all paths, so many at once."""
        for start in range(0, len(self), rows):
            bounds = self.offsets[start : start + rows + 1].astype(np.int64)
            text = self.text[bounds[0] : bounds[-1]].tobytes()
            yield [text[a:b] for a, b in itertools.pairwise((bounds - bounds[0]).tolist())]
            give_back(self.text)
            give_back(self.offsets)

    def with_byte(self, byte: bytes) -> Iterator[bytes]:
        """Those that hold this byte, in their order."""
        for start in range(0, len(self), AT_ONCE):
            bounds = self.offsets[start : start + AT_ONCE + 1]
            text = self.text[int(bounds[0]) : int(bounds[-1])]
            places = np.flatnonzero(text == ord(byte)).astype(np.uint64) + bounds[0]
            rows = np.unique(np.searchsorted(bounds, places, side="right") - 1)
            yield from (self.raw(start + row) for row in rows.tolist())
            give_back(self.text)
            give_back(self.offsets)

    def hashes(self) -> np.ndarray:
        """uint64 [n]: a hash of every path, the same for the same path in this process."""
        hashes = np.empty(len(self), np.uint64)
        start = 0
        for piece in self.pieces_of_hashes():
            hashes[start : start + len(piece)] = piece
            start += len(piece)
        return hashes

    def pieces_of_hashes(self) -> Iterator[np.ndarray]:
        """The same, piece by piece."""
        for piece in self.pieces():
            yield np.fromiter(map(hash, piece), np.int64, len(piece)).view(np.uint64)

    def first_of_equals(self) -> np.ndarray:
        """bool [n]: whether no path before is the same."""
        is_first = np.ones(len(self), bool)
        hashes = self.hashes()
        for rows in parts(hashes):
            own = hashes[rows]
            own.sort()
            twice = own[1:][own[1:] == own[:-1]]
            seen: set[bytes] = set()
            for row in rows[np.isin(hashes[rows], twice)].tolist():
                path = self.raw(row)
                is_first[row] = path not in seen
                seen.add(path)
            give_back(self.text)
        return is_first

    def kept(self, is_kept: np.ndarray, folder: Path) -> "Paths":
        """Those that are to be kept, bool [n], written as by `written`; all of them as they are.
        Raises OSError."""
        if is_kept.all():
            return self
        starts = range(0, len(self), AT_ONCE)
        return self.written(
            folder,
            (
                list(itertools.compress(piece, is_kept[start : start + AT_ONCE]))
                for start, piece in zip(starts, self.pieces(AT_ONCE), strict=True)
            ),
        )


class Texts(Sequence[str]):
    """The paths of some rows, int64 [n], as texts, made when they are asked for."""

    def __init__(self, paths: Paths, rows: np.ndarray):
        self._paths, self._rows = paths, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, int):
            return os.fsdecode(self._paths.raw(self._rows[place]))
        texts = [os.fsdecode(self._paths.raw(row)) for row in self._rows[place].tolist()]
        give_back(self._paths.text)
        return texts

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 1024):
            yield from self[start : start + 1024]
