"""Labelled pictures for training and evaluation, seen through the one path of `hashing.picture`.

The parquet files hold encoded pictures in a column `jpeg`.  `fashion_products-*.parquet` has the
label columns article_type, base_colour and gender and the column dup_group (photos that are copies
of each other share it); `clothing_photos.parquet` has one column `label`.
"""

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from hashing import picture

HELD_OUT_SHARE = 0.05

ARTICLE_TYPE_OF_PHOTO_LABEL = {
    "T-Shirt": "Tshirts",
    "Polo": "Tshirts",
    "Shirt": "Shirts",
    "Dress": "Dresses",
    "Shorts": "Shorts",
    "Skirt": "Skirts",
    "Hoodie": "Sweatshirts",
    "Top": "Tops",
    "Blouse": "Tops",
    "Pants": "Trousers",
    "Outwear": "Jackets",
    "Undershirt": "Innerwear Vests",
    "Hat": "Caps",
    "Shoes": "Casual Shoes",
}
"""Phone photos' labels that have a counterpart among the products' article types; the others
(Blazer, Longsleeve, Body) stand for themselves."""


class DataError(ValueError):
    """The data cannot be used; the message says what is missing and what to do."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Pictures and their labels, row by row.

    pixels: uint8 [n, size, size, 3].  article_type, colour, gender: str arrays [n], "" where not
    known.  held_out: bool [n], rows that training never sees.
    """

    pixels: np.ndarray
    article_type: np.ndarray
    colour: np.ndarray
    gender: np.ndarray
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def is_held_out(group: str) -> bool:
    """Whether a group of copies belongs to the split that training never sees: decided by the
    group's name alone, so that it is the same split everywhere."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32 < HELD_OUT_SHARE


def read_products(folder: Path, size: int, resampling: str) -> Labelled:
    """The product photos of `folder` at training size.  Raises DataError."""
    table = _read_table(folder, "fashion_products-*.parquet")
    return Labelled(
        pixels=_pixels(table, size, resampling, "product photos"),
        article_type=_column(table, "article_type"),
        colour=_column(table, "base_colour"),
        gender=_column(table, "gender"),
        held_out=np.array([is_held_out(group) for group in _column(table, "dup_group")]),
    )


def read_photos(folder: Path, size: int, resampling: str) -> Labelled:
    """The phone photos of `folder` at training size, their labels mapped to article types.

    They have no groups of copies: the split goes by each photo's id.  Raises DataError.
    """
    table = _read_table(folder, "clothing_photos.parquet")
    labels = _column(table, "label")
    unknown = np.full(len(labels), "")
    return Labelled(
        pixels=_pixels(table, size, resampling, "phone photos"),
        article_type=np.array([ARTICLE_TYPE_OF_PHOTO_LABEL.get(name, name) for name in labels]),
        colour=unknown,
        gender=unknown,
        held_out=np.array([is_held_out(name) for name in _column(table, "id")]),
    )


def _read_table(folder: Path, pattern: str):
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            "reading parquet needs pyarrow; run pip install 'efiss-ai[train]'"
        ) from None

    files = sorted(folder.glob(pattern))
    if not files:
        raise DataError(
            f"{folder} holds no {pattern}; give the folder of the training data by --data"
        )
    try:
        return pa.concat_tables([pq.read_table(file) for file in files])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{files[0].name} or another of {pattern} cannot be read: {error}"
        ) from error


def _column(table, name: str) -> np.ndarray:
    if name not in table.column_names:
        raise DataError(f"the data has no column {name}; it has {', '.join(table.column_names)}")
    return np.array([str(value or "") for value in table.column(name).to_pylist()])


def _pixels(table, size: int, resampling: str, label: str) -> np.ndarray:
    jpegs = table.column("jpeg")

    def load(row: int) -> np.ndarray:
        try:
            return picture.pixels(picture.decode(jpegs[row].as_py(), size), size, resampling)
        except picture.PictureError as error:
            raise DataError(f"{label}, row {row}: {error}") from error

    out = np.empty((table.num_rows, size, size, 3), np.uint8)
    with (
        ThreadPoolExecutor() as pool,
        click.progressbar(
            pool.map(load, range(len(jpegs))), length=len(out), label=f"decoding {label}"
        ) as rows,
    ):
        for row, values in enumerate(rows):
            out[row] = values
    return out
