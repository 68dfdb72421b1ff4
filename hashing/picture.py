"""Bytes of a file or of a request -> upright RGB picture -> the pixels a model looks at.

Indexer, service, training and evaluation all come through here, so that a picture is seen the same
way wherever it is hashed.
"""

import binascii
import dataclasses
import io
import math
import re
import warnings

import numpy as np
import PIL
from PIL import Image

from hashing import apart
from hashing.formats import FORMATS, format_of, look
from hashing.frames import UPRIGHT_BY, load_picture
from hashing.framing import Frame, frame
from hashing.stored import MOST_BYTES, MOST_SECONDS, Stored, Unreadable
from machine.errors import Problem
from machine.settings import MAX_PIXELS

RESAMPLINGS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}

FRAMINGS = ("squash", "letter")
"""How a picture becomes a square: as a whole, squashed, or by its `frame`."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part, in shares of the picture's width and height."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow refuses more than twice as many
# Of odd metadata, one a tag, each with its own text: a hostile file would fill log and memory.
warnings.filterwarnings("ignore", module=r"PIL\.")

_DATA_URL = re.compile(rb"\s*data:[^,]{0,200},", re.IGNORECASE)
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\v\f"

_END_OF_JPEG = b"\xff\xd9"
_NOISE = bytes(range(7, 255, 31)) * 20
"""In place of pixels that a JPEG lacks.  If the picture does not depend on it, it lacks none."""


class PictureError(Problem):
    """The bytes are not a picture that can be searched by.

    The message is a sentence for the person who sent them; `kind` is for programs: `not_base64`,
    `not_an_image`, `damaged_image` or `too_many_pixels`.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


def from_base64(text: str | bytes) -> bytes:
    """Bytes behind a base64 text: standard or URL-safe alphabet, padded or not, white space allowed
    anywhere, with or without a `data:image/...;base64,` prefix.  Raises PictureError."""
    try:
        data = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raise PictureError(
            "not_base64", "the image is not base64: it has non-ASCII letters"
        ) from None
    if prefix := _DATA_URL.match(data):
        data = data[prefix.end() :]
    data = data.translate(_URL_SAFE_TO_STANDARD, delete=_WHITESPACE).rstrip(b"=")
    if not data:
        raise PictureError("not_base64", "the image is empty; send the file's bytes as base64")
    try:
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except binascii.Error as error:
        raise PictureError("not_base64", f"the image is not base64 ({error})") from None


def decode(data: bytes, edge: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data`, upright, mode RGB, transparency on white.

    edge: the side in pixels of the model input this is for.  A picture far larger than that is made
    smaller by a whole factor (never below twice `edge`, unless it would cost too much), a JPEG
    while it is decoded, so the size of the result is not the file's.
    max_pixels: refuse pictures that declare more; those that would cost more time or memory than
    `stored` allows are refused too, before anything is decoded.
    Raises PictureError, and nothing else, for whatever is wrong with the bytes.
    """
    stored = _look(data, max_pixels)
    return _reduced(_decoded(stored, _scale(stored, edge)), edge)


@dataclasses.dataclass(frozen=True)
class View:
    """A picture, or a part of it, as large as a model input needs it."""

    image: Image.Image
    """Upright, RGB."""
    frame: Frame | None = None
    """Of the image, where it is known already."""


def read(
    data: bytes, edge: int, framing: str, box: Box | None = None, max_pixels: int = MAX_PIXELS
) -> View:
    """The picture in `data` as `decode` gives it, or its part in `box`, as large as a model input
    of `edge` needs it: twice as long where the file has that many pixels and they cost no more than
    they may.

    framing: `letter` counts the pixels in the part's `frame`, so of a picture within wide margins
    more are taken.  Raises PictureError.
    """
    stored = _look(data, max_pixels)
    smallest = 1.0 if box is None else min(box[2] - box[0], box[3] - box[1])
    needed = math.ceil(edge / smallest)
    scale = _scale(stored, needed)
    decoded = _decoded(stored, scale)
    image = _reduced(decoded, needed)
    part = image if box is None else crop(image, box)
    if framing == "squash":
        return View(part)
    framed = frame(part)
    left, top, right, bottom = framed.box
    longest = max(right - left, bottom - top)
    if longest >= 2 * edge or (scale == 1 and image.size == decoded.size):
        return View(part, framed)
    needed = math.ceil(min(image.size) * edge / longest)
    finer = _scale(stored, needed, 1 - stored.cost(scale))
    if finer < scale:
        decoded = _decoded(stored, finer)
    larger = _reduced(decoded, needed)
    if larger.size == image.size:
        return View(part, framed)
    return View(larger if box is None else crop(larger, box))


def limits(max_pixels: int) -> str:
    """What decides which pictures are refused, as a text that changes when that does."""
    return f"{FORMATS} {MOST_SECONDS} {MOST_BYTES} previews {max_pixels} {PIL.__version__}"


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of an upright picture in `box`, at least one pixel."""
    left, top, right, bottom = (
        round(side * length) for side, length in zip(box, image.size * 2, strict=True)
    )
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def pixels(
    image: Image.Image,
    edge: int,
    resampling: str = "bilinear",
    framing: str = "squash",
    framed: Frame | None = None,
) -> np.ndarray:
    """The picture as a square, uint8 [edge, edge, 3].

    framing: `squash`: the whole picture, squashed.  `letter`: what is in its `frame`, its longer
    side as long as the square and its shorter side in proportion, in the middle of a square of the
    frame's colour.
    framed: the picture's frame, where it is known.
    Pillow's filters widen with the reduction, so small details do not alias.
    """
    if framing == "squash":
        return np.asarray(image.resize((edge, edge), RESAMPLINGS[resampling]))
    framed = framed or frame(image)
    inside = image.crop(framed.box)
    width, height = (max(1, round(side * edge / max(inside.size))) for side in inside.size)
    left, top = (edge - width) // 2, (edge - height) // 2
    square = np.empty((edge, edge, 3), np.uint8)
    square[:] = framed.colour
    square[top : top + height, left : left + width] = np.asarray(
        inside.resize((width, height), RESAMPLINGS[resampling])
    )
    return square


def _look(data: bytes, max_pixels: int) -> Stored:
    """What is stored in a file, if it may be decoded."""
    if not data:
        raise PictureError("not_an_image", "the file is empty (0 bytes)")
    try:
        stored = look(data)
    except Unreadable as error:
        raise _damaged(format_of(data), error) from None
    except ValueError as error:
        raise _not_an_image(error) from error
    preview = stored.preview
    if preview is not None and stored.pixels <= max_pixels and not preview.is_too_much:
        return preview
    share = stored.cost(stored.scales[-1])
    limit = int(min(max_pixels, stored.pixels / share if share else max_pixels))
    if stored.pixels > limit:
        raise _too_many_pixels(stored, limit)
    return stored


def _scale(stored: Stored, edge: int, budget: float = 1.0) -> int:
    """By how much both sides are divided while the picture is decoded: so that twice the edge is
    left, or by more where that would cost more than this share of what a picture may."""
    smallest = min(stored.size)
    enough = [scale for scale in stored.scales if smallest // (2 * edge) >= scale]
    cheap = [scale for scale in stored.scales if stored.cost(scale) <= budget]
    return max(enough[-1] if enough else 1, cheap[0] if cheap else stored.scales[-1])


def _decoded(stored: Stored, scale: int) -> Image.Image:
    """The picture at a scale, upright, in mode RGB or RGBA."""
    try:
        image = _loaded(stored, scale, b"" if stored.has_end else _END_OF_JPEG)
        if not stored.has_end and image != _loaded(stored, scale, _NOISE + _END_OF_JPEG):
            raise ValueError("some of its pixels are missing")
        turn = UPRIGHT_BY.get(stored.orientation)
        # One name for every step, so that of a large picture only two copies are alive at a time.
        image = _in_8_bits(image)
        return image if turn is None else image.transpose(turn)
    except Exception as error:  # Pillow raises nearly anything; MemoryError included
        raise _damaged(stored.format, error) from error


def _loaded(stored: Stored, scale: int, tail: bytes) -> Image.Image:
    """The picture at a scale as Pillow decodes it."""
    if stored.is_apart:
        return apart.decode(stored.data, stored.format, stored.pixels, scale)
    image = Image.open(io.BytesIO(stored.data + tail), formats=[stored.format])
    if image.width * image.height > stored.pixels:
        raise ValueError("its headers contradict each other")
    width, height = (max(1, side // scale) for side in image.size)
    image.draft(None, (width, height))
    load_picture(image, min(stored.frames, int(1 / stored.cost(scale))))
    return image


def _reduced(image: Image.Image, edge: int) -> Image.Image:
    """The picture, reduced by a whole factor so that twice the edge is left, on white."""
    factor = min(image.size) // (2 * edge)
    return _on_white(image.reduce(factor) if factor > 1 else image)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The picture in mode RGB, or RGBA where it has transparency."""
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits, or floating point, as 8 bits (Pillow's own conversion clips)."""
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False)
    if image.mode == "F" and values.min() >= 0 and values.max() <= 1:
        values *= 255
    elif values.max() > 255:
        values *= 255 / max(values.max(), 65535)
    return Image.fromarray(values.clip(0, 255, out=values).round(out=values).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _too_many_pixels(stored: Stored, limit: int) -> PictureError:
    width, height = stored.size
    return PictureError(
        "too_many_pixels",
        f"the picture has {width}x{height} = {_megapixels(stored.pixels)} megapixels, the limit "
        f"for {stored.format} stored like this is {_megapixels(limit)}; send a smaller one",
    )


def _megapixels(pixels: int) -> str:
    """With one decimal, more where that would say nothing."""
    return f"{pixels / 1e6:.1f}" if pixels >= 50_000 else f"{pixels / 1e6:.2g}"


def _not_an_image(error: Exception) -> PictureError:
    names = ", ".join(FORMATS[:-1])
    return PictureError(
        "not_an_image",
        f"the bytes are not a picture in {names} or {FORMATS[-1]} format ({_first_line(error)})",
    )


def _damaged(file_format: str | None, error: Exception) -> PictureError:
    return PictureError(
        "damaged_image",
        f"the {file_format} picture is damaged or of a kind that cannot be read "
        f"({_first_line(error)})",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
