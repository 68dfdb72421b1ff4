"""The catalogue: the list of image paths that `extract_datalake.sh` writes, read again."""

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path

from machine.errors import Problem

_HOW_TO_MAKE = "run bash indexer/extract_datalake.sh DIR to make the list"


class CatalogueError(Problem):
    """The list cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Catalogue:
    """Image paths in the order of their list."""

    lines: list[str]
    """Image paths as the list spells them, line by line, duplicates and all; bytes that are not
    UTF-8 are kept by `surrogateescape`, so `os.fsencode` gives back the name on disk."""
    paths: list[str]
    """The same, each once."""
    sha256: str
    """Of the list file's bytes, 64 hexadecimal digits."""
    duplicates: int
    """Lines dropped because an earlier line holds the same path."""
    blank: int
    """Lines skipped because they hold nothing but spaces and tabs."""


def read_catalogue(path: Path) -> Catalogue:
    """Read a list of image paths, one a line.

    A leading byte order mark is dropped and CRLF line ends are accepted. Everything else in a
    line belongs to the path: spaces at either end and `#` as well.

    Raises:
        CatalogueError: the file is missing, a folder, not readable, holds a NUL byte (as binary
            and UTF-16 files do), or holds no path.
    """
    data = _read_bytes(path)
    _refuse_binary(path, data)
    lines = _split_lines(data)
    filled = [line for line in lines if line.strip(" \t")]
    if not filled:
        raise CatalogueError(f"{path} holds no image path: {_HOW_TO_MAKE}")
    paths = list(dict.fromkeys(filled))
    return Catalogue(
        lines=filled,
        paths=paths,
        sha256=hashlib.sha256(data).hexdigest(),
        duplicates=len(filled) - len(paths),
        blank=len(lines) - len(filled),
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CatalogueError(f"{path} is missing: {_HOW_TO_MAKE}") from None
    except IsADirectoryError:
        raise CatalogueError(
            f"{path} is a folder, not a list of image paths: "
            f"run bash indexer/extract_datalake.sh {path} and give the list it writes"
        ) from None
    except OSError as error:
        raise CatalogueError(
            f"{path} cannot be read ({error.strerror}): "
            "get read access to the file, or name another list"
        ) from error


def _refuse_binary(path: Path, data: bytes) -> None:
    nul = data.find(b"\0")
    if nul < 0:
        return
    line = data.count(b"\n", 0, nul) + 1
    raise CatalogueError(
        f"{path} holds a NUL byte in line {line}, so it is binary or UTF-16 and no list of "
        f"image paths: save it as UTF-8 text, or {_HOW_TO_MAKE}"
    )


def _split_lines(data: bytes) -> list[str]:
    """Split at LF and CRLF only: `str.splitlines` would cut names that hold U+2028 and the like."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    if not text.endswith("\n"):
        text += "\n"
    return text.replace("\r\n", "\n").split("\n")[:-1]
