"""Another picture of the same product, made by one fixed transform.

It stands for what a customer's own copy of a catalogue picture has gone through: a screenshot of a
small preview, cropped, in warm light, saved once more.  Nothing of it is drawn at random, so that
figures of different models and of different days compare.
"""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from hashing import picture
from trainer.data import DataError, is_held_out

RESOLUTION_DIVISOR = 4
CROP = 0.15
"""Share of width and of height that is cut off, half of it on each side."""
COLOUR_CAST = (1.10, 1.00, 0.85)
"""Factors of red, green and blue."""
JPEG_QUALITY = 60

LARGEST_EDGE = 2048
"""Pictures are decoded for this model input, so that none of the data's is made smaller first."""


@dataclasses.dataclass(frozen=True)
class OtherPictures:
    """Other pictures of the held-out products.

    pixels: uint8 [q, size, size, 3].  groups: str [q], the group of copies (dup_group) of each.
    product_groups: str [n], the group of every product in the order of `data.read_products`.
    """

    pixels: np.ndarray
    groups: np.ndarray
    product_groups: np.ndarray


def read_other_pictures(folder: Path, size: int, resampling: str) -> OtherPictures:
    """Other pictures of the held-out products of `folder`, at model size.  Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("fashion_products-*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no fashion_products-*.parquet")
    encoded, groups, product_groups = [], [], []
    for file in files:
        table = pq.read_table(file, columns=["jpeg", "dup_group"])
        names = [str(name or "") for name in table.column("dup_group").to_pylist()]
        held = [row for row, name in enumerate(names) if is_held_out(name)]
        product_groups += names
        groups += [names[row] for row in held]
        encoded += table.column("jpeg").take(pa.array(held, pa.int64())).to_pylist()

    def load(data: bytes) -> np.ndarray:
        other = picture.decode(another_picture(data), size)
        return picture.pixels(other, size, resampling)

    del table
    pa.default_memory_pool().release_unused()  # some 200 MB, which hashing will want
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(load, encoded))
    return OtherPictures(
        np.array(pixels, np.uint8).reshape(-1, size, size, 3),
        np.array(groups, str),
        np.array(product_groups, str),
    )


def another_picture(data: bytes) -> bytes:
    """Another picture of what the encoded picture `data` shows, as JPEG.

    In this order: to a quarter of the resolution and back, cropped, colour cast, compressed.
    Raises picture.PictureError.
    """
    image = _cropped(_coarse(picture.decode(data, LARGEST_EDGE)))
    cast = np.asarray(image) * np.array(COLOUR_CAST)
    image = Image.fromarray(cast.round().clip(0, 255).astype(np.uint8))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def transform() -> dict:
    """The transform's numbers, to be published beside figures."""
    return {
        "resolution_divisor": RESOLUTION_DIVISOR,
        "crop": CROP,
        "colour_cast": COLOUR_CAST,
        "jpeg_quality": JPEG_QUALITY,
    }


def _coarse(image: Image.Image) -> Image.Image:
    small = [max(1, round(side / RESOLUTION_DIVISOR)) for side in image.size]
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def _cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = round(width * CROP / 2), round(height * CROP / 2)
    return image.crop((left, top, width - left, height - top))
