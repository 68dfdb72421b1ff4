"""The formats that are read, and what is in a file of each, found in its headers."""

import struct
from collections.abc import Callable

from hashing import jpeg, png, tiff
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


def format_of(data: bytes) -> str | None:
    """The format that the bytes begin like."""
    return next((name for name, (begins, _) in READERS.items() if data.startswith(begins)), None)


# -- WebP ----------------------------------------------------------------------------------------

_MOST_CHUNKS = 1000
_WEBP = 16e-9, 36e-9, 64e-9
_WEBP_LOSSLESS = 14e-9, 25e-9, 30e-9
"""Seconds a pixel, and beside it seconds a byte but no more than so many a pixel."""


def _webp(data: bytes) -> Stored:
    if data[8:12] != b"WEBP":
        raise ValueError("it is no picture")
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


READERS: dict[str, tuple[bytes | tuple[bytes, ...], Callable[[bytes], Stored]]] = {
    "JPEG": (b"\xff\xd8", jpeg.read),
    "PNG": (png.SIGNATURE, png.read),
    "WEBP": (b"RIFF", _webp),
    "GIF": ((b"GIF87a", b"GIF89a"), _gif),
    "BMP": (b"BM", _bmp),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), tiff.read),
}
"""Format, as Pillow names it -> how its files begin, and what reads their headers."""

FORMATS = tuple(READERS)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Of the names of files in these formats, in any case of letters."""
