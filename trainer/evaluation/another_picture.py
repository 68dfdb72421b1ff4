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
from hashing.changed import LARGEST_EDGE

CROP = 0.15
"""Share of width and of height that is cut off, half of it on each side."""
COLOUR_CAST = (1.10, 1.00, 0.85)
"""Factors of red, green and blue."""
JPEG_QUALITY = 60


@dataclasses.dataclass(frozen=True)
class Transform:
    """What is done to a picture, in this order."""

    divisor: int
    """Width and height are divided by it, and multiplied again."""
    crop: float = CROP
    colour_cast: tuple[float, float, float] = COLOUR_CAST
    jpeg_quality: int = JPEG_QUALITY


DEGREES = {
    "a quarter of the pixels": Transform(2),
    "a quarter of each side": Transform(4),
    "the resolution alone": Transform(2, crop=0, colour_cast=(1, 1, 1), jpeg_quality=95),
}
"""The degrees in which the transform is published.  The first is the standard one; the second
leaves 15x20 pixels of a picture of 60x80; the third is a preview of the very file, no more."""


def another_picture(data: bytes, transform: Transform) -> bytes:
    """Another picture of what the encoded picture `data` shows, as JPEG.  Raises
    picture.PictureError."""
    image = _coarse(picture.decode(data, LARGEST_EDGE), transform.divisor)
    cast = np.asarray(_cropped(image, transform.crop)) * np.array(transform.colour_cast)
    image = Image.fromarray(cast.round().clip(0, 255).astype(np.uint8))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=transform.jpeg_quality)
    return encoded.getvalue()


def _coarse(image: Image.Image, divisor: int) -> Image.Image:
    small = [max(1, round(side / divisor)) for side in image.size]
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, crop: float) -> Image.Image:
    width, height = image.size
    left, top = round(width * crop / 2), round(height * crop / 2)
    return image.crop((left, top, width - left, height - top))
