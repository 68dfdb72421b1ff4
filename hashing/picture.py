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
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

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

_TOLERANCE = 16
"""By how much a channel of a margin's pixel may differ from its colour: JPEG's noise."""
_FAINT = 6
"""The same where hardly anything is left: a white shirt before white, with a label on it."""
_LEAST = 1 / 8
"""Share of what stands out faintly that must be left."""
_BLUR = 3
"""Lines within which a margin's colour changes at an edge.  A gradient takes longer."""
_STRAY = 0.01
"""Share of a margin line's pixels that may have any colour: dust, a watermark's tail."""
_STRIP = 10
"""What is apart from all beyond it, and so many times thinner, is text in a bar or a rule."""

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


@dataclasses.dataclass(frozen=True)
class Frame:
    """What is left of a picture without its margins."""

    box: tuple[int, int, int, int]
    """Left, top, right and bottom in pixels, right and bottom exclusive; at least one pixel."""
    colour: tuple[int, int, int]
    """Red, green and blue of the margin that was cut off last, the innermost; where there was none,
    the median of the picture's four edges."""


def frame(image: Image.Image) -> Frame:
    """The frame of an RGB picture: its margins cut off until none is left.

    A margin is a run of lines (rows at the top and bottom, columns at the left and right) in which
    99 % of the pixels differ by at most 16 in every channel from the margin's colour, the median of
    its outermost line.  Within it, a strip of other lines may lie that is apart from what is beyond
    and at least ten times thinner: text in a screenshot's bar, a rule.  Sides take turns, so
    margins within margins go as well; a further margin at one side has to begin with an edge, so a
    gradient is not eaten line by line.  Where every line would go, none does: a picture, or what is
    left of it, that is all of one colour is kept.

    Where less is left than an eighth of what lies within the outermost margins and differs from
    them by more than 6, that is left instead: a white shirt before white does not shrink to its
    label, nor a plain purse to its clasp.
    """
    whole = (0, 0, *image.size)
    edges = [_line(image, side, whole) for side in range(4)]
    if not any(_is_plain(line, _median(line), _TOLERANCE) for line in edges):
        return Frame(whole, _rgb(_median(np.concatenate(edges))))
    framed = _without_margins(image, _TOLERANCE, nested=True)
    if _area(framed.box) < _LEAST * _area(whole):
        faint = _without_margins(image, _FAINT, nested=False)
        framed = faint if _area(framed.box) < _LEAST * _area(faint.box) else framed
    return framed


def _without_margins(image: Image.Image, tolerance: int, nested: bool) -> Frame:
    """What is left when the margins are cut off, with those within margins where `nested`."""
    box = [0, 0, *image.size]
    colours: list[np.ndarray | None] = [None] * 4
    last = _median(np.concatenate([_line(image, side, box) for side in range(4)]))
    others: dict[bytes, np.ndarray] = {}
    idle, side = 0, 0
    while idle < 4:
        lines = 0
        colour = _margin_colour(image, box, side, colours[side], tolerance)
        if colour is not None and (nested or colours[side] is None or colour is colours[side]):
            if (key := colour.tobytes()) not in others:
                others[key] = _others(image, colour, tolerance)
            lines = _margin(_plain_lines(others[key], box, side))
        if lines and colour is not None:
            box[side] += lines if side < 2 else -lines
            colours[side] = last = colour
        idle = 0 if lines else idle + 1
        side = (side + 1) % 4
    left, top, right, bottom = box
    return Frame((left, top, right, bottom), _rgb(last))


def _line(image: Image.Image, side: int, box: Sequence[int], further: int = 0) -> np.ndarray:
    """The outermost line of the box at a side (0 left, 1 top, 2 right, 3 bottom), or the one so
    much further out, at most the picture's outermost: uint8 [n, 3]."""
    line = list(box)
    if side < 2:
        line[side] = max(0, box[side] - further)
        line[side + 2] = line[side] + 1
    else:
        line[side] = min(image.size[side - 2], box[side] + further)
        line[side - 2] = line[side] - 1
    left, top, right, bottom = line
    return np.asarray(image.crop((left, top, right, bottom))).reshape(-1, 3)


def _median(line: np.ndarray) -> np.ndarray:
    """uint8 [n, 3] -> uint8 [3], values that occur."""
    middle = len(line) // 2
    return np.partition(line, middle, axis=0)[middle]


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = colour.tolist()
    return red, green, blue


def _area(box: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _is_plain(line: np.ndarray, colour: np.ndarray, tolerance: int) -> bool:
    return bool((_difference(line, colour) > tolerance).sum() <= _STRAY * len(line))


def _difference(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> int16 [...], the largest of the channels."""
    return np.abs(pixels.astype(np.int16) - colour).max(axis=-1)


def _margin_colour(
    image: Image.Image, box: Sequence[int], side: int, before: np.ndarray | None, tolerance: int
) -> np.ndarray | None:
    """Colour of the margin that begins, or goes on, with a side's outermost line; None: no margin.

    before: colour of the margin that was cut off there, if any.
    """
    line = _line(image, side, box)
    colour = _median(line)
    if before is not None:
        if _difference(colour, before) <= tolerance:
            colour = before
        elif _difference(colour, _median(_line(image, side, box, _BLUR))) <= tolerance:
            return None
    return colour if _is_plain(line, colour, tolerance) else None


def _others(image: Image.Image, colour: np.ndarray, tolerance: int) -> np.ndarray:
    """bool [height, width]: pixels that differ by more than the tolerance."""
    lowest = colour - np.minimum(colour, tolerance)
    span = colour + np.minimum(255 - colour, tolerance) - lowest
    planes = [np.asarray(channel) for channel in image.split()]  # far faster than pixel by pixel
    red, green, blue = (
        plane - least > most  # what is below wraps around
        for plane, least, most in zip(planes, lowest, span, strict=True)
    )
    return red | green | blue


def _plain_lines(others: np.ndarray, box: Sequence[int], side: int) -> np.ndarray:
    """bool [n]: which lines of the box belong to a margin, from the side inwards.

    others: bool [height, width], the pixels that are not of the margin's colour.
    """
    left, top, right, bottom = box
    inside = others[top:bottom, left:right]
    along = 0 if side in (0, 2) else 1
    plain = np.count_nonzero(inside, axis=along) <= _STRAY * inside.shape[along]
    return plain if side < 2 else plain[::-1]


def _margin(plain: np.ndarray) -> int:
    """How many lines a margin has: bool [n], from its side inwards -> 0 to n - 1."""
    if plain.all() or not plain[0]:
        return 0
    starts = np.flatnonzero(np.diff(plain, prepend=False))  # of plain runs and others, by turns
    ends = [*starts[1:], len(plain)]
    beyond = len(plain) - np.argmin(plain[::-1])  # behind the last line that is not plain
    margin = ends[0]
    for strip, gap in zip(range(1, len(ends), 2), range(2, len(ends), 2), strict=False):
        thick, apart = ends[strip] - starts[strip], ends[gap] - starts[gap]
        if thick > 2 * apart or thick * _STRIP > beyond - ends[gap]:
            break
        margin = ends[gap]
    return int(margin)


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
