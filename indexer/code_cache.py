"""Codes that were computed once, kept by content: what is here is never hashed again.

A code belongs to the bytes of a picture and to the model that hashed it, its preprocessing
included.  The codes of one model are the parts of one folder: numpy files of (digest, code)
records, each written whole and renamed into place, never changed.  Resuming after a crash,
indexing a catalogue that changed a little and rebuilding are then the same thing: hash what has no
code yet.
"""

import io
import logging
import os
import time
from pathlib import Path

import numpy as np

FOLDER = ".codes"
RECORD = np.dtype([("digest", np.uint8, 32), ("code", np.uint8, 8)])

PART_SECONDS = 1.0
"""A kill loses at most this much work; a part is a file of its own, so not much less either."""

MOST_PARTS = 64
"""With more parts than this, a finished run melts them into one."""

log = logging.getLogger(__name__)


class CodeCache:
    """digest of a picture's bytes (sha256, 32 bytes) -> code (8 bytes), for one model.

    For one writer at a time: the indexer holds the index folder's lock.
    """

    def __init__(self, root: Path, model_key: str):
        """root: the index folder.  model_key: names the model and its preprocessing."""
        self._folder = root / FOLDER / model_key
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob("*.tmp"):
            leftover.unlink()
        self._codes: dict[bytes, bytes] = {}
        for part in self._parts():
            records = _read(part)
            digests, codes = records["digest"].tobytes(), records["code"].tobytes()
            for row in range(len(records)):
                self._codes[digests[32 * row : 32 * row + 32]] = codes[8 * row : 8 * row + 8]
        self._pending: list[tuple[bytes, bytes]] = []
        self._last_write = time.monotonic()

    def __len__(self) -> int:
        return len(self._codes)

    def get(self, digest: bytes) -> bytes | None:
        """The code of the picture with this digest, if it was hashed before."""
        return self._codes.get(digest)

    def add(self, digest: bytes, code: bytes) -> None:
        """Keep a code; it is on disk within PART_SECONDS of further calls, or after `flush`."""
        if digest in self._codes:
            return
        self._codes[digest] = code
        self._pending.append((digest, code))
        if time.monotonic() - self._last_write >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet as one part."""
        if self._pending:
            self._write(self._pending)
            self._pending = []
        self._last_write = time.monotonic()

    def compact(self) -> None:
        """Melt the parts into one when there are many.  A kill in between leaves codes twice, which
        does no harm."""
        self.flush()
        parts = self._parts()
        if len(parts) <= MOST_PARTS:
            return
        self._write(list(self._codes.items()))
        for part in parts:
            part.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.npy"))

    def _write(self, pairs: list[tuple[bytes, bytes]]) -> None:
        records = np.empty(len(pairs), RECORD)
        digests, codes = (b"".join(column) for column in zip(*pairs, strict=True))
        records["digest"] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
        records["code"] = np.frombuffer(codes, np.uint8).reshape(-1, 8)
        taken = [int(part.stem) for part in self._parts()]
        path = self._folder / f"{max(taken, default=0) + 1:08}.npy"
        temporary = path.with_suffix(".tmp")
        data = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
        np.save(data, records)
        with open(temporary, "wb") as file:
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def _read(part: Path) -> np.ndarray:
    """The records of a part.  One that is damaged is removed: its pictures are hashed again."""
    try:
        with open(part, "rb") as file:
            records = np.lib.format.read_array(file, allow_pickle=False)
        if records.dtype == RECORD:
            return records
        reason = f"it holds {records.dtype}"
    except ValueError as error:
        reason = str(error)
    log.warning("%s is damaged (%s) and removed; its pictures are hashed again", part, reason)
    part.unlink()
    return np.empty(0, RECORD)
