"""A picture as its file stores it, and what decoding it costs, known before anything is decoded.

The costs that each format's reader counts with are worst cases, measured on one core of a server of
2024 with Pillow 13.  A picture that would cost more than the budget even at the coarsest scale is
refused, whatever its format.
"""

import dataclasses
import struct
from collections.abc import Iterable

MOST_SECONDS = 0.6
"""Of one core, for decoding a picture.  What follows takes little: it is small by then."""
MOST_BYTES = 320_000_000
"""Of memory, beside the file itself, at any time while a picture is decoded."""

MOST_FRAMES = 10
"""Of an animation, that are looked at."""

Tags = dict[int, tuple[int, tuple[int, ...]]]
"""tag -> type (as the file numbers it) and values."""

ORIENTATION = 274
_MOST_VALUES = 10_000
_LETTERS = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 16: 8}


class Unreadable(Exception):
    """The file is of a kind that is not decoded; the message says which, without a full stop."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A picture as its file stores it."""

    format: str
    """As Pillow names it."""
    size: tuple[int, int]
    """Width and height of all that the decoder fills."""
    data: bytes
    """What makes the pixels, as a file of that format, without metadata."""
    seconds: float
    """Of a core, for what is done once whatever the scale."""
    memory: int
    """Bytes beside `data`, for the same."""
    seconds_a_pixel: float
    """Of a core, for each pixel that is decoded."""
    bytes_a_pixel: float
    scales: tuple[int, ...] = (1,)
    """By which the decoder can divide both sides, ascending."""
    orientation: int = 1
    """As Exif counts: 1 to 8; anything else means 1."""
    frames: int = 1
    """How many the file has, at most MOST_FRAMES."""
    is_apart: bool = False
    """Whether a process of its own decodes it, which also turns AVIF and HEIC upright (`apart`)."""
    has_end: bool = True
    """False: a JPEG without its end marker."""
    preview: "Stored | None" = None
    """The whole picture in less detail, where the file has it so and the picture costs too much."""

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def is_too_much(self) -> bool:
        """Whether decoding it is over the budget even at the coarsest scale."""
        return self.cost(self.scales[-1]) > 1

    def cost(self, scale: int) -> float:
        """Share of the budget that decoding takes at a scale: of time or of memory, whichever is
        more."""
        pixels = self.pixels / scale**2
        seconds = self.seconds + pixels * self.seconds_a_pixel
        memory = len(self.data) + self.memory + pixels * self.bytes_a_pixel
        return max(seconds / MOST_SECONDS, memory / MOST_BYTES)


def read_tags(block: bytes, wanted: Iterable[int]) -> Tags:
    """The wanted tags of a TIFF's, BigTIFF's or Exif block's first directory, those with whole
    numbers or bytes.  Raises ValueError, struct.error."""
    order = {b"II": "<", b"MM": ">"}[block[:2]] if block[:2] in (b"II", b"MM") else ""
    if not order:
        raise ValueError("it does not say its byte order")
    is_big = struct.unpack_from(order + "H", block, 2)[0] == 43
    start = struct.unpack_from(order + ("Q" if is_big else "I"), block, 8 if is_big else 4)[0]
    count = struct.unpack_from(order + ("Q" if is_big else "H"), block, start)[0]
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    start += 8 if is_big else 2
    entries = block[start : start + min(count, 65535) * entry.size]
    entries = entries[: len(entries) // entry.size * entry.size]
    tags: Tags = {}
    for tag, kind, length, value in entry.iter_unpack(entries):
        if tag not in wanted or tag in tags or kind not in _LETTERS:
            continue
        if length > _MOST_VALUES:
            raise Unreadable(f"its tag {tag} has {length} values")
        size = length * _SIZES[kind]
        if size > len(value):
            at = int.from_bytes(value, "little" if order == "<" else "big")
            value = block[at : at + size]
        tags[tag] = kind, struct.unpack_from(f"{order}{length}{_LETTERS[kind]}", value)
    return tags


def pack_values(order: str, kind: int, values: tuple[int, ...]) -> bytes:
    """Values of a tag as a file of this byte order, < or >, has them."""
    return struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)


def orientation(exif: bytes) -> int:
    """What an Exif block says, 1 where it says nothing or is broken: the photo is then shown as it
    is stored."""
    try:
        _, values = read_tags(exif.removeprefix(b"Exif\0\0"), (ORIENTATION,))[ORIENTATION]
        return values[0]
    except (Unreadable, ValueError, struct.error, KeyError, IndexError):
        return 1
