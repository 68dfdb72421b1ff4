"""JPEG: what decoding a file costs, and the file without its metadata."""

import dataclasses
import math
import re
import struct
from collections.abc import Iterator

from hashing.stored import Stored, Unreadable, orientation

_MARKER = re.compile(rb"\xff([^\x00\xff])")
_BEHIND_PIXELS = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")

_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_TABLES = (0xC4, 0xDB, 0xDD)  # of Huffman, of quantisation; the restart interval
_END, _SCAN = 0xD9, 0xDA
_BARE = (0x01, *range(0xD0, 0xD8))  # without a length
_JFIF, _EXIF, _ADOBE = 0xE0, 0xE1, 0xEE

_MOST_SEGMENTS = 5000
"""32 MB of metadata are 500; a photo has some 10."""
_MOST_TABLES = 100
_LONGEST_TABLE = 4096
_MOST_SCANS = 50
"""A progressive JPEG has 10, an optimised one up to 20."""

_SECONDS_A_BYTE, _SECONDS_A_BLOCK = 11e-9, 15e-9
_SECONDS_A_BYTE_OF_SCANS, _SECONDS_A_BLOCK_OF_A_SCAN = 34e-9, 48e-9
_BYTES_A_BLOCK = 128  # coefficients, kept where there are several scans
_SECONDS_A_PIXEL, _SECONDS_A_PIXEL_OF_INK, _BYTES_A_PIXEL = 12e-9, 20e-9, 8


def read(data: bytes) -> Stored:
    """Raises Unreadable, ValueError, struct.error."""
    kept: list[bytes] = []
    frame, scan, turned, pixels = b"", b"", None, 0
    for marker, body, behind in _segments(data, 2, _MARKER):
        if marker in _FRAMES:
            if frame:
                raise ValueError("it has two frames")
            frame = _checked(marker, body)
        elif marker == _SCAN:
            scan, pixels = body, behind
        elif marker == _EXIF and turned is None and body.startswith(b"Exif\0"):
            turned = orientation(body)
        if marker in (*_FRAMES, *_TABLES, _SCAN) or _tells_colours(marker, body):
            if len(body) > _LONGEST_TABLE or len(kept) == _MOST_TABLES:
                raise Unreadable("its tables are too many")
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
        if marker == _SCAN:
            break
    if not frame or not scan:
        raise ValueError("it has no pixels")
    height, width, blocks = _blocks(frame[1:])
    length = len(data) - pixels
    if frame[0] == _PROGRESSIVE or scan[0] < len(blocks):
        in_scans = _blocks_in_scans(data, pixels, scan, blocks)
        seconds = length * _SECONDS_A_BYTE_OF_SCANS + in_scans * _SECONDS_A_BLOCK_OF_A_SCAN
        memory = sum(blocks.values()) * _BYTES_A_BLOCK
    else:
        seconds = length * _SECONDS_A_BYTE + sum(blocks.values()) * _SECONDS_A_BLOCK
        memory = 0
    has_end = data.endswith(b"\xff\xd9") or data.find(b"\xff\xd9", pixels) >= 0
    times = 1 if has_end else 2  # it is decoded twice, to see whether all pixels are there
    data = data if has_end else data.rstrip(b"\xff")
    stored = Stored(
        "JPEG",
        (width, height),
        b"".join([b"\xff\xd8", *kept, memoryview(data)[pixels:]]),
        times * seconds,
        times * memory,
        times * (_SECONDS_A_PIXEL_OF_INK if len(blocks) == 4 else _SECONDS_A_PIXEL),
        times * _BYTES_A_PIXEL,
        scales=(1, 2, 4, 8),
        orientation=turned or 1,
        has_end=has_end,
    )
    if frame[0] == _PROGRESSIVE and has_end and stored.is_too_much:
        return dataclasses.replace(stored, preview=_at_an_eighth(stored, blocks))
    return stored


def _at_an_eighth(stored: Stored, blocks: dict[int, int]) -> Stored:
    """A progressive JPEG without the scans that add detail: what is left gives the mean colour of
    each block, which is all that a decoder needs at an eighth of the size."""
    data, kept, scans, start = stored.data, [b"\xff\xd8"], [], 0
    is_of_means = False
    for marker, body, behind in _segments(data, 2, _BEHIND_PIXELS):
        begins = behind - len(body) - 4
        if is_of_means:
            kept.append(data[start:begins])
        is_of_means = marker == _SCAN and body[-3:-2] == b"\0"
        if marker != _SCAN or is_of_means:
            kept.append(data[begins:behind])
        if is_of_means:
            scans.append(body)
        start = behind
    kept.append(data[start:] if is_of_means else b"\xff\xd9")
    means = b"".join(kept)
    return dataclasses.replace(
        stored,
        data=means,
        seconds=len(means) * _SECONDS_A_BYTE_OF_SCANS
        + _blocks_of(scans, blocks) * _SECONDS_A_BLOCK_OF_A_SCAN,
        scales=stored.scales[-1:],
    )


def _segments(data: bytes, at: int, pattern: re.Pattern) -> Iterator[tuple[int, bytes, int]]:
    """Marker, body, and where what follows begins, of each segment from there on; what is no
    segment is passed over.  At the end of the image it ends."""
    for _ in range(_MOST_SEGMENTS):
        found = pattern.search(data, at)
        if found is None or found[1][0] == _END:
            return
        marker, at = found[1][0], found.end()
        if marker in _BARE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        body = data[at + 2 : at + length]
        if length < 2 or len(body) < length - 2:
            raise ValueError("one of its parts is cut off")
        at += length
        yield marker, body, at
    raise Unreadable("it consists of too many parts")


def _tells_colours(marker: int, body: bytes) -> bool:
    return (marker == _JFIF and body.startswith(b"JFIF\0")) or (
        marker == _ADOBE and body.startswith(b"Adobe")
    )


def _checked(marker: int, body: bytes) -> bytes:
    """Marker and body of a frame that can be decoded."""
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        raise Unreadable("it is a lossless, hierarchical or arithmetic one")
    if body[0] != 8:
        raise Unreadable(f"it has {body[0]} bits a channel")
    return bytes([marker]) + body


def _blocks(frame: bytes) -> tuple[int, int, dict[int, int]]:
    """Height, width, and for each component how many blocks of 8 x 8 it has."""
    _, height, width, count = struct.unpack_from(">BHHB", frame)
    parts = {}
    for at in range(6, 6 + 3 * count, 3):
        name, sampling, _ = struct.unpack_from("BBB", frame, at)
        parts[name] = sampling >> 4, sampling & 15
    widest, highest = (max(sides) for sides in zip(*parts.values(), strict=True))
    across, down = (
        math.ceil(side / 8 / most) for side, most in ((width, widest), (height, highest))
    )
    return height, width, {name: across * h * down * v for name, (h, v) in parts.items()}


def _blocks_in_scans(data: bytes, at: int, scan: bytes, blocks: dict[int, int]) -> int:
    """How many blocks all scans go over.  at: behind the header of the first, `scan`."""
    scans = [scan]
    for marker, body, _ in _segments(data, at, _BEHIND_PIXELS):
        if marker == _SCAN:
            scans.append(body)
        if len(scans) > _MOST_SCANS:
            raise Unreadable("it consists of too many parts")
    return _blocks_of(scans, blocks)


def _blocks_of(scans: list[bytes], blocks: dict[int, int]) -> int:
    return sum(blocks.get(name, 0) for body in scans for name in body[1 : 1 + 2 * body[0] : 2])
