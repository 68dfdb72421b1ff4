"""What is left of a picture without its margins: borders, studio white, a screenshot's bars."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

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
_MOST_COLOURS = 16
"""Of margins within margins.  A picture of hundreds is made to take time."""
_LARGE = 1_000_000
"""Pixels.  What has more is looked at in a reduced copy first."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, right and bottom exclusive."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What is left of a picture without its margins."""

    box: Box
    """At least one pixel."""
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

    A picture of more than a million pixels is reduced to fewer, and what is left there is looked at
    closely where that are fewer.
    """
    whole = (0, 0, *image.size)
    edges = [_line(image, side, whole) for side in range(4)]
    if not any(_is_plain(line, _median(line), _TOLERANCE) for line in edges):
        return Frame(whole, _rgb(_median(np.concatenate(edges))))
    factor = math.ceil(math.sqrt(_area(whole) / _LARGE))
    return _framed(image) if factor == 1 else _roughly_framed(image, factor)


def _roughly_framed(image: Image.Image, factor: int) -> Frame:
    rough = _framed(image.reduce(factor))
    left, top, right, bottom = _times(rough.box, factor, image)
    around = (left - factor, top - factor, right + factor, bottom + factor)
    around = _times(around, 1, image)
    if _area(around) > _LARGE:
        return Frame((left, top, right, bottom), rough.colour)
    inside = _framed(image.crop(around))
    x, y = around[:2]
    left, top, right, bottom = inside.box
    return Frame((left + x, top + y, right + x, bottom + y), inside.colour)


def _times(box: Box, factor: int, image: Image.Image) -> Box:
    """So many times as large, within the image."""
    left, top, right, bottom = (side * factor for side in box)
    return max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)


def _framed(image: Image.Image) -> Frame:
    whole = (0, 0, *image.size)
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
            key = colour.tobytes()
            if key not in others and len(others) < _MOST_COLOURS:
                others[key] = _others(image, colour, tolerance)
            if key in others:
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


def _area(box: Box) -> int:
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
