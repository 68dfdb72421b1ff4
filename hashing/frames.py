"""Which frame of an animation is the picture, and what makes it upright.  Pillow alone here: the
process of `apart` needs nothing else."""

import contextlib

from PIL import Image

UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation, as Exif counts -> what undoes it."""


def load_picture(image: Image.Image, frames: int) -> None:
    """Load the first of so many frames that is not all of one colour; where there is none, or one
    is damaged, the first of all.  Raises what Pillow raises for the first frame."""
    image.load()
    if frames < 2 or not _is_plain(image):
        return
    with contextlib.suppress(Exception):  # Pillow raises nearly anything
        for number in range(1, frames):
            image.seek(number)
            image.load()
            if not _is_plain(image):
                return
    image.seek(0)
    image.load()


def _is_plain(image: Image.Image) -> bool:
    """Whether it is all of one colour, or all transparent."""
    bands = [band.getextrema() for band in image.split()]
    is_unseen = image.mode == "RGBA" and bands[3] == (0, 0)
    return is_unseen or all(low == high for low, high in bands)
