"""Fixed-size records on disk that only ever grow in number, found by a key.

A table is a folder of numpy files: `sorted.npy`, the records in the order of their keys, which is
read where it is asked for, and parts, in the order in which they were added, which stand in memory
as well.  Every file is written whole and renamed into place.  A kill loses what was in no file yet,
and nothing else.
"""

import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import open_memmap, read_array, write_array_header_1_0

from machine.arrays import give_back
from machine.files import write_whole, written_whole

SORTED = "sorted.npy"

PART_SECONDS = 1.0
"""A kill loses at most this much work; a part is a file of its own, so not much less either."""

MOST_PARTS = 64
"""With more parts than this, a finished run merges them."""

MOST_IN_MEMORY = 1_000_000
"""With more records in parts than this, and than an eighth of the sorted ones, they are merged."""

AT_ONCE = 1 << 20
"""Sorted records that are read at once."""

_MOST_RECENT = 65536
"""Added records stand in a dict until there are so many; in an array one takes a tenth of that."""

log = logging.getLogger(__name__)


class Table:
    """Records of one numpy type whose first field, the key, is uint8 [16 or more] and looks random,
    as digests do.  Of records with the same key the last one added counts.

    For one writer at a time: the indexer holds the index folder's lock.  Other threads may call
    `get` meanwhile.
    """

    def __init__(self, folder: Path, record: np.dtype):
        """folder: of this table alone; made if missing.  Raises OSError."""
        self._folder, self._record = folder, record
        self._key: str = (record.names or ())[0]
        folder.mkdir(parents=True, exist_ok=True)
        self._sorted = self._open_sorted()
        parts = [self._read(part) for part in self._parts()]
        self._in_parts = self._in_order(np.concatenate([np.empty(0, record), *parts]))
        self._recent: dict[bytes, bytes] = {}  # key -> record, in neither of them yet
        self._pending: list[bytes] = []  # records that are in no part yet
        self._pending_since = 0.0
        del parts
        self._merge_if_large()

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up many keys: uint8 [n, key size] -> found bool [n], records [n] (arbitrary where
        not found).  All sorted records are read once."""
        self._fold()
        wanted = _beginnings(keys)
        order = np.argsort(wanted)
        wanted = wanted[order]
        found, records = np.zeros(len(keys), bool), np.zeros(len(keys), self._record)
        for some in (*_pieces(self._sorted), self._in_parts):  # the last one counts
            if not len(some):
                continue
            ends = _beginnings(some[self._key][[0, -1]])
            own = slice(
                np.searchsorted(wanted, ends[0]), np.searchsorted(wanted, ends[1], side="right")
            )
            if own.start == own.stop:
                continue
            beginnings = np.ascontiguousarray(_beginnings(some[self._key]))
            # The last of equal ones.
            at = _taken(some, np.searchsorted(beginnings, wanted[own], side="right") - 1)
            rows = order[own]
            same = (at[self._key] == keys.take(rows, axis=0)).all(axis=1)
            found[rows] |= same
            _whole(records)[rows[same]] = _whole(at)[same]
            give_back(self._sorted)
        return found, records

    def get(self, key: bytes) -> bytes | None:
        """Look up one key: what follows the key in its record, or None."""
        # In the order in which a record goes from one to the next, so that none is missed.
        record = self._recent.get(key)
        beginning = np.frombuffer(key, np.uint64, 1)[0]
        for records in (self._in_parts, self._sorted):
            if record is None:
                beginnings = _beginnings(records[self._key])
                row = np.searchsorted(beginnings, beginning, side="right") - 1
                at = records[row].tobytes() if row >= 0 else b""
                record = at if at.startswith(key) else None
        return None if record is None else record[len(key) :]

    def add(self, record: bytes) -> None:
        """Add a record; it is on disk within PART_SECONDS of further calls, or after `flush`."""
        self._recent[record[: self._record[0].itemsize]] = record
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(record)
        if len(self._recent) > _MOST_RECENT:
            self._fold()
            self._merge_if_large()
        if time.monotonic() - self._pending_since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet as one part.  Raises OSError, and forgets nothing."""
        if self._pending:
            self.write_part(np.frombuffer(b"".join(self._pending), self._record))
            self._pending = []

    def merge(self) -> None:
        """Merge the parts into the sorted records when there are many.  Raises OSError."""
        self.flush()
        if len(self._parts()) > MOST_PARTS:
            self._merge()

    def write_part(self, records: np.ndarray) -> None:
        """Write records as a part of their own: it is there whole or not at all."""
        taken = [int(part.stem) for part in self._parts()]
        path = self._folder / f"{max(taken, default=0) + 1:08}.npy"
        data = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
        np.save(data, records)
        write_whole(path, data.getvalue())

    def _merge_if_large(self) -> None:
        if len(self._in_parts) > max(MOST_IN_MEMORY, len(self._sorted) // 8):
            self.flush()
            self._merge()

    def _merge(self) -> None:
        """Merge all parts into the sorted records.  A kill in between leaves records twice, which
        does no harm."""
        self._fold()
        parts = self._parts()
        with written_whole(self._folder / SORTED) as file:
            self._begin(file, 0)
            count = 0
            for records in self._merged():
                file.write(records.data)
                count += len(records)
            file.seek(0)
            self._begin(file, count)  # as long as the first: numpy leaves room for any number
        self._sorted = self._open_sorted()
        self._in_parts = np.empty(0, self._record)
        for part in parts:
            part.unlink()

    def _merged(self) -> Iterator[np.ndarray]:
        """The sorted records and those in parts as one, of each key the last."""
        beginnings = np.ascontiguousarray(_beginnings(self._in_parts[self._key]))
        start = 0
        for some in _pieces(self._sorted):
            last = _beginnings(some[self._key][-1:])
            end = int(np.searchsorted(beginnings, last, side="right")[0])
            yield self._last_of_equals(np.concatenate([some, self._in_parts[start:end]]))
            start = end
            give_back(self._sorted)
        yield self._last_of_equals(self._in_parts[start:])

    def _last_of_equals(self, records: np.ndarray) -> np.ndarray:
        """The records in order, of each key the last."""
        records = self._in_order(records)
        keys = records[self._key]
        return records[np.append((keys[1:] != keys[:-1]).any(axis=1), True)[: len(keys)]]

    def _begin(self, file: BinaryIO, count: int) -> None:
        descr = np.lib.format.dtype_to_descr(self._record)
        header = {"descr": descr, "fortran_order": False, "shape": (count,)}
        write_array_header_1_0(file, header)

    def _parts(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.npy") if path.name != SORTED)

    def _open_sorted(self) -> np.ndarray:
        path = self._folder / SORTED
        try:
            records = np.asarray(open_memmap(path, mode="r"))
        except FileNotFoundError:
            return np.empty(0, self._record)
        except ValueError as error:
            return self._removed(path, str(error))
        return records if self._fits(records) else self._removed(path, f"it holds {records.dtype}")

    def _read(self, part: Path) -> np.ndarray:
        """The records of a part."""
        try:
            with open(part, "rb") as file:
                records = read_array(file, allow_pickle=False)
        except ValueError as error:
            return self._removed(part, str(error))
        return records if self._fits(records) else self._removed(part, f"it holds {records.dtype}")

    def _fits(self, records: np.ndarray) -> bool:
        return records.dtype == self._record and records.ndim == 1

    def _removed(self, path: Path, reason: str) -> np.ndarray:
        """No records: the file is damaged, and its work is done again."""
        log.warning("%s is damaged (%s) and removed; what it held is computed again", path, reason)
        path.unlink()
        return np.empty(0, self._record)

    def _fold(self) -> None:
        if self._recent:
            recent = np.frombuffer(b"".join(self._recent.values()), self._record)
            self._in_parts = self._in_order(np.concatenate([self._in_parts, recent]))
            self._recent = {}

    def _in_order(self, records: np.ndarray) -> np.ndarray:
        """The records by the first 8 bytes of their keys, equal ones as they came."""
        return _taken(records, np.argsort(_beginnings(records[self._key]), kind="stable"))


def _pieces(records: np.ndarray) -> Iterator[np.ndarray]:
    return (records[start : start + AT_ONCE] for start in range(0, len(records), AT_ONCE))


def _whole(records: np.ndarray) -> np.ndarray:
    """The same records without their fields: numpy moves each at once."""
    return records.view(np.dtype((np.void, records.dtype.itemsize)))


def _taken(records: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of some rows."""
    return _whole(records).take(rows).view(records.dtype)


def _beginnings(keys: np.ndarray) -> np.ndarray:
    """The first 8 bytes as numbers, not copied: uint8 [n, 8 or more] -> uint64 [n].

    Should two keys begin alike, the earlier one is not found any more, and its work is done again.
    """
    numbers: np.ndarray = keys[:, :8].view(np.uint64)[:, 0]
    return numbers
