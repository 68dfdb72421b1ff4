"""What earlier runs found out, so that nothing is read or hashed twice: how every file looked, what
it held then, and the code of that, or the reason why there is none.

index/.codes/files                path, size, stamp -> digest of the content; whatever the model
index/.codes/<model>              digest of the content -> code
index/.codes/rejected-<limits>    digest of the content -> reason; whatever the model

A code belongs to the bytes of a picture and to the model that hashed it, its preprocessing
included.  Resuming after a crash, indexing a catalogue that changed a little and rebuilding are
then the same thing: hash what has no code yet.
"""

import dataclasses
import hashlib
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hashing import remote
from hashing.codes import CODE_BYTES
from hashing.files import KnownCode
from indexer.table import Table

FOLDER = ".codes"
"""Of an index folder: where its tables are, each in a folder of its own."""

SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was looked at may change again without its time showing it:
clocks of file systems tick in up to 2 s (FAT).  It is read each time until it is older."""

NO_STAMP = -(2**63)
"""Of a file that is missing, changed a moment ago, or whose file system does not tell."""

_FILE = np.dtype(
    [("path", np.uint8, 16), ("size", "<i8"), ("stamp", "<i8"), ("digest", np.uint8, 32)]
)
_FILE_LAYOUT = struct.Struct("<16sqq32s")

_REASON = np.dtype([("digest", np.uint8, 32), ("reason", "S400")])

_AT_A_TIME = 1000

_NOTHING = np.empty((0, 2), np.int64)


def _code_of(size: int) -> np.dtype:
    """The record of a code of so many bytes."""
    return np.dtype([("digest", np.uint8, 32), ("code", np.uint8, size)])


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of some paths, row i about path i."""

    looks: np.ndarray
    """int64 [n, 2]: how each file looks now, as `look` says it."""
    found: np.ndarray
    """bool [n]: whether it looks as it did when it was read, and the code of that is known."""
    digests: np.ndarray
    """uint8 [n, 32], sha256 of the content; arbitrary where not found."""
    codes: np.ndarray
    """uint8 [n, code bytes]; arbitrary where not found."""
    rejected: dict[int, str]
    """row -> reason, of files that look as they did when they were rejected."""


class KnownCodes:
    """For one writer at a time: who indexes holds the index folder's lock."""

    code_of: KnownCode
    """digest -> code, if it was hashed before.  Threads may call it, and it pickles."""

    def __init__(self, root: Path, model_key: str, code_bytes: int = CODE_BYTES, limits: str = ""):
        """root: the index folder; relative paths mean files under the current folder.  model_key:
        names the model and its preprocessing.  limits: what decides about rejections, as text; with
        others, the files are tried again.  Raises OSError."""
        decides = hashlib.sha256(limits.encode()).hexdigest()[:16]
        self._rejected = Table(root / FOLDER / f"rejected-{decides}", _REASON)
        self._files = Table(root / FOLDER / "files", _FILE)
        self._codes = Table(root / FOLDER / model_key, _code_of(code_bytes))
        self.code_bytes = code_bytes
        folder = os.path.join(os.fsencode(os.getcwd()), b"")
        self._relative, self._absolute = (
            hashlib.blake2b(above, digest_size=16) for above in (folder, b"")
        )
        self.code_of = self._codes.get

    def look_up(self, paths: list[bytes], workers: int) -> Known:
        """What is known of the files as they look now.  workers: threads that look."""
        keys = b"".join([self._key(path) for path in paths])
        with ThreadPoolExecutor(1) as pool:  # numpy works while the system looks at files
            finding = pool.submit(self._find, np.frombuffer(keys, np.uint8).reshape(-1, 16))
            looks = look(paths, workers)
            is_file, looked, digests, is_code, codes = finding.result()
        is_file &= (looked == looks).all(axis=1) & (looks[:, 1] != NO_STAMP)
        rest = np.flatnonzero(is_file & ~is_code)
        is_rejected, records = self._rejected.find(digests[rest])
        rejected = {
            row: reason.decode(errors="replace")
            for row, reason in zip(
                rest[is_rejected].tolist(), records["reason"][is_rejected], strict=True
            )
        }
        return Known(looks, is_file & is_code, digests, codes, rejected)

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, ...]:
        """What was kept of paths with these keys, uint8 [n, 16]: whether there is something, bool
        [n], how the file looked, int64 [n, 2], its digest, uint8 [n, 32], whether that has a code,
        bool [n], and the code, uint8 [n, code bytes]."""
        is_file, files = self._files.find(keys)
        looked = np.stack([files["size"], files["stamp"]], axis=1)
        digests = files["digest"].copy()  # not a view, which would keep the rest
        del files
        is_code, records = self._codes.find(digests)
        return is_file, looked, digests, is_code, records["code"].copy()

    def keep(self, path: str, look: np.ndarray, digest: bytes, code: bytes) -> None:
        """Keep what was made of a file that was read after it looked like this (int64 [2]).  It is
        on disk within `table.PART_SECONDS` of further calls, or after `flush`."""
        if self.code_of(digest) is None:
            self._codes.add(digest + code)
        self._keep_look(path, look, digest)

    def keep_rejected(self, path: str, look: np.ndarray, digest: bytes, reason: str) -> None:
        """As `keep`, of a file whose content was rejected."""
        if self._rejected.get(digest) is None:
            text = reason.encode(errors="replace")[: _REASON["reason"].itemsize]
            self._rejected.add(digest + text.ljust(_REASON["reason"].itemsize, b"\0"))
        self._keep_look(path, look, digest)

    def _keep_look(self, path: str, look: np.ndarray, digest: bytes) -> None:
        size, stamp = look.tolist()
        if stamp != NO_STAMP:
            self._files.add(_FILE_LAYOUT.pack(self._key(os.fsencode(path)), size, stamp, digest))

    def flush(self) -> None:
        """Write what is not on disk yet.  Raises OSError, and forgets nothing."""
        self._codes.flush()
        self._rejected.flush()
        self._files.flush()

    def merge(self) -> None:
        """Merge the parts of each table into one when there are many.  Raises OSError."""
        self._codes.merge()
        self._rejected.merge()
        self._files.merge()

    def _key(self, path: bytes) -> bytes:
        """A hash of the whole path, 16 bytes."""
        key = (self._absolute if path.startswith(b"/") else self._relative).copy()
        key.update(path)
        return key.digest()


# -- how files look ------------------------------------------------------------------------------


def look(paths: list[bytes], workers: int) -> np.ndarray:
    """How every file looks now: int64 [n, 2] of size in bytes and stamp.

    The stamp is mtime_ns or, of a remote file, what `remote.look` says; NO_STAMP where it proves
    nothing.  workers: threads.  Whoever reads a file after this and records what it looked like
    here is safe: a change in between shows in the next look.
    """
    some = (paths[start : start + _AT_A_TIME] for start in range(0, len(paths), _AT_A_TIME))
    with ThreadPoolExecutor(workers) as pool:
        looks = np.concatenate([_NOTHING, *pool.map(_look, some)])
    urls = {
        row: os.fsdecode(path)
        for row, path in enumerate(paths)
        if b"://" in path and remote.is_remote(os.fsdecode(path))
    }
    for row, seen in zip(urls, remote.look(list(urls.values())), strict=True):
        looks[row] = seen or (NO_STAMP, NO_STAMP)
    return looks


def _look(paths: list[bytes]) -> np.ndarray:
    """The same of files on this machine, one after the other."""
    settled = time.time_ns() - SETTLED_NS  # before the looks: later changes are not settled
    looks: list[int] = []
    for path in paths:
        try:
            seen = os.stat(path)
        except (OSError, ValueError):  # reading it will tell the reason
            looks += (NO_STAMP, NO_STAMP)
        else:
            stamp = seen.st_mtime_ns
            looks += (seen.st_size, stamp if stamp < settled else NO_STAMP)
    return np.array(looks, np.int64).reshape(-1, 2)
