"""What of one version is found again in another, counted in passes over files: memory does not grow
with the versions.

Rows are compared by keys, uint64, that look random from their highest bits on, as digests do.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from machine import arrays
from searcher.faiss_version import FaissVersion

AT_ONCE = 1 << 23
"""Keys that are compared with each other at once, about."""

ROWS_AT_ONCE = 1 << 20
"""Rows that are read at once."""

DIGESTS, CODES, LONG_CODES = "digests", "codes", "long codes"
"""What tells contents apart."""


@dataclasses.dataclass(frozen=True)
class Changes:
    """From the live version to another, in rows."""

    added: int
    """Paths that the live version does not have."""
    removed: int
    """Paths that only the live version has."""
    replaced: int
    """Paths of both that have another content now."""
    gone: int
    """Of the live version, whose content is nowhere in the other."""


def changes(new: FaissVersion, live: FaissVersion, scratch: Path) -> Changes:
    """What changes from the live version to a new one.

    Contents are told apart by their digests, of versions without these by their codes where the
    same model made both, and else by their paths.  scratch: a folder for files without a name, of
    some 32 bytes a row.  Raises OSError.
    """
    rows, live_rows = new.manifest.rows, live.manifest.rows
    most = max(rows, live_rows)
    paths, live_paths = (_kept(version.path_hashes(), scratch) for version in (new, live))
    ours, theirs = common(_pieces(paths), _pieces(live_paths), most, scratch)
    added, removed = rows - ours, live_rows - theirs
    if (by := _known_by(new, live)) is None:
        return Changes(added, removed, replaced=0, gone=removed)
    _, unchanged = common(
        _both(_pieces(paths), _contents(new, by)),
        _both(_pieces(live_paths), _contents(live, by)),
        most,
        scratch,
    )
    _, found = common(_contents(new, by), _contents(live, by), most, scratch)
    return Changes(added, removed, theirs - unchanged, live_rows - found)


def common(
    ours: Iterator[np.ndarray], theirs: Iterator[np.ndarray], most: int, scratch: Path
) -> tuple[int, int]:
    """How many of our keys are among theirs, and of theirs among ours.  most: of either."""
    both_parts = (_divided(keys, most, scratch) for keys in (ours, theirs))
    found = np.zeros(2, np.int64)
    for parts in zip(*both_parts, strict=True):
        own, other = map(_sorted, parts)
        found += _found(own, other), _found(other, own)
    return int(found[0]), int(found[1])


def counts_of_codes(version: FaissVersion, scratch: Path) -> Iterator[np.ndarray]:
    """How often each different code is there: int64, in pieces.  Raises OSError."""
    for part in _divided(_contents(version, CODES), version.manifest.rows, scratch):
        part = _sorted(part)
        is_last = np.append(part[1:] != part[:-1], True)[: len(part)]
        yield np.diff(np.flatnonzero(is_last), prepend=-1)


def _divided(keys: Iterator[np.ndarray], most: int, scratch: Path) -> list[np.ndarray]:
    """The keys in parts of about AT_ONCE where there are so many, by their highest bits; a part is
    runs of keys in ascending order."""
    bits = (most // AT_ONCE).bit_length()
    lowest = np.array([part << (64 - bits) for part in range(1 << bits)], np.uint64)
    with contextlib.ExitStack() as held:
        files = [held.enter_context(arrays.scratch(scratch)) for _ in lowest]
        for piece in keys:
            piece = np.sort(piece)
            parts = np.split(piece, np.searchsorted(piece, lowest[1:]))
            for file, part in zip(files, parts, strict=True):
                file.write(part.data)
        return [arrays.mapped(file, np.uint64) for file in files]


def _sorted(part: np.ndarray) -> np.ndarray:
    """The keys of a part in ascending order, which lets go of its file."""
    keys = np.sort(part, kind="stable")  # which merges runs
    arrays.give_back(part)
    return keys


def _found(keys: np.ndarray, among: np.ndarray) -> int:
    """How many of the keys are among others; both in ascending order."""
    at = np.searchsorted(among, keys)
    at[at == len(among)] = 0
    return int((among[at] == keys).sum()) if len(among) else 0


def _kept(keys: Iterator[np.ndarray], scratch: Path) -> np.ndarray:
    """The keys in their order, in a file."""
    with arrays.scratch(scratch) as file:
        for piece in keys:
            file.write(piece.data)
        return arrays.mapped(file, np.uint64)


# -- keys ----------------------------------------------------------------------------------------


def _known_by(new: FaissVersion, live: FaissVersion) -> str | None:
    """What tells the contents of both apart; None where nothing does."""
    if new.digests is not None and live.digests is not None:
        return DIGESTS
    if new.manifest.model.get("sha256") != live.manifest.model.get("sha256"):
        return None
    return LONG_CODES if new.has_fine_codes and live.has_fine_codes else CODES


def _contents(version: FaissVersion, by: str) -> Iterator[np.ndarray]:
    if by == DIGESTS and version.digests is not None:
        yield from _pieces(version.digests)
        return
    for start in range(0, version.manifest.rows, ROWS_AT_ONCE):
        yield _mixed(version.words(slice(start, start + ROWS_AT_ONCE), by == LONG_CODES))


def _pieces(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Of a mapped file, of which no more stays in memory."""
    for start in range(0, len(keys), ROWS_AT_ONCE):
        yield keys[start : start + ROWS_AT_ONCE]
        arrays.give_back(keys)


def _both(keys: Iterator[np.ndarray], others: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Of each row, one key of two."""
    for one, other in zip(keys, others, strict=True):
        yield _mixed(np.stack([one, other], axis=1))


def _mixed(words: np.ndarray) -> np.ndarray:
    """uint64 [n, words] -> uint64 [n]; of one word each, different ones for different words.
    Multiplying and folding as in MurmurHash3's finalizer (Austin Appleby, public domain)."""
    keys = np.zeros(len(words), np.uint64)
    for word in words.T:
        keys ^= word
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            keys ^= keys >> np.uint64(33)
            keys *= np.uint64(factor)
        keys ^= keys >> np.uint64(33)
    return keys
