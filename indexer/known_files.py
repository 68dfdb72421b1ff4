"""Files whose content is known: one that looks as it did when it was read need not be read again.

How a file looks is its size and a stamp: the time of its last change for a file of this machine;
for a remote one what its file system says instead (see `hashing.remote`).  What was known of a file
is independent of the model.
"""

import hashlib
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hashing import remote
from indexer.table import FOLDER, Table

RECORD = np.dtype(
    [("path", np.uint8, 16), ("size", "<i8"), ("stamp", "<i8"), ("digest", np.uint8, 32)]
)
_LAYOUT = struct.Struct("<16sqq32s")

SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was looked at may change again without its time showing it:
clocks of file systems tick in up to 2 s (FAT).  It is read each time until it is older."""

NO_STAMP = -(2**63)
"""Of a file that is missing, changed a moment ago, or whose file system does not tell."""

_AT_A_TIME = 1000


def look(paths: list[str], workers: int) -> np.ndarray:
    """How every file looks now: int64 [n, 2] of size in bytes and stamp.

    The stamp is mtime_ns or, of a remote file, what `remote.look` says; NO_STAMP where it proves
    nothing.  workers: threads.  Whoever reads a file after this and records what it looked like
    here is safe: a change in between shows in the next look.
    """
    looks = np.full((len(paths), 2), NO_STAMP, np.int64)

    def look_at(start: int) -> None:
        for row, path in enumerate(paths[start : start + _AT_A_TIME], start):
            if not remote.is_remote(path):
                looks[row] = _look(path)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(look_at, range(0, len(paths), _AT_A_TIME)):
            pass
    rows = [row for row, path in enumerate(paths) if remote.is_remote(path)]
    for row, seen in zip(rows, remote.look([paths[row] for row in rows]), strict=True):
        looks[row] = seen or (NO_STAMP, NO_STAMP)
    return looks


def _look(path: str) -> tuple[int, int]:
    now = time.time_ns()
    try:
        seen = os.stat(path)
    except (OSError, ValueError):  # reading it will tell the reason
        return NO_STAMP, NO_STAMP
    settled = seen.st_mtime_ns < now - SETTLED_NS
    return seen.st_size, seen.st_mtime_ns if settled else NO_STAMP


class KnownFiles:
    """path, size, stamp -> digest of the content (sha256, 32 bytes).

    For one writer at a time, as `Table` says.
    """

    def __init__(self, root: Path):
        """root: the index folder.  Relative paths mean files under the current folder."""
        self._table = Table(root / FOLDER / "files", RECORD)
        self._folder = os.fsencode(os.getcwd())

    def find(self, paths: list[str], looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The digests of files that look as they did: found bool [n], digests uint8 [n, 32].

        looks: as `look` returns it.
        """
        keys = b"".join(map(self._key, paths))
        found, records = self._table.find(np.frombuffer(keys, np.uint8).reshape(-1, 16))
        sizes, stamps = looks.T
        found &= (records["size"] == sizes) & (records["stamp"] == stamps) & (stamps != NO_STAMP)
        return found, records["digest"]

    def add(self, path: str, look: np.ndarray, digest: bytes) -> None:
        """Keep the digest of a file that was read after it looked like this (int64 [2])."""
        size, stamp = look.tolist()
        if stamp != NO_STAMP:
            self._table.add(_LAYOUT.pack(self._key(path), size, stamp, digest))

    def flush(self) -> None:
        """Write what is not on disk yet as one part."""
        self._table.flush()

    def melt(self) -> None:
        """Melt the parts into one when there are many."""
        self._table.melt()

    def _key(self, path: str) -> bytes:
        whole = os.path.join(self._folder, os.fsencode(path))  # leaves an absolute path as it is
        return hashlib.blake2b(whole, digest_size=16).digest()
