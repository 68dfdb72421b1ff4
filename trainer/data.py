"""Labelled pictures for training and evaluation: where they come from and which are held out.

A `Source` says what is in the data and where; `trainer.layouts` reads it as `Pictures`.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hashing.picture import PictureError
from machine import progress
from machine.errors import Problem

HELD_OUT_SHARE = 0.05

Look = Callable[[bytes], np.ndarray]
"""An encoded picture -> model input uint8 [size, size, 3].  Raises PictureError."""


class DataError(Problem):
    """The data cannot be used; the message says what is missing and what to do."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One kind of labelled pictures, as a recipe's [[data]] table names it."""

    name: str
    files: str
    """Glob below the data folder that names parquet files, or CSV files, or ends in "/" and names
    folders of class folders."""
    picture: str = "path"
    """Column with the encoded picture (parquet) or with its path from the CSV file."""
    group: str = ""
    """Column whose value copies of a picture share; "": every picture by itself."""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    """Label -> column."""
    rename: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    """Label -> {value in the data: value to use}; values not named stay."""
    queries_per_class: int = 0
    """Pictures of every class of the first label that are held out, their copies with them; 0:
    those that `is_held_out` says."""
    training_per_class: int = 0
    """Pictures of every class that are trained on, their copies with them; 0: all that are not
    held out."""
    weight: float = 1.0
    """Its share of what is drawn in training, beside those of the other sources."""
    backdrops: bool = False
    """Whether stretches of its pictures' borders may be put behind products before white."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Labelled pictures, still encoded, row by row."""

    name: str
    labels: dict[str, np.ndarray]
    """Label -> str [n], "" where not known."""
    groups: np.ndarray
    """str [n], shared by copies."""
    encoded: Callable[[int], bytes]
    """Row -> the picture's bytes."""
    queries: np.ndarray | None = None
    """str, groups that are held out; None: those that `is_held_out` says."""
    training: np.ndarray | None = None
    """str, groups to train on; None: all that are not held out."""

    def __len__(self) -> int:
        return len(self.groups)

    @functools.cached_property
    def held_out(self) -> np.ndarray:
        """bool [n]: rows that training never sees."""
        if self.queries is not None:
            return np.isin(self.groups, self.queries)
        return np.array([is_held_out(group) for group in self.groups], bool)

    def changed(self, rows: np.ndarray, change: Callable[[bytes], bytes], name: str) -> "Pictures":
        """These rows, int [q], each as `change` makes it of the picture's bytes, when it is asked
        for."""
        return Pictures(
            name,
            {label: values[rows] for label, values in self.labels.items()},
            self.groups[rows],
            lambda row: change(self.encoded(int(rows[row]))),
        )

    def pixels(self, row: int, look: Look) -> np.ndarray:
        """What `look` makes of one picture.  Raises DataError."""
        try:
            return look(self.encoded(row))
        except PictureError as error:
            raise DataError(f"{self.name}, row {row}: {error}") from error
        except OSError as error:
            raise DataError(f"{self.name}, row {row}: cannot be read: {error}") from error


def is_held_out(group: str) -> bool:
    """Whether a group of copies belongs to the split that training never sees: decided by the
    group's name alone, so that it is the same split everywhere."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32 < HELD_OUT_SHARE


def fill_pixels(
    out: np.ndarray,
    pictures: Pictures,
    rows: np.ndarray,
    look: Look,
    tell: progress.Tell = progress.nobody,
) -> None:
    """Fill `out`, uint8 [n, size, size, 3], with what `look` makes of the rows int [n], on all
    cores.  Raises DataError."""
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda row: pictures.pixels(row, look), rows.tolist())
        steps = progress.told(decoded, f"decoding {pictures.name}", len(rows), tell)
        for number, value in enumerate(steps):
            out[number] = value
