"""The catalogue: the list of image paths that `extract_datalake.sh` writes, read again."""

import codecs
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine.errors import Problem
from searcher.paths import Paths
from searcher.shops import ShopRule

BLOCK = 1 << 24
"""Bytes of a list that are read at once."""

_HOW_TO_MAKE = "run bash indexer/extract_datalake.sh DIR to make the list"


DATALAKE = ".datalake"
"""End of the name, beside the list's, of the file that holds the folder of the list's shops, as the
lines spell it."""
LEFT_OUT = ".left_out"
"""End of the name, beside the list's, of the file that names what was left out of it: a reason, a
tab and a path a line."""
_NO_LOSS = b"text\t"
"""Of files that nobody takes for a picture."""


class CatalogueError(Problem):
    """The list cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Catalogue:
    """Image paths in the order of their list."""

    paths: Paths
    """Image paths as the list spells them, each once, in files without names."""
    sha256: str
    """Of the list file's bytes, 64 hexadecimal digits."""
    duplicates: int
    """Lines dropped because an earlier line holds the same path."""
    blank: int
    """Lines skipped because they hold nothing but spaces and tabs."""
    left_out: int
    """Files of the datalake that are in no line and may have been pictures, as `LEFT_OUT` says."""


def read_catalogue(path: Path, folder: Path) -> Catalogue:
    """Read a list of image paths, one a line.

    A leading byte order mark is dropped and CRLF line ends are accepted. Everything else in a
    line belongs to the path: spaces at either end and `#` as well.

    folder: where the paths are kept as long as somebody has them.
    Raises:
        CatalogueError: the file is missing, a folder, not readable, holds a NUL byte (as binary
            and UTF-16 files do), or holds no path.
    """
    lines = Lines(path)
    filled = Paths.written(folder, filled_lines(lines))
    paths = filled.kept(filled.first_of_equals(), folder)
    return Catalogue(
        paths=paths,
        sha256=lines.sha256,
        duplicates=len(filled) - len(paths),
        blank=lines.count - len(filled),
        left_out=_left_out(path),
    )


def shop_rule(path: Path, depth: int | None = None) -> ShopRule:
    """What a shop is in the list `path`: the first folder below the datalake, where `DATALAKE` says
    which that is, or the folder of this depth where one is given.  Raises CatalogueError."""
    if depth is not None:
        return ShopRule(depth=depth)
    lines = _beside(path, DATALAKE)
    return ShopRule(datalake=os.fsdecode(lines[0].rstrip(b"\r\n")) if lines else None)


def _left_out(path: Path) -> int:
    """Raises CatalogueError."""
    return sum(not line.startswith(_NO_LOSS) for line in _beside(path, LEFT_OUT))


def _beside(path: Path, end: str) -> list[bytes]:
    """The lines of a file beside the list; none where there is none.  Raises CatalogueError."""
    beside = Path(f"{path}{end}")
    try:
        with beside.open("rb") as file:
            return file.readlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CatalogueError(
            f"{beside} cannot be read ({error.strerror}): get read access, or remove it"
        ) from error


def filled_lines(lines: "Lines") -> Iterator[list[bytes]]:
    """The lines that hold more than spaces and tabs.  Raises CatalogueError."""
    path, is_empty = lines.path, True
    try:
        for block in lines:
            if filled := [line for line in block if line.strip(b" \t")]:
                is_empty = False
                yield filled
    except Nul as error:
        raise CatalogueError(
            f"{path} holds a NUL byte in line {error.line}, so it is binary or UTF-16 and no list "
            f"of image paths: save it as UTF-8 text, or {_HOW_TO_MAKE}"
        ) from None
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
    if is_empty:
        raise CatalogueError(f"{path} holds no image path: {_HOW_TO_MAKE}")


class Nul(Exception):
    """A line, by its number from 1, holds a NUL byte."""

    def __init__(self, line: int):
        self.line = line


class Lines:
    """The lines of a file, a block at a time, to be gone through once.

    Split at LF and CRLF only: `bytes.splitlines` would cut names that hold a CR.  A byte order mark
    is dropped.  Raises Nul, OSError.
    """

    def __init__(self, path: Path):
        self.path = path
        self.count = 0
        """Lines until now."""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes until now, 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[list[bytes]]:
        for text in self._whole_lines():
            lines = text.replace(b"\r\n", b"\n").split(b"\n")[:-1]
            if b"\0" in text:
                raise Nul(self.count + next(i for i, one in enumerate(lines, 1) if b"\0" in one))
            self.count += len(lines)
            yield lines

    def _whole_lines(self) -> Iterator[bytes]:
        """The file's bytes, cut behind line ends; the last line gets one if it has none."""
        with open(self.path, "rb") as file:
            rest = b""
            while block := file.read(BLOCK):
                self._digest.update(block)
                if file.tell() == len(block):
                    block = block.removeprefix(codecs.BOM_UTF8)
                whole, end, after = block.rpartition(b"\n")
                if end:
                    yield rest + whole + end
                    rest = after
                else:
                    rest += after
            if rest:
                yield rest + b"\n"
