"""Which model the live version has: a reindex keeps it unless told otherwise.

No torch here: the admin service asks.
"""

import dataclasses
import json
from pathlib import Path

from machine import shipped
from machine.errors import Problem
from searcher.index import Index
from searcher.version import model_of


class NoModelError(Problem):
    """It is not known what to hash with; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A model as people tell it from others."""

    path: Path
    """Of the .pt file, its sidecar beside it."""
    name: str
    sha256: str
    """Of the .pt file, as the sidecar says."""

    def __str__(self) -> str:
        return named(self.name, self.sha256)


def named(name: str, sha256: str) -> str:
    """A model in a sentence."""
    return f"{name} ({sha256[:8]})"


def read(path: Path) -> Named | None:
    """The name of the model in a .pt file; None where its sidecar does not give one."""
    try:
        sidecar = json.loads(path.with_suffix(".json").read_bytes())
        return Named(path, str(sidecar["name"]), str(sidecar["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def shipped_in(place: Path) -> Named | None:
    """The shipped model: a .pt file itself, and of a folder the one that is called so, or the only
    one."""
    place = shipped.found(place)
    files = [place] if place.is_file() else sorted(place.glob("*.pt"))
    files = [path for path in files if path.name == shipped.MODEL.name] or files
    return read(files[0]) if len(files) == 1 else None


def of_live(index: Index) -> Named | None:
    """The live version's, in the version's own folder; None where no version is live, or the live
    one has none."""
    live = index.live()
    path = model_of(index.root / live) if live else None
    return read(path) if path else None


def kept(index: Index, otherwise: Path) -> Path:
    """The .pt file to hash with so that the live version's model stays.

    otherwise: the .pt file, or its folder, where no version is live.  It is taken as well where it
    is the same model: its sidecar may be newer.  Raises NoModelError.
    """
    if (live := index.live()) is None:
        return otherwise
    model = of_live(index)
    if model is None:
        raise NoModelError(
            f"version {live}, which is live, has no model (codes that were imported may have "
            "none); give the one to hash with by --model_path"
        )
    other = shipped_in(otherwise)
    return other.path if other and other.sha256 == model.sha256 else model.path


def hint(index: Index, place: Path) -> str | None:
    """A sentence that says that another model is shipped than the live version has, and how to
    change to it; None where it is the same, or there is only one.  place: as of `shipped_in`."""
    live, other = of_live(index), shipped_in(place)
    if live is None or other is None or live.sha256 == other.sha256:
        return None
    spelled = place if place.suffix == ".pt" else other.path
    return (
        f"the live version has the model {live}, which stays; the shipped one is {other}: "
        f"`efiss reindex --model_path {spelled}` changes to it"
    )
