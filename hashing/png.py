"""PNG: what decoding a file costs, and the file without its metadata."""

import math
import struct
import zlib

from hashing.stored import MOST_FRAMES, Stored, Unreadable, orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MOST_CHUNKS = 100_000
_MOST_MOVING = 1000
"""Parts of an animation's frames behind the first."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_SECONDS_A_RAW_BYTE = 4e-9
_SECONDS_A_BYTE, _MOST_A_RAW_BYTE = 25e-9, 5e-9  # beside those
_OF_COLOURS, _OF_OTHERS = (8e-9, 9), (14e-9, 16)  # seconds and bytes a pixel


def read(data: bytes) -> Stored:
    """Raises Unreadable, ValueError, struct.error."""
    head: list[bytes] = []
    pixels: list[memoryview] = []
    moving: list[bytes] = []
    exif, frames, whole, at = b"", 1, memoryview(data), len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data) and pixels:
            break  # whether the pixels are all there, the decoder will say
        length, name = struct.unpack_from(">I4s", data, at)
        body = whole[at + 8 : at + 8 + length]
        if name == b"IEND":
            break
        if name == b"IDAT":
            pixels.append(body)
        elif name in (b"IHDR", b"PLTE", b"tRNS"):
            _check(name, body, data[at + 8 + length : at + 12 + length])
            head.append(_chunk(name, body))
        elif name in (b"fcTL", b"fdAT") or (name == b"acTL" and length == 8):
            frames += bool(pixels) and name == b"fcTL"
            if frames <= MOST_FRAMES and len(moving) < _MOST_MOVING:
                (moving if pixels else head).append(_chunk(name, body))
        elif name == b"eXIf":
            exif = bytes(body)
        elif not name[0] & 0x20:
            raise Unreadable(f"it has a part {name!r} that is not PNG's")
        at += 12 + length
    else:
        raise Unreadable("it consists of too many parts")
    size, raw, is_plain = _lines(head)
    packed = b"".join(pixels)
    return Stored(
        "PNG",
        size,
        b"".join([SIGNATURE, *head, _chunk(b"IDAT", packed), *moving, _chunk(b"IEND", b"")]),
        raw * _SECONDS_A_RAW_BYTE + min(len(packed) * _SECONDS_A_BYTE, raw * _MOST_A_RAW_BYTE),
        len(packed),
        *(_OF_COLOURS if is_plain else _OF_OTHERS),
        orientation=orientation(exif),
        frames=min(frames, MOST_FRAMES),
    )


def _check(name: bytes, body: memoryview, checksum: bytes) -> None:
    if zlib.crc32(body, zlib.crc32(name)) != int.from_bytes(checksum, "big"):
        raise ValueError(f"the checksum of its {name.decode()} is wrong")


def _chunk(name: bytes, body: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(name))
    return b"".join([struct.pack(">I4s", len(body), name), body, struct.pack(">I", checksum)])


def _lines(head: list[bytes]) -> tuple[tuple[int, int], float, bool]:
    """Width and height; the bytes of all lines, half as many again where they are interlaced; and
    whether its pixels are just red, green and blue."""
    if not head or head[0][4:8] != b"IHDR":
        raise ValueError("it does not begin with its size")
    width, height, depth, colour, interlaced = struct.unpack_from(">IIBBxxB", head[0], 8)
    raw = height * (1 + math.ceil(width * _CHANNELS.get(colour, 4) * depth / 8))
    is_plain = colour == 2 and not any(chunk[4:8] == b"tRNS" for chunk in head)
    return (width, height), raw * (1.5 if interlaced else 1), is_plain
