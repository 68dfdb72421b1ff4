"""Versions of the index opened to look things up in; the search itself is the service's."""

import functools
import logging
from pathlib import Path

from admin.errors import Refusal
from searcher import open_version
from searcher.index import Index
from searcher.opened import MOST_OPEN, OpenVersion
from searcher.version import VersionError, build_of

log = logging.getLogger(__name__)


def opened(index: Index, version: str | None = None) -> OpenVersion:
    """A version of the index, the live one unless one is named.  Raises Refusal."""
    version = index.live() if version is None else version
    if version is None:
        raise Refusal(
            404, "no_live_version", "no version is live yet; index a catalogue and activate it"
        )
    folder = folder_of(index, version)
    try:
        return _open(folder, build_of(folder))
    except (VersionError, OSError) as error:
        # Its reason names files of this machine, which are not the caller's to know.
        _log_once(version, str(error))
        raise Refusal(409, "damaged_version", f"version {version} cannot be opened") from None


def folder_of(index: Index, version: str) -> Path:
    """Where a version lies.  Raises Refusal."""
    try:
        return index.folder(version)
    except VersionError:
        raise Refusal(
            404, "unknown_version", "there is no such version; /api/versions lists them"
        ) from None


@functools.lru_cache(MOST_OPEN)
def _open(folder: Path, build: tuple[int, int]) -> OpenVersion:
    return open_version(folder)


@functools.lru_cache(100)
def _log_once(version: str, reason: str) -> None:
    log.error("index version %s refused: %s", version, reason)
