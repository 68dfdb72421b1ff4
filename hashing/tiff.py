"""TIFF: what decoding its first picture costs, and the file with the tags of that alone."""

import math
import struct

from hashing import jpeg
from hashing.stored import ORIENTATION, Stored, Tags, Unreadable, pack_values, read_tags

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANES = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_FORMAT = 339
_OTHERS = (266, 292, 293, 317, 320, 338, 347, 530)
"""Fill order, fax options, predictor, palette, extra samples, JPEG tables, subsampling."""
_KEPT = (_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES, _ROWS, _COUNTS,
         _PLANES, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT,
         *_OTHERS)  # fmt: skip

_SECONDS_A_RAW_BYTE = {
    1: 2e-9,  # none
    2: 100e-9, 3: 100e-9, 4: 100e-9,  # fax: eight pixels a byte
    5: 8e-9,  # LZW
    7: 0.0,  # JPEG, which says itself what it costs
    8: 11e-9, 32946: 11e-9,  # deflate
    32773: 2e-9,  # PackBits
}  # fmt: skip
"""By how the pixels are compressed; other kinds are not read."""

_JPEG = 7
_MOST_PARTS = 8000
_SECONDS_A_PART = 25e-6
_OF_COLOURS, _OF_OTHERS, _OF_DEEP = (8e-9, 9), (14e-9, 16), (45e-9, 18)
"""Seconds and bytes a pixel: of red, green and blue; of one channel of more than 8 bits."""
_MOST_SAMPLES = 6


def read(data: bytes) -> Stored:
    """Raises Unreadable, ValueError, struct.error."""
    tags = read_tags(data, (*_KEPT, ORIENTATION))

    def one(tag: int, otherwise: int) -> int:
        return tags[tag][1][0] if tag in tags else otherwise

    width, height = one(_WIDTH, 0), one(_LENGTH, 0)
    compression, samples = one(_COMPRESSION, 1), one(_SAMPLES, 1)
    if compression not in _SECONDS_A_RAW_BYTE:
        raise Unreadable(f"its pixels are compressed in the way that TIFF numbers {compression}")
    if not 1 <= samples <= _MOST_SAMPLES:
        raise Unreadable(f"it has {samples} channels")
    across, down = _part_size(tags, width, height)
    columns, rows = math.ceil(width / across), math.ceil(height / down)
    parts = _parts(tags, columns * rows * (samples if one(_PLANES, 1) == 2 else 1), len(data))
    size = columns * across, rows * down
    bits = max(tags[_BITS][1]) if _BITS in tags else 1
    raw = math.ceil(size[0] * bits * samples / 8) * size[1]
    seconds = raw * _SECONDS_A_RAW_BYTE[compression] + len(parts) * _SECONDS_A_PART
    if compression == _JPEG:
        seconds += sum(_seconds_of_jpeg(data[at : at + length]) for at, length in parts)
    a_pixel = _OF_DEEP if bits > 8 and samples == 1 else _OF_OTHERS
    a_pixel = _OF_COLOURS if samples == 3 else a_pixel
    return Stored(
        "TIFF",
        size,
        _with_tags(data, tags),
        seconds,
        min(across * down * bits * samples // 8, raw),
        *a_pixel,
        orientation=one(ORIENTATION, 1),
    )


def _part_size(tags: Tags, width: int, height: int) -> tuple[int, int]:
    """Width and height of a tile, or of a strip."""
    if _OFFSETS in tags and _TILE_OFFSETS in tags:
        raise Unreadable("it has both strips and tiles")
    if _TILE_OFFSETS in tags:
        across, down = tags[_TILE_WIDTH][1][0], tags[_TILE_LENGTH][1][0]
    else:
        across, down = width, min(tags[_ROWS][1][0] if _ROWS in tags else height, height)
    if min(across, down) < 1:
        raise ValueError("it has no pixels")
    return across, down


def _parts(tags: Tags, count: int, length: int) -> list[tuple[int, int]]:
    """Where each of so many strips or tiles begins, and how long it is.  Each has its own bytes of
    the file, which has `length`."""
    _, offsets = tags[_OFFSETS] if _OFFSETS in tags else tags[_TILE_OFFSETS]
    _, counts = tags.get(_COUNTS) or tags.get(_TILE_COUNTS) or (4, ())
    if not counts and _COMPRESSION not in tags:
        counts = (length // count,) * count
    if count > _MOST_PARTS:
        raise Unreadable(f"it consists of {count} parts")
    if min(len(offsets), len(counts)) < count:
        raise ValueError(f"it has {min(len(offsets), len(counts))} of {count} parts")
    if sum(counts) > length:
        raise ValueError("its parts are longer than the file")
    return list(zip(offsets, counts, strict=False))[:count]


def _seconds_of_jpeg(part: bytes) -> float:
    found = jpeg.read(part)
    if found.memory:
        raise Unreadable("it consists of JPEGs of several scans")
    return found.seconds + found.pixels * found.seconds_a_pixel


def _with_tags(data: bytes, tags: Tags) -> bytes:
    """The file with a directory of just these tags, but for the orientation, and no other."""
    order = "<" if data[:2] == b"II" else ">"
    start = len(data) + len(data) % 2
    kept = sorted(tag for tag in tags if tag != ORIENTATION)
    free = start + 2 + 12 * len(kept) + 4
    entries, values = [], []
    for tag in kept:
        kind, numbers = tags[tag]
        kind = 4 if kind == 16 else kind
        value = pack_values(order, kind, numbers)
        if len(value) > 4:
            values.append(value + bytes(len(value) % 2))
            value, free = struct.pack(order + "I", free), free + len(values[-1])
        entries.append(struct.pack(order + "HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0"))
    return b"".join(
        [data[:2], struct.pack(order + "HI", 42, start), memoryview(data)[8:], bytes(len(data) % 2),
         struct.pack(order + "H", len(kept)), *entries, bytes(4), *values]
    )  # fmt: skip
