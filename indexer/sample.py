"""Pictures of a version hashed again, to see whether their codes are still those of the index."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hashing.files import Hashed, hash_files
from hashing.model import Model
from machine.container import available_cores
from machine.settings import max_pixels
from searcher.opened import OpenVersion


def sample(opened: OpenVersion, count: int) -> list[int]:
    """So many random rows of a version, or all when it has fewer; ascending."""
    rows = opened.manifest.rows
    return sorted(random.sample(range(rows), min(count, rows)))


def hashed_again(
    opened: OpenVersion, rows: list[int], model_path: Path, device: str = "cpu"
) -> Iterator[Hashed]:
    """What the files of some rows are now, one by one.

    model_path: the version's.  device: that of the indexing, since another one may flip bits.
    The caller sets torch's threads, as for `hash_files`.
    Raises ModelError, SettingError or remote.RemoteError.
    """
    model = Model.load(model_path, device, available_cores())
    paths = opened.paths(np.array(rows, np.int64))
    return hash_files(paths, model, workers=available_cores(), max_pixels=max_pixels())
