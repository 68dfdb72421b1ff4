"""A sample of a catalogue, looked at once: what two models make of its pictures and of changed
copies of some of them."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hashing import remote
from hashing.changed import all_changed
from hashing.model import Model
from hashing.picture import PictureError
from hashing.reading import read_files
from indexer.catalogue import read_catalogue
from machine import progress
from machine.container import available_cores
from machine.errors import Problem
from machine.settings import max_pixels

FEWEST = 50
"""Pictures that a model can be fitted to."""
QUERIES = 100
"""Pictures that are changed, at most."""
AT_ONCE = 16


class FitError(Problem):
    """The model cannot be fitted as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """Of n pictures of different content; of the first q of them also with each of c changes."""

    paths: list[str]
    embeddings: np.ndarray
    """What the new model's hash layer sees, float32 [n, width]."""
    outputs: np.ndarray
    """Of the other model, float32 [n, 64 or 320]."""
    changed_embeddings: np.ndarray
    """float32 [q, c, width]."""
    changed_outputs: np.ndarray
    """float32 [q, c, 64 or 320]."""
    copies: int
    """Pictures left out since they have the bytes of another."""
    unreadable: list[tuple[str, str]]
    """Paths with the reasons."""


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """What the models are shown of one file: it as it is, and perhaps with every change."""

    digest: bytes
    """sha256 of the file."""
    ours: np.ndarray
    """For the new model, uint8 [1 or 1 + c, size, size, 3]."""
    theirs: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the models make of that."""

    digest: bytes
    embeddings: np.ndarray
    """float32 [1 or 1 + c, width]."""
    outputs: np.ndarray


def sampled(database: Path, count: int) -> tuple[list[str], int]:
    """At most `count` paths of a list, drawn, the same ones every time, in a random order; and how
    many the list has.  Raises CatalogueError, FitError."""
    with tempfile.TemporaryDirectory() as folder:
        paths = read_catalogue(database, Path(folder)).paths
        drawn = np.random.default_rng(0).choice(len(paths), min(count, len(paths)), replace=False)
        if len(drawn) < FEWEST:
            raise FitError(
                f"{database} lists {len(drawn)} pictures; a model is fitted to {FEWEST} or more"
            )
        return [paths.raw(int(row)).decode("utf-8", "surrogateescape") for row in drawn], len(paths)


def look(paths: list[str], new: Model, other: Model, tell: progress.Tell) -> Seen:
    """Look at pictures, on all cores, for torch set to one thread.  new: shows its embeddings.
    Raises FitError where too few can be read, remote.RemoteError."""
    remote.check(paths)

    def looks(start: int) -> list[_Look | str]:
        some = paths[start : start + AT_ONCE]
        pictures = [
            _pictures(data, start + row < QUERIES, (new, other))
            for row, data in enumerate(read_files(some))
        ]
        return _looks(pictures, new, other)

    starts = range(0, len(paths), AT_ONCE)
    with ThreadPoolExecutor(available_cores()) as pool:
        every = _flat(pool.map(looks, starts))
        found = list(progress.told(every, "looking at pictures", len(paths), tell))
    kept: dict[bytes, tuple[str, _Look]] = {}
    unreadable = []
    for path, one in zip(paths, found, strict=True):
        if isinstance(one, str):
            unreadable.append((path, one))
        else:
            kept.setdefault(one.digest, (path, one))
    seen = [one for _, one in kept.values()]
    queries = [one for one in seen if len(one.embeddings) > 1]
    if len(seen) < FEWEST or not queries:
        raise FitError(_too_few(len(kept), unreadable))
    return Seen(
        paths=[path for path, _ in kept.values()],
        embeddings=np.stack([one.embeddings[0] for one in seen]),
        outputs=np.stack([one.outputs[0] for one in seen]),
        changed_embeddings=np.stack([one.embeddings[1:] for one in queries]),
        changed_outputs=np.stack([one.outputs[1:] for one in queries]),
        copies=len(paths) - len(unreadable) - len(seen),
        unreadable=unreadable,
    )


def _flat(parts: Iterator[list[_Look | str]]) -> Iterator[_Look | str]:
    for part in parts:
        yield from part


def _pictures(data: bytes | str, is_query: bool, models: tuple[Model, Model]) -> _Pictures | str:
    """What both models are shown of a file, or the reason why that cannot be."""
    if isinstance(data, str):
        return data
    try:
        files = [data, *(all_changed(data) if is_query else [])]
        ours, theirs = (
            np.stack([model.pixels(file, max_pixels()) for file in files]) for model in models
        )
    except PictureError as error:
        return str(error)
    return _Pictures(hashlib.sha256(data).digest(), ours, theirs)


def _looks(pictures: list[_Pictures | str], new: Model, other: Model) -> list[_Look | str]:
    """Of some files, each model in one pass."""
    shown = [one for one in pictures if not isinstance(one, str)]
    if not shown:
        return [str(one) for one in pictures]
    ends = np.cumsum([len(one.ours) for one in shown])[:-1]
    embeddings = np.split(new.embeddings(np.concatenate([one.ours for one in shown])), ends)
    outputs = np.split(other.outputs(np.concatenate([one.theirs for one in shown])), ends)
    seen = iter(
        _Look(one.digest, *parts) for one, *parts in zip(shown, embeddings, outputs, strict=True)
    )
    return [one if isinstance(one, str) else next(seen) for one in pictures]


def _too_few(count: int, unreadable: list[tuple[str, str]]) -> str:
    sentence = f"{count} different pictures can be read; a model is fitted to {FEWEST} or more"
    if not unreadable:
        return sentence
    path, reason = unreadable[0]
    return f"{sentence}. {len(unreadable)} cannot be read, the first: {path} ({reason})"
