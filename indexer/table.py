"""Fixed-size records on disk that only ever grow in number, found by a key.

A table is a folder of parts: numpy files of records, each written whole and renamed into place,
never changed.  A kill loses what was in no part yet, and nothing else.
"""

import io
import logging
import time
from pathlib import Path

import numpy as np

from machine.files import write_whole

PART_SECONDS = 1.0
"""A kill loses at most this much work; a part is a file of its own, so not much less either."""

MOST_PARTS = 64
"""With more parts than this, a finished run merges them into one."""

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
        parts = [self._read(part) for part in self._parts()]
        self._sorted = self._sort(np.concatenate([np.empty(0, record), *parts]))
        self._recent: dict[bytes, bytes] = {}  # key -> record, not in _sorted yet
        self._pending: list[bytes] = []  # records that are in no part yet
        self._pending_since = 0.0

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up many keys: uint8 [n, key size] -> found bool [n], records [n] (arbitrary where
        not found)."""
        self._fold()
        beginnings, records = self._sorted
        if not len(records):
            return np.zeros(len(keys), bool), np.zeros(len(keys), self._record)
        # The last of equal ones; none lies before the first, and then row -1 is not the key either.
        rows = np.searchsorted(beginnings, _beginnings(keys), side="right") - 1
        records = records[rows]
        return (records[self._key] == keys).all(axis=1), records

    def get(self, key: bytes) -> bytes | None:
        """Look up one key: what follows the key in its record, or None."""
        record = self._recent.get(key)  # before _sorted: `_fold` fills that first
        if record is None:
            beginnings, records = self._sorted
            beginning = np.frombuffer(key, np.uint64, 1)[0]
            row = np.searchsorted(beginnings, beginning, side="right") - 1
            record = records[row].tobytes() if row >= 0 else b""
        return record[len(key) :] if record.startswith(key) else None

    def add(self, record: bytes) -> None:
        """Add a record; it is on disk within PART_SECONDS of further calls, or after `flush`."""
        self._recent[record[: self._record[0].itemsize]] = record
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append(record)
        if len(self._recent) > _MOST_RECENT:
            self._fold()
        if time.monotonic() - self._pending_since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet as one part.  Raises OSError, and forgets nothing."""
        if self._pending:
            self.write_part(np.frombuffer(b"".join(self._pending), self._record))
            self._pending = []

    def merge(self) -> None:
        """Merge the parts into one when there are many.  A kill in between leaves records twice,
        which does no harm."""
        self.flush()
        parts = self._parts()
        if len(parts) <= MOST_PARTS:
            return
        self._fold()
        _, records = self._sorted
        keys = records[self._key]
        last = np.append((keys[1:] != keys[:-1]).any(axis=1), True)
        self.write_part(records[last])
        for part in parts:
            part.unlink()

    def write_part(self, records: np.ndarray) -> None:
        """Write records as a part of their own: it is there whole or not at all."""
        taken = [int(part.stem) for part in self._parts()]
        path = self._folder / f"{max(taken, default=0) + 1:08}.npy"
        data = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
        np.save(data, records)
        write_whole(path, data.getvalue())

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.npy"))

    def _read(self, part: Path) -> np.ndarray:
        """The records of a part.  One that is damaged is removed: its work is done again."""
        try:
            with open(part, "rb") as file:
                records = np.lib.format.read_array(file, allow_pickle=False)
            if records.dtype == self._record and records.ndim == 1:
                return records
            reason = f"it holds {records.dtype}"
        except ValueError as error:
            reason = str(error)
        log.warning("%s is damaged (%s) and removed; what it held is computed again", part, reason)
        part.unlink()
        return np.empty(0, self._record)

    def _fold(self) -> None:
        if self._recent:
            recent = np.frombuffer(b"".join(self._recent.values()), self._record)
            self._sorted = self._sort(np.concatenate([self._sorted[1], recent]))
            self._recent = {}

    def _sort(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The records by the first 8 bytes of their keys, equal ones as they came; and those 8
        bytes as numbers, to search in."""
        beginnings = _beginnings(records[self._key])
        order = np.argsort(beginnings, kind="stable")
        return beginnings[order], records[order]


def _beginnings(keys: np.ndarray) -> np.ndarray:
    """uint8 [n, 8 or more] -> uint64 [n].

    Should two keys begin alike, the earlier one is not found any more, and its work is done again.
    """
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64)[:, 0]
