"""The same picture, changed as pictures are on their way to a search: a fixed list, published with
the figures.  Nothing is drawn at random, so that figures of different models and days compare.
"""

import io
from collections.abc import Callable

from PIL import Image, ImageOps

from hashing import picture

Change = Callable[[Image.Image], Image.Image]

LARGEST_EDGE = 2048
"""Pictures are decoded for this model input, so that hardly any is made smaller first."""
JPEG_QUALITY = 90
"""Of the changed picture's file."""
SCREEN = (540, 1170)
"""Width and height in pixels of a phone's screenshot, reduced as messengers reduce it."""


def changed(data: bytes, change: Change) -> bytes:
    """The encoded picture `data`, changed, as JPEG.  Raises picture.PictureError."""
    return _jpeg(change(picture.decode(data, LARGEST_EDGE)))


def all_changed(data: bytes) -> list[bytes]:
    """The same for every one of CHANGES, in their order; `data` is decoded once."""
    image = picture.decode(data, LARGEST_EDGE)
    return [_jpeg(change(image)) for change in CHANGES.values()]


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _half(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.LANCZOS)


def _100_pixels(image: Image.Image) -> Image.Image:
    return ImageOps.contain(image, (100, 100), Image.Resampling.LANCZOS)


def _border(share: float, colour: str) -> Change:
    """A border around it, as wide as this share of the picture's own side."""

    def change(image: Image.Image) -> Image.Image:
        across, down = (max(1, round(side * share)) for side in image.size)
        return ImageOps.expand(image, (across, down), colour)

    return change


def _square(image: Image.Image) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _screenshot(image: Image.Image) -> Image.Image:
    """As wide as the screen where it is high enough, in its middle, on black; above it the time and
    the battery, below it the bar that one swipes by."""
    width, height = SCREEN
    screen = Image.new("RGB", SCREEN, "black")
    shown = ImageOps.contain(image, (width, height * 4 // 5), Image.Resampling.BICUBIC)
    screen.paste(shown, ((width - shown.width) // 2, (height - shown.height) // 2))
    digits = [(40 + 13 * digit, 24, 48 + 13 * digit, 40) for digit in range(4)]
    for box in (*digits, (470, 24, 500, 40), (width // 3, height - 14, width * 2 // 3, height - 9)):
        screen.paste((235, 235, 235), box)
    return screen


def _middle(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = round(width * 0.1), round(height * 0.1)
    return image.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


CHANGES: dict[str, Change] = {
    "half of each side": _half,
    "100 pixels": _100_pixels,
    "white border of 5 %": _border(0.05, "white"),
    "white border of 20 %": _border(0.2, "white"),
    "black border of 10 %": _border(0.1, "black"),
    "padded to a square": _square,
    "phone screenshot": _screenshot,
    "mirrored": ImageOps.mirror,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "80 % of the middle": _middle,
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}
