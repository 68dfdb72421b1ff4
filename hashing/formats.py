"""The formats that are read, and what is in a file of each, found in its headers."""

import dataclasses
import math
import re
import struct
from collections.abc import Callable

from hashing import heif, jpeg, png, tiff
from hashing.apart import heif_reader
from hashing.stored import MOST_FRAMES, Stored, Unreadable, orientation


def look(data: bytes) -> Stored:
    """What is stored in the bytes of a file, with what decoding it costs; nothing is decoded, and
    it takes no more than some ms itself.

    Raises Unreadable where the kind of the file is not decoded, ValueError where it is none, or
    damaged.
    """
    kind = format_of(data)
    if kind is None:
        raise ValueError("it begins like none")
    _, read = READERS[kind]
    try:
        return read(data)
    except (struct.error, LookupError, ArithmeticError) as error:
        raise ValueError("its headers are cut off or damaged") from error


def format_of(data: bytes | bytearray) -> str | None:
    """The format that the bytes begin like."""
    return next((name for name, (begins, _) in READERS.items() if begins.match(data)), None)


# -- WebP ----------------------------------------------------------------------------------------

_MOST_CHUNKS = 1000
_WEBP = 16e-9, 36e-9, 64e-9
_WEBP_LOSSLESS = 14e-9, 25e-9, 30e-9
"""Seconds a pixel, and beside it seconds a byte but no more than so many a pixel."""


def _webp(data: bytes) -> Stored:
    kind, exif, frames = data[12:16], b"", 1
    if kind == b"VP8X":
        size = (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
        exif, frames = _webp_extras(data)
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = struct.unpack_from("<HH", data, 26)
        size = width & 0x3FFF, height & 0x3FFF
    pixels = size[0] * size[1]
    a_pixel, a_byte, most = _WEBP_LOSSLESS if kind == b"VP8L" else _WEBP
    return Stored(
        "WEBP",
        size,
        data,
        min(len(data) * a_byte, pixels * most),
        2 * len(data),
        a_pixel + 14e-9,
        20,
        orientation=orientation(exif),
        frames=frames,
    )


def _webp_extras(data: bytes) -> tuple[bytes, int]:
    """Exif block and number of frames."""
    exif, frames, at = b"", 0, 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
        frames += name == b"ANMF"
        at += 8 + length + length % 2
    return exif, max(1, min(frames, MOST_FRAMES))


# -- GIF -----------------------------------------------------------------------------------------

_PICTURE, _EXTENSION, _CONTROL = 0x2C, 0x21, 0xF9
_MOST_BLOCKS = 200_000


def _gif(data: bytes) -> Stored:
    """The first frame: its extensions, comments with them, are left out."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    start = at = 13 + (3 << (flags & 7) + 1) * (flags >> 7)
    control, extension = b"", -1
    for _ in range(_MOST_BLOCKS):
        if extension < 0:
            if data[at] == _PICTURE:
                break
            if data[at] != _EXTENSION:
                raise ValueError("it has no picture")
            extension, at = at, at + 2
        elif data[at]:
            at += 1 + data[at]
        else:
            at += 1
            control = data[extension:at] if data[extension + 1] == _CONTROL else control
            extension = -1
    else:
        raise Unreadable("it consists of too many parts")
    left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
    size = max(width, left + across), max(height, top + down)
    return Stored(
        "GIF",
        size,
        b"".join([data[:start], control, memoryview(data)[at:]]),
        0.0,
        0,
        30e-9,
        16,
    )


# -- BMP -----------------------------------------------------------------------------------------


def _bmp(data: bytes) -> Stored:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        compression = 0
    else:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2):
        raise Unreadable("its pixels are compressed by run lengths; save it as PNG")
    return Stored("BMP", (abs(width), abs(height)), data, 0.0, 0, 17e-9, 9)


# -- what is decoded apart -----------------------------------------------------------------------

_SIZE_BOX = re.compile(rb"ispe\0\0\0\0(.{8})", re.DOTALL)
_SIZE_SEGMENT = re.compile(rb"\xff\x4f\xff\x51..(.{20})", re.DOTALL)
_EXIF_BOX = b"uuidJpgTiffExif->JP2"
"""As ExifTool and Exiv2 write it."""
_FARTHEST = 1_000_000
"""Bytes from the start in which a file says its size."""


def _avif(data: bytes) -> Stored:
    return _apart("AVIF", _largest_box(data), data, 16e-9, 95e-9)


def _heif(data: bytes) -> Stored:
    if heif_reader() is None:
        raise Unreadable("the package that reads it is not installed: pip install 'efiss-ai[heif]'")
    whole = _apart("HEIF", _largest_box(data), data, 22e-9, 120e-9)
    if not whole.is_too_much:
        return whole
    try:
        found = heif.preview(data)
    except (struct.error, LookupError, ArithmeticError):
        found = None
    # Its bytes are not counted: it is small, or its decoder is ended.
    preview = found and _apart("HEIF", *found, 150e-9, 0)
    return dataclasses.replace(whole, preview=preview)


def _jpeg_2000(data: bytes) -> Stored:
    found = _SIZE_SEGMENT.search(data[:_FARTHEST])
    if found is None:
        raise ValueError("it does not say its size")
    _, right, bottom, left, top = struct.unpack(">HIIII", b"\0\0" + found[1][2:18])
    stored = _apart("JPEG2000", (right - left, bottom - top), data, 45e-9, 190e-9)
    exif = data[:_FARTHEST].partition(_EXIF_BOX)[2]
    return dataclasses.replace(stored, orientation=orientation(exif))


def _largest_box(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture, of its parts and previews, that is declared."""
    sizes = [struct.unpack(">II", found[1]) for found in _SIZE_BOX.finditer(data[:_FARTHEST])]
    return max(sizes, key=math.prod)


def _apart(
    name: str, size: tuple[int, int], data: bytes, seconds_a_pixel: float, seconds_a_byte: float
) -> Stored:
    pixels = max(0, math.prod(size))
    return Stored(
        name,
        size,
        data,
        pixels * seconds_a_pixel + len(data) * seconds_a_byte,
        pixels * 20 + 2 * len(data),
        20e-9,
        12,
        scales=(1, 2, 4, 8),
        is_apart=True,
    )


READERS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes], Stored]]] = {
    name: (re.compile(begins, re.DOTALL), read)
    for name, begins, read in (
        ("JPEG", rb"\xff\xd8", jpeg.read),
        ("PNG", re.escape(png.SIGNATURE), png.read),
        ("WEBP", rb"RIFF....WEBP", _webp),
        ("GIF", rb"GIF8[79]a", _gif),
        ("BMP", rb"BM", _bmp),
        ("TIFF", rb"II[*+]\0|MM\0[*+]", tiff.read),
        ("AVIF", rb"....ftyp(?:....){0,16}?avi[fs]", _avif),
        ("HEIF", rb"....ftyp(?:....){0,16}?(?:hei[cxms]|hev[cxms])", _heif),
        ("JPEG2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg_2000),
    )
}
"""Format, as Pillow names it -> how its files begin, and what reads their headers."""

FORMATS = tuple(READERS)

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
            ".avif", ".heic", ".heif", ".jp2")  # fmt: skip
"""Of the names of files in these formats, in any case of letters."""
