"""What a garment is made of: parts, lines and words, and the curves that outline them.

Points are (n, 2) float arrays in garment units: x to the right, y down, the middle of the garment
near (0, 0), a garment about two units high. The scene fits the whole into the picture.
"""

from dataclasses import dataclass

import numpy as np

Points = np.ndarray


@dataclass(frozen=True)
class Fold:
    """A ridge in the cloth from start to end; a negative depth is a valley.

    width is in units, depth is the slope of the cloth at the flank of the ridge.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    width: float = 0.04
    depth: float = 0.25


@dataclass(frozen=True)
class Part:
    """A filled, shaded piece of a garment.

    edge is how far (units) the surface bends down to its outline, slope how steeply, drape how
    strongly the cloth creases by chance, grain the turn of the pattern in radians, shade a factor
    on the colour. A part with `within` shows only inside that outline; a feathered part fades
    towards its own outline.
    """

    outline: Points
    fabric: str = "main"
    grain: float = 0.0
    shade: float = 1.0
    edge: float = 0.05
    slope: float = 0.55
    drape: float = 0.0
    folds: tuple[Fold, ...] = ()
    within: Points | None = None
    feathered: bool = False


@dataclass(frozen=True)
class Line:
    """A thin line on the parts below it: a seam, a stitch, a lace, a strand."""

    points: Points
    fabric: str = "seam"
    width: float = 0.008
    opacity: float = 0.6
    dashed: bool = False


@dataclass(frozen=True)
class Words:
    """Printed letters around a middle; height in units."""

    text: str
    middle: tuple[float, float]
    height: float
    fabric: str = "print"


Piece = Part | Line | Words


def curve(*points: tuple[float, float], steps: int = 10) -> Points:
    """A smooth curve (Catmull-Rom) through the points; two points give a straight line."""
    knots = np.asarray(points, dtype=float)
    if len(knots) < 3:
        return knots
    first, last = 2 * knots[0] - knots[1], 2 * knots[-1] - knots[-2]
    padded = np.vstack([first, knots, last])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    smooth = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    return np.vstack([smooth.transpose(1, 0, 2).reshape(-1, 2), knots[-1:]])


def loop(*points: tuple[float, float]) -> Points:
    """A smooth closed outline through the points."""
    knots = list(points)
    around = curve(*knots[-2:], *knots, *knots[:2])
    return around[20:-10]


def join(*pieces) -> Points:
    """Curves one after the other, with a corner where two of them meet."""
    return np.vstack([np.asarray(piece, dtype=float).reshape(-1, 2) for piece in pieces])


def flip(points: Points) -> Points:
    """The same points on the other side of the line x = 0."""
    return points * (-1, 1)


def mirror(half: Points) -> Points:
    """A symmetrical outline from its right half, which runs from the middle to the middle."""
    return join(half, flip(half)[::-1])


def turn(points: Points, angle: float, around=(0.0, 0.0)) -> Points:
    """The points turned by an angle in radians (positive: clockwise as seen)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return (points - around) @ np.array([[cos, sin], [-sin, cos]]) + around


def ellipse(x: float, y: float, rx: float, ry: float | None = None) -> Points:
    """A circle, or an ellipse with two radii."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ry = rx if ry is None else ry
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.02) -> Points:
    """A rectangle with round corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    angle = np.linspace(0, np.pi / 2, 6)
    corner = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    centres = [
        (right - radius, bottom - radius),
        (left + radius, bottom - radius),
        (left + radius, top + radius),
        (right - radius, top + radius),
    ]
    return join(*(turn(corner, k * np.pi / 2) + c for k, c in enumerate(centres)))


def ribbon(points: Points, width: float, end_width: float | None = None) -> Points:
    """The outline of a band along a curve; it may become narrower or wider towards its end."""
    points = np.asarray(points, dtype=float)
    along = np.gradient(points, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    widths = np.linspace(width, width if end_width is None else end_width, len(points))[:, None]
    return join(points + across * widths / 2, (points - across * widths / 2)[::-1])


def both(part: Part) -> list[Part]:
    """A part and its mirror image."""
    within = None if part.within is None else flip(part.within)
    folds = tuple(
        Fold((-f.start[0], f.start[1]), (-f.end[0], f.end[1]), f.width, f.depth) for f in part.folds
    )
    twin = Part(
        flip(part.outline),
        part.fabric,
        -part.grain,
        part.shade,
        part.edge,
        part.slope,
        part.drape,
        folds,
        within,
        part.feathered,
    )
    return [part, twin]


def both_lines(line: Line) -> list[Line]:
    """A line and its mirror image."""
    return [line, Line(flip(line.points), line.fabric, line.width, line.opacity, line.dashed)]


def buttons(x: float, ys, radius: float = 0.014, fabric: str = "button") -> list[Piece]:
    """A row of buttons, one above the other."""
    return [Part(ellipse(x, y, radius), fabric, edge=0.008, slope=0.8) for y in ys]
