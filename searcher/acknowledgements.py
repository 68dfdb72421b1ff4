"""Which version each worker of a service answers from: nobody can ask one worker of many.

index/.workers/HOST-PID.json    the word of a worker; touched every few seconds while it lives
"""

import dataclasses
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from machine.files import write_whole
from searcher.index import Index

_FOLDER = ".workers"
TOUCH_SECONDS = 2
SILENT_SECONDS = 15
"""A worker of another machine (or container) is gone when its word was not touched for so long."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Word:
    """What one worker says of itself."""

    host: str
    pid: int
    version: str
    """What it answers from."""
    asked: str | None
    """The version that was last activated, as far as it has seen."""
    activated: int | None
    """When that was, in ns (`Index.activation`)."""
    refused: str | None
    """Why it does not answer from the one that was asked for."""
    pinned: list[str]
    """Versions that it holds open because requests named them."""

    @property
    def name(self) -> str:
        return f"{self.host}-{self.pid}"


class Acknowledgement:
    """The word that this process leaves in the index folder."""

    def __init__(self, index: Index):
        self._index = index
        self._path = index.root / _FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
        self._said: dict[str, Any] | None = None
        self._has_failed = False

    def say(self, **fields: Any) -> None:
        """Leave word when it has changed: fields of `Word` but for host and pid.  A folder that
        cannot be written is served from all the same."""
        if fields == self._said:
            return
        word, path = Word(socket.gethostname(), os.getpid(), **fields), self._path
        try:
            path.parent.mkdir(exist_ok=True)
            for gone in _words(self._index)[1]:
                gone.unlink(missing_ok=True)
            write_whole(path, json.dumps(dataclasses.asdict(word)).encode())
            self._said, self._has_failed = fields, False
        except OSError as error:
            if not self._has_failed:  # once: it is tried again at every look
                log.warning("cannot leave an acknowledgement in %s: %s", path.parent, error)
            self._said, self._has_failed = None, True

    def touch(self) -> None:
        """Show those on other machines that this process lives."""
        try:
            os.utime(self._path)
        except OSError:
            self._said = None  # removed: left again at the next look


def alive(index: Index) -> list[Word]:
    """The words of the workers that live."""
    return _words(index)[0]


def _words(index: Index) -> tuple[list[Word], list[Path]]:
    """The words of those that live, and the files of those that are gone."""
    living, gone = [], []
    for path in sorted((index.root / _FOLDER).glob("*.json")):
        host, _, pid = path.stem.rpartition("-")
        try:
            if host == socket.gethostname():
                is_alive = _runs(int(pid)) and _started(int(pid)) <= path.stat().st_mtime
            else:
                is_alive = time.time() - path.stat().st_mtime < SILENT_SECONDS
            if is_alive:
                living.append(Word(**json.loads(path.read_text(encoding="utf-8"))))
            else:
                gone.append(path)
        except (OSError, ValueError, TypeError):
            continue  # removed just now, or left by another program
    return living, gone


def _started(pid: int) -> float:
    """When the process began, seconds since 1970, two seconds too early rather than too late: after
    a restart of the machine a number belongs to another.  0 where /proc does not tell."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + int(ticks) / os.sysconf("SC_CLK_TCK") - 2
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
