"""The bytes of files, of this machine or remote; no torch here, so that the page reads them too."""

import os
import stat
from collections.abc import Iterator

from hashing import remote


def read_files(paths: list[str]) -> Iterator[bytes | str]:
    """The bytes of every file, or the reason why they cannot be had.  Those of this machine are
    read as they are taken, remote ones all at once."""
    fetched = iter(remote.read([path for path in paths if remote.is_remote(path)]))
    for path in paths:
        yield next(fetched) if remote.is_remote(path) else _read_local(path)


def _read_local(path: str) -> bytes | str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for without end
            return "Not a file"
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, MemoryError) as error:  # a NUL in the path; a file larger than the memory
        return str(error) or "Too large for the memory"
