"""Bytes of a file or of a request -> upright RGB picture -> the pixels a model looks at.

Indexer, service, training and evaluation all come through here, so that a picture is seen the same
way wherever it is hashed.
"""

import binascii
import io
import math
import re
import warnings

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

from hashing.framing import frame
from machine.errors import Problem
from machine.settings import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are read.  Named, because Pillow's own list includes interpreters (EPS, WMF)."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Of the names of files in these formats, in any case of letters."""

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

# Of odd metadata, one a tag, each with its own text: a hostile file would fill log and memory.
warnings.filterwarnings("ignore", module=r"PIL\.")

_DATA_URL = re.compile(rb"\s*data:[^,]{0,200},", re.IGNORECASE)
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\v\f"

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"
_WITHOUT_BODY = b"\x01\xc8\xd8\xd9" + bytes(range(0xF0, 0xFE))  # as Pillow reads them
_MOST_JPEG_SEGMENTS = 500  # 32 MB of metadata; a photo has some 10
_MOST_JPEG_SCANS = 50  # a progressive JPEG has 10, an optimised one up to 20
_MOST_PNG_PROFILES = 20  # one is allowed

_ORIENTATION_TAG = 0x0112
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    """The picture in `data`, upright, mode RGB, transparency on white, first frame of many.

    edge: the side in pixels of the model input this is for.  A picture far larger than that is made
    smaller by a whole factor (never below twice `edge`), a JPEG while it is decoded, so the size of
    the result is not the file's.
    max_pixels: refuse pictures that declare more, before anything is decoded.
    Raises PictureError, and nothing else, for whatever is wrong with the bytes.
    """
    return _decode(data, edge, max_pixels)[0]


def _decode(data: bytes, edge: int, max_pixels: int) -> tuple[Image.Image, bool]:
    """As `decode`; and whether the picture was made smaller."""
    if not data:
        raise PictureError("not_an_image", "the file is empty (0 bytes)")
    _refuse_traps(data)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        file_format, (width, height) = image.format, _decoded_size(image)
    except Image.DecompressionBombError:
        raise _too_many_pixels("more than 178", max_pixels) from None
    except Exception as error:  # Pillow's parsers raise nearly anything on hostile headers
        raise _not_an_image(error) from error
    if width * height > max_pixels:
        raise _too_many_pixels(f"{width}x{height} = {width * height / 1e6:.0f}", max_pixels)
    longest = max(image.size)
    try:
        image.draft(None, (2 * edge, 2 * edge))
        image.load()
        turn = _turn(image)
        # One name for every step, so that of a large picture only two copies are alive at a time.
        image = _in_8_bits(image)
        image = image if turn is None else image.transpose(turn)
        factor = min(image.size) // (2 * edge)
        image = image.reduce(factor) if factor > 1 else image
        return _on_white(image), max(image.size) < longest
    except Image.DecompressionBombError:
        raise _too_many_pixels("more than 178", max_pixels) from None
    except Exception as error:  # as above, now from the decoders; MemoryError included
        raise _damaged(file_format, error) from error


def read(
    data: bytes, edge: int, framing: str, box: Box | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The picture in `data` as `decode` gives it, or its part in `box`, as large as a model input
    of `edge` needs it: twice as long where the file has that many pixels.

    framing: `letter` counts the pixels in the part's `frame`, so a picture within wide margins is
    decoded a second time and larger.  Raises PictureError.
    """
    smallest = 1.0 if box is None else min(box[2] - box[0], box[3] - box[1])
    image, is_reduced = _decode(data, math.ceil(edge / smallest), max_pixels)
    part = image if box is None else crop(image, box)
    if framing == "squash" or not is_reduced:
        return part
    left, top, right, bottom = frame(part).box
    longest = max(right - left, bottom - top)
    if longest >= 2 * edge:
        return part
    image, _ = _decode(data, math.ceil(min(image.size) * edge / longest), max_pixels)
    return image if box is None else crop(image, box)


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of an upright picture in `box`, at least one pixel."""
    left, top, right, bottom = (
        round(side * length) for side, length in zip(box, image.size * 2, strict=True)
    )
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def pixels(
    image: Image.Image, edge: int, resampling: str = "bilinear", framing: str = "squash"
) -> np.ndarray:
    """The picture as a square, uint8 [edge, edge, 3].

    framing: `squash`: the whole picture, squashed.  `letter`: what is in its `frame`, its longer
    side as long as the square and its shorter side in proportion, in the middle of a square of the
    frame's colour.
    Pillow's filters widen with the reduction, so small details do not alias.
    """
    if framing == "squash":
        return np.asarray(image.resize((edge, edge), RESAMPLINGS[resampling]))
    framed = frame(image)
    inside = image.crop(framed.box)
    width, height = (max(1, round(side * edge / max(inside.size))) for side in inside.size)
    left, top = (edge - width) // 2, (edge - height) // 2
    square = np.empty((edge, edge, 3), np.uint8)
    square[:] = framed.colour
    square[top : top + height, left : left + width] = np.asarray(
        inside.resize((width, height), RESAMPLINGS[resampling])
    )
    return square


def _refuse_traps(data: bytes) -> None:
    """Refuse files of a few MB that are made to keep Pillow busy for minutes."""
    if data.startswith(b"\xff\xd8"):
        segments, scans = _count_jpeg_parts(data)
        if segments > _MOST_JPEG_SEGMENTS or scans > _MOST_JPEG_SCANS:
            raise _damaged("JPEG", ValueError("it consists of too many parts"))
    # Pillow inflates every profile.  In pixel data the four letters come by chance once in 4 GB.
    if data.startswith(b"\x89PNG") and data.count(b"iCCP") > _MOST_PNG_PROFILES:
        raise _damaged("PNG", ValueError("it has too many colour profiles"))


def _count_jpeg_parts(data: bytes) -> tuple[int, int]:
    """Segments and scans of a JPEG, counted up to a little more than is allowed."""
    at, segments, scans = 2, 0, 0
    while segments <= _MOST_JPEG_SEGMENTS and scans <= _MOST_JPEG_SCANS:
        marker = _JPEG_MARKER.search(data, at)  # behind a scan's header: the end of its pixels
        if marker is None or (marker[1] == _END_OF_IMAGE and scans):
            break
        segments += 1
        scans += marker[1] == _START_OF_SCAN
        at = marker.end()
        if marker[1] not in _WITHOUT_BODY:
            at += int.from_bytes(data[at : at + 2], "big")
    return segments, scans


def _decoded_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the picture, or of a TIFF's tile where that is larger: a tile is decoded
    whole."""
    if image.format != "TIFF":
        return image.size
    tags = image.tag_v2  # type: ignore[attr-defined]  # a TIFF has them
    tile = tags.get(TILEWIDTH, 0), tags.get(TILELENGTH, 0)
    return max(image.size, tile, key=math.prod)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright."""
    try:
        return _UPRIGHT_BY.get(image.getexif().get(_ORIENTATION_TAG, 0))
    except Exception:  # a broken EXIF block does not spoil the photo: shown as it is stored
        return None


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


def _too_many_pixels(megapixels: str, max_pixels: int) -> PictureError:
    limit = f"{max_pixels / 1e6:g}"
    return PictureError(
        "too_many_pixels",
        f"the picture has {megapixels} megapixels, the limit is {limit}; send a smaller one",
    )


def _not_an_image(error: Exception) -> PictureError:
    detail = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({_first_line(error)})"
    names = ", ".join(FORMATS[:-1])
    return PictureError(
        "not_an_image", f"the bytes are not a picture in {names} or {FORMATS[-1]} format{detail}"
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
