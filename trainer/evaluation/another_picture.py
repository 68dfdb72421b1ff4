"""Another picture of the same product, made by one fixed transform.

It stands for what a customer's own copy of a catalogue picture has gone through: a screenshot of a
small preview, cropped, in warm light, saved once more.  Nothing of it is drawn at random, so that
figures of different models and of different days compare.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from hashing import picture
from trainer.data import Pictures

DIVISORS = {"a quarter of the pixels": 2, "a quarter of each side": 4}
"""The degrees in which the transform is published: what is left of the resolution, and what width
and height are divided by.  The first is the standard one; the second leaves 15x20 pixels of a
picture of 60x80."""
CROP = 0.15
"""Share of width and of height that is cut off, half of it on each side."""
COLOUR_CAST = (1.10, 1.00, 0.85)
"""Factors of red, green and blue."""
JPEG_QUALITY = 60

LARGEST_EDGE = 2048
"""Pictures are decoded for this model input, so that none of the data's is made smaller first."""


def other_pictures(pictures: Pictures, rows: np.ndarray, divisor: int) -> Pictures:
    """Another picture of each of these rows (int [q]), made when it is asked for."""
    return dataclasses.replace(
        pictures,
        name=f"{len(rows)} other pictures of {pictures.name}",
        labels={label: values[rows] for label, values in pictures.labels.items()},
        groups=pictures.groups[rows],
        encoded=lambda row: another_picture(pictures.encoded(int(rows[row])), divisor),
    )


def another_picture(data: bytes, divisor: int) -> bytes:
    """Another picture of what the encoded picture `data` shows, as JPEG.

    In this order: width and height divided by `divisor` and back, cropped, colour cast, compressed.
    Raises picture.PictureError.
    """
    image = _cropped(_coarse(picture.decode(data, LARGEST_EDGE), divisor))
    cast = np.asarray(image) * np.array(COLOUR_CAST)
    image = Image.fromarray(cast.round().clip(0, 255).astype(np.uint8))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def transform() -> dict:
    """The transform's numbers, to be published beside figures."""
    return {
        "sides_divided_by": DIVISORS,
        "crop": CROP,
        "colour_cast": COLOUR_CAST,
        "jpeg_quality": JPEG_QUALITY,
    }


def _coarse(image: Image.Image, divisor: int) -> Image.Image:
    small = [max(1, round(side / divisor)) for side in image.size]
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def _cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = round(width * CROP / 2), round(height * CROP / 2)
    return image.crop((left, top, width - left, height - top))
