"""Files that others read: there whole or not at all, whatever happens while they are written."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from machine.container import available_cores


@contextlib.contextmanager
def written_whole(path: Path, staged: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write; at the end of the block it takes the place of `path`.

    It is written beside its place, as `.NAME.new`, fsynced and renamed, and the folder is fsynced:
    after a kill or a power failure at any moment `path` is as it was before, or complete.  When the
    block raises, nothing changes.  For one writer of a path at a time.  staged: another place to
    write it at first, on the same file system, where the folder is to hold nothing half-made.
    Raises OSError.
    """
    staged = staged or path.with_name(f".{path.name}.new")
    try:
        with written_synced(staged) as file:
            yield file
        os.replace(staged, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # there is no folder that it could be in
            staged.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(staged)):
            error.filename = str(path)  # what a person asked for
        raise
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes, staged: Path | None = None) -> None:
    """Let `path` hold `data`, as `written_whole` does it.  Raises OSError."""
    with written_whole(path, staged) as file:
        file.write(data)


@contextlib.contextmanager
def written_synced(path: Path) -> Iterator[BinaryIO]:
    """A file to write, fsynced at the end of the block; for files of a folder that others read only
    once it is renamed as a whole.  Raises OSError."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file at all
        raise


def write_synced(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, as `written_synced` does it.  Raises OSError."""
    with written_synced(path) as file:
        file.write(data)


def place_whole(staged: Path, path: Path) -> None:
    """Let a file that another program has finished, on the same file system, take the place of
    `path`, as `written_whole` does it.  Raises OSError."""
    with open(staged, "rb") as file:
        os.fsync(file.fileno())
    os.replace(staged, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring what was renamed in a folder to the disk.  Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes: 64 hexadecimal digits.  Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_each(paths: Iterable[Path]) -> list[str]:
    """The same of several files, side by side on the cores at hand.  Raises OSError."""
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(sha256_of, paths))
