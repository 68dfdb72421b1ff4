"""The preview that phones put into a HEIC, found in the boxes at its head (ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator

LEAST_EDGE = 200
"""Pixels of a preview's shorter side; phones write 240 and more."""

_MOST_BOXES, _MOST_ITEMS = 5000, 5000
"""A picture of 48 megapixels has some 200 tiles, each of them an item."""

Properties = dict[bytes, bytes]
"""Kind -> body."""


def preview(data: bytes) -> tuple[tuple[int, int], bytes] | None:
    """Width and height of the preview of a file's picture, and the file with the preview as its
    picture; None where there is none, or one too small or of another shape.

    Raises struct.error, LookupError, ArithmeticError."""
    meta = _box(data, b"meta", 0, len(data))
    primary = _box(data, b"pitm", meta[0] + 4, meta[1])[0]
    number = ">I" if data[primary] else ">H"
    (whole,) = struct.unpack_from(number, data, primary + 4)
    of_items = _properties(data, *_box(data, b"iprp", meta[0] + 4, meta[1]))
    for item, at in _previews_of(whole, data, *_box(data, b"iref", meta[0] + 4, meta[1])):
        size, own = _size(of_items[item]), of_items[item]
        if min(size) >= LEAST_EDGE and _is_alike(own, of_items[whole]):
            file = bytearray(data)
            struct.pack_into(number, file, primary + 4, item)
            file[at : at + 4] = b"skip"  # a decoder takes no preview as the picture
            return size, bytes(file)
    return None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where the body begins and ends, of each box in a range."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        size = size or end - start
        if size < head or start + size > end:
            return
        yield kind, start + head, start + size
        start += size


def _box(data: bytes, kind: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the body of the first box of a kind begins and ends.  Raises LookupError."""
    for found, *body in _boxes(data, start, end):
        if found == kind:
            return body[0], body[1]
    raise LookupError(kind)


def _previews_of(whole: int, data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The items that an `iref` box says are previews of an item, and where it says so."""
    letter = "I" if data[start] else "H"
    for kind, at, _ in _boxes(data, start + 4, end):
        if kind == b"thmb":
            item, count = struct.unpack_from(f">{letter}H", data, at)
            behind = at + struct.calcsize(f">{letter}H")
            if whole in struct.unpack_from(f">{min(count, _MOST_ITEMS)}{letter}", data, behind):
                yield item, at - 4


def _properties(data: bytes, start: int, end: int) -> dict[int, Properties]:
    """Item -> its properties, of an `iprp` box."""
    kinds = [(kind, data[a:b]) for kind, a, b in _boxes(data, *_box(data, b"ipco", start, end))]
    at, _ = _box(data, b"ipma", start, end)
    item_form = struct.Struct(">IB" if data[at] else ">HB")
    place_form, most = (">H", 0x7FFF) if data[at + 3] & 1 else (">B", 0x7F)
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    found: dict[int, Properties] = {}
    for _ in range(min(count, _MOST_ITEMS)):
        item, places = item_form.unpack_from(data, at)
        at += item_form.size
        own = found.setdefault(item, {})
        for _ in range(places):
            place = struct.unpack_from(place_form, data, at)[0] & most
            at += struct.calcsize(place_form)
            if place:
                own.setdefault(*kinds[place - 1])
    return found


def _size(own: Properties) -> tuple[int, int]:
    width, height = struct.unpack_from(">4xII", own[b"ispe"])
    return width, height


def _is_alike(one: Properties, whole: Properties) -> bool:
    """Whether it shows the whole picture, turned the same way."""
    (width, height), (across, down) = _size(one), _size(whole)
    is_of_shape = abs(width * down - height * across) <= 2 * max(across, down)
    turned = all(one.get(kind) == whole.get(kind) for kind in (b"irot", b"imir"))
    return is_of_shape and turned and b"clap" not in {*one, *whole}
