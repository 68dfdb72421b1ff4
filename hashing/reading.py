"""The bytes of files, of this machine or remote; no torch here, so that the page reads them too."""

import os
import stat
from collections.abc import Iterator, Sequence

from hashing import remote
from machine.settings import MOST_FILE_BYTES


def read_files(paths: Sequence[str]) -> Iterator[bytes | str]:
    """The bytes of every file, or the reason why they cannot be had; those of too large a file are
    not read.  Files of this machine are read as they are taken, remote ones all at once."""
    fetched = iter(remote.read([path for path in paths if remote.is_remote(path)]))
    for path in paths:
        yield next(fetched) if remote.is_remote(path) else _read_local(path)


def _read_local(path: str) -> bytes | str:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
            return "Not a file"
        if found.st_size > MOST_FILE_BYTES:
            return remote.too_large(found.st_size)
        with open(path, "rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)  # it may grow meanwhile
        return data if len(data) <= MOST_FILE_BYTES else remote.too_large(len(data))
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, MemoryError) as error:  # a NUL in the path
        return str(error) or "Too large for the memory"
