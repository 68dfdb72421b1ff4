"""Patterns on cloth: stripes, checks, dots and prints, as functions of a place on the cloth.

A pattern takes two float32 arrays of one shape (h, w), the place on the cloth in garment units, and
the size of a pixel in units; it gives colours (h, w, 3) from 0 to 1. Edges are a pixel soft.
"""

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def pattern(kind: str, rng, colours: list[np.ndarray], scale: float = 1.0) -> Pattern | None:
    """The pattern of a kind in up to three colours, the ground first; None for plain cloth."""
    makers = {"Stripes": stripes, "Checks": checks, "Dots": dots, "Print": prints}
    return makers[kind](rng, colours, scale) if kind in makers else None


def inside(distance: np.ndarray, pixel: float) -> np.ndarray:
    """1 where a distance to an edge is positive, 0 where negative, a pixel wide in between."""
    return np.clip(distance / pixel + 0.5, 0, 1)


def bands(x: np.ndarray, period: float, start: float, width: float, pixel: float) -> np.ndarray:
    """Bands repeated along x: 1 on a band, else 0; start and width are parts of the period."""
    middle = (start + width / 2) * period
    offset = np.abs((x - middle + period / 2) % period - period / 2)
    return inside(width * period / 2 - offset, pixel)


def mix(ground: np.ndarray, ink: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return ground + (ink - ground) * amount[..., None]


def stripes(rng, colours, scale) -> Pattern:
    """Pin stripes, even or spaced bands, or a repeat of several; along, across or slanted."""
    style = rng.choice(["pin", "even", "spaced", "many"])
    angle = float(rng.choice([0.0, 0.0, 0.0, np.pi / 2, np.pi / 2, np.pi / 4]))
    period = (
        scale
        * {
            "pin": rng.uniform(0.05, 0.08),
            "even": rng.uniform(0.08, 0.2),
            "spaced": rng.uniform(0.12, 0.2),
            "many": rng.uniform(0.22, 0.36),
        }[str(style)]
    )
    layout = {
        "pin": [(0.0, 0.16, 1)],
        "even": [(0.0, 0.5, 1)],
        "spaced": [(0.0, 0.25, 1)],
        "many": [(0.0, 0.3, 1), (0.42, 0.12, 2), (0.66, 0.12, 2)],
    }[str(style)]

    def paint(x, y, pixel):
        across = x * np.sin(angle) + y * np.cos(angle)
        out = np.broadcast_to(colours[0], (*x.shape, 3))
        for start, width, ink in layout:
            out = mix(out, colours[ink], bands(across, period, start, width, pixel))
        return out

    return paint


def checks(rng, colours, scale) -> Pattern:
    """Gingham, tartan, a thin window pane, a chessboard or diamonds."""
    style = rng.choice(["gingham", "tartan", "tartan", "pane", "board", "diamond"])
    period = scale * rng.uniform(0.09, 0.26) * (1.5 if style == "tartan" else 1.0)
    slant = style == "diamond"

    def paint(x, y, pixel):
        if slant:
            x, y = x * 0.9 + y * 0.55, y * 0.55 - x * 0.9
        ground = np.broadcast_to(colours[0], (*x.shape, 3))
        wide_x = bands(x, period, 0, 0.5, pixel)
        wide_y = bands(y, period, 0, 0.5, pixel)
        if style in ("board", "diamond"):
            board = wide_x + wide_y - 2 * wide_x * wide_y
            out = mix(ground, colours[1], board)
            if style == "board":
                return out
            thin = np.maximum(
                bands(x, period, 0.22, 0.05, pixel), bands(y, period, 0.22, 0.05, pixel)
            )
            return mix(out, colours[2], thin * 0.8)
        if style == "gingham":
            return mix(ground, colours[1], (wide_x + wide_y) / 2)
        thin = np.maximum(bands(x, period, 0.72, 0.07, pixel), bands(y, period, 0.72, 0.07, pixel))
        if style == "pane":
            return mix(ground, colours[1], thin)
        out = mix(ground, colours[1], (wide_x + wide_y) * 0.45)
        return mix(out, colours[2], thin * 0.8)

    return paint


def dots(rng, colours, scale) -> Pattern:
    """Dots in a staggered grid, small to large."""
    period = scale * rng.uniform(0.07, 0.2)
    radius = period * rng.uniform(0.2, 0.34)

    def paint(x, y, pixel):
        row = np.floor(y / period)
        across = (x + (row % 2) * period / 2) % period - period / 2
        down = y % period - period / 2
        return mix(
            np.broadcast_to(colours[0], (*x.shape, 3)),
            colours[1],
            inside(radius - np.hypot(across, down), pixel),
        )

    return paint


def prints(rng, colours, scale) -> Pattern:
    """Strewn flowers, leaves, stars, rings or hearts, or the patches of a camouflage or a fur."""
    style = str(rng.choice(["flower", "flower", "leaf", "star", "ring", "heart", "patches", "fur"]))
    if style in ("patches", "fur"):
        return patches(rng, colours, scale, style == "fur")
    period = scale * rng.uniform(0.13, 0.26)
    strewn = rng.random((16, 16, 4)).astype(np.float32)

    def paint(x, y, pixel):
        column, row = np.floor(x / period).astype(int) % 16, np.floor(y / period).astype(int) % 16
        dx = x / period % 1 - 0.5 - (strewn[row, column, 0] - 0.5) * 0.3
        dy = y / period % 1 - 0.5 - (strewn[row, column, 1] - 0.5) * 0.3
        angle = strewn[row, column, 2] * 6.283
        size = 0.28 + 0.1 * strewn[row, column, 3]
        out = np.broadcast_to(colours[0], (*x.shape, 3))
        body, heart = motif(style, dx / size, dy / size, angle)
        soft = pixel / period / 0.33
        out = mix(out, colours[1], inside(body, soft))
        return mix(out, colours[2], inside(heart, soft))

    return paint


def motif(style: str, x, y, angle) -> tuple[np.ndarray, np.ndarray]:
    """How far inside a motif of about radius 1 a place is, and how far inside its middle."""
    if style == "heart":
        lean = np.abs(x)
        return 0.75 - np.hypot(lean * 1.1, y * 1.15 - 0.55 * np.sqrt(lean) + 0.15), np.full_like(
            x, -9
        )
    around, away = np.arctan2(y, x) + angle, np.hypot(x, y)
    if style == "flower":
        return 0.7 + 0.3 * np.cos(5 * around) - away, 0.3 - away
    if style == "star":
        return 0.62 + 0.33 * (2 / np.pi) * np.arcsin(np.cos(5 * around) * 0.999) - away, -away - 1
    if style == "ring":
        return 0.15 - np.abs(away - 0.75), 0.28 - away
    along, across = away * np.cos(around), away * np.sin(around)
    leaf = 0.42 * (1 - along**2) - np.abs(across)
    return leaf, np.minimum(0.06 - np.abs(across), 0.8 - np.abs(along))


def patches(rng, colours, scale, fur: bool) -> Pattern:
    """Irregular patches: slow waves in many directions, cut at two heights."""
    count = 9
    length = scale * (0.09 if fur else 0.3) * rng.uniform(0.8, 1.3)
    angles, phases = rng.uniform(0, 6.283, count), rng.uniform(0, 6.283, count)
    waves = 6.283 / (length * rng.uniform(0.6, 1.5, count))

    def paint(x, y, pixel):
        height = np.zeros_like(x)
        for angle, phase, wave in zip(angles, phases, waves, strict=True):
            height += np.sin(wave * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        soft = pixel * 30
        out = np.broadcast_to(colours[0], (*x.shape, 3))
        out = mix(out, colours[1], inside(height - (1.2 if fur else 1.3), soft))
        return mix(out, colours[2], inside(height - 2.8 if fur else -height - 2.1, soft))

    return paint
