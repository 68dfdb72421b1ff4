"""Sleeveless tops: tanks, camisoles and camisoles with a flounce."""

import numpy as np

from efiss.demo_catalogue.shapes import (
    Fold,
    Line,
    Part,
    Piece,
    Points,
    both,
    curve,
    flip,
    join,
    mirror,
    ribbon,
)
from efiss.demo_catalogue.upper import TOP, Cut, body_folds


def top(rng, pattern: str) -> list[Piece]:
    """Sleeveless: a tank, a camisole with thin straps, or one with a flounce."""
    kind = str(rng.choice(["tank", "camisole", "flounce"]))
    return tank(rng) if kind == "tank" else camisole(rng, flounce=kind == "flounce")


def top_hem(wide: float, hem: float, bottom: float, armpit: float) -> Points:
    """The right side from the armpit to the hem, and the hem to the middle."""
    return join(
        curve((wide, armpit), (wide - 0.03, 0.08), (hem, bottom)),
        curve((hem, bottom), (hem * 0.5, bottom + 0.03), (0, bottom + 0.035)),
    )


def tank(rng) -> list[Piece]:
    """Wide straps that are one with the body, a deep round neck, bound edges."""
    wide, bottom = rng.uniform(0.32, 0.36), rng.uniform(0.4, 0.6)
    inner = rng.uniform(0.15, 0.2)
    outer = inner + rng.uniform(0.06, 0.1)
    low = rng.uniform(-0.5, -0.38)
    neck = curve((0, low), (inner * 0.75, low - 0.07), (inner, TOP))
    hole = curve((outer, TOP + 0.01), (outer - 0.01, TOP + 0.28), (wide, TOP + 0.48))
    half = join(neck, hole, top_hem(wide, wide + rng.uniform(-0.02, 0.06), bottom, TOP + 0.48))
    folds = body_folds(rng, Cut(chest=wide, bottom=bottom))
    back = join(
        (0, TOP + 0.16),
        curve((0, TOP + 0.16), (inner * 0.7, TOP + 0.12), (inner, TOP)),
        (outer, TOP),
        (outer - 0.02, low),
        (0, low + 0.03),
    )
    trim = str(rng.choice(["plain", "trim"]))
    round_neck = join(flip(neck)[::-1], neck[1:])
    return [
        Part(mirror(back), "plain", shade=0.62, slope=0.2),
        Part(mirror(half), edge=0.07, drape=0.14, folds=folds),
        Part(ribbon(round_neck, 0.025), trim, edge=0.01),
        *both(Part(ribbon(hole, 0.025), trim, edge=0.01)),
        Line(curve((-wide, bottom - 0.03), (0, bottom), (wide, bottom - 0.03)), width=0.006),
    ]


def camisole(rng, flounce: bool) -> list[Piece]:
    """Thin straps, a low edge; one kind has a flounce over the bust."""
    wide = rng.uniform(0.31, 0.35)
    bottom = rng.uniform(0.38, 0.58)
    bust, x = -0.3, rng.uniform(0.17, 0.21)
    sweet = rng.uniform(0.0, 0.06)  # how deep the edge dips in the middle
    edge = curve((0, bust + sweet), (x * 0.6, bust - 0.02), (x, bust - 0.1))
    side = curve((x, bust - 0.1), (wide - 0.05, bust - 0.02), (wide, bust + 0.1))
    half = join(edge, side, top_hem(wide, wide + rng.uniform(-0.02, 0.12), bottom, bust + 0.1))
    strap = curve((x, bust - 0.08), (x - 0.015, -0.5), (x - 0.07, -0.64))
    behind = curve((x - 0.07, -0.64), (x - 0.04, -0.5), (x - 0.05, bust + 0.02))
    back = join((0, bust - 0.06), (x, bust - 0.07), (wide - 0.02, bust + 0.08), (0, bust + 0.12))
    folds = tuple(
        Fold((at * wide, bottom), (at * wide * 0.8, bust + 0.25), 0.045, rng.uniform(0.15, 0.4))
        for at in np.linspace(-0.8, 0.8, 5) + rng.uniform(-0.08, 0.08, 5)
    )
    width = rng.uniform(0.02, 0.04)
    pieces: list[Piece] = [
        *both(Part(ribbon(behind, width), "plain", shade=0.65, edge=0.012)),
        Part(mirror(back), "plain", shade=0.62),
        Part(mirror(half), edge=0.07, drape=0.12, folds=folds),
        *both(Part(ribbon(strap, width), "plain", edge=0.012)),
    ]
    if not flounce:
        return [*pieces, Line(join(flip(edge)[::-1], edge) + (0, 0.025), width=0.006)]
    frill = mirror(
        join(
            edge,
            side,
            curve((wide, bust + 0.1), (wide + 0.05, -0.02)),
            curve((wide + 0.05, -0.02), (0.2, 0.04), (0, 0.02)),
        )
    )
    ripples = tuple(
        Fold((at, 0.05), (at * 0.8, bust), 0.03, 0.4) for at in np.linspace(-0.33, 0.33, 7)
    )
    return [*pieces, Part(frill, edge=0.03, drape=0.1, folds=ripples)]
