"""What is seen from above or laid flat: flip-flops, sandals and socks, always a pair."""

import numpy as np

from efiss.demo_catalogue.shapes import (
    Fold,
    Part,
    Piece,
    box,
    curve,
    ellipse,
    flip,
    join,
    loop,
    ribbon,
    turn,
)

FOOT = loop(
    (0.0, 0.86),
    (-0.15, 0.78),
    (-0.17, 0.45),
    (-0.16, 0.1),
    (-0.23, -0.3),
    (-0.19, -0.68),
    (-0.02, -0.86),
    (0.15, -0.72),
    (0.22, -0.35),
    (0.18, 0.1),
    (0.17, 0.5),
    (0.14, 0.78),
)


def pair(one: list[Piece], spread: float, tilt: float) -> list[Piece]:
    """A piece list as a left and a right one, side by side."""
    pieces: list[Piece] = []
    for side in (-1, 1):
        for piece in one:
            fields = dict(vars(piece))
            for key in ("outline", "points", "within"):
                if fields.get(key) is not None:
                    shape = fields[key] if side == 1 else flip(fields[key])
                    fields[key] = turn(shape, side * tilt) + (side * spread, 0)
            fields.pop("folds", None)
            pieces.append(type(piece)(**fields))
    return pieces


def flip_flop(rng, pattern: str) -> list[Piece]:
    """A pair from above: a foot-shaped sole and a V of two straps."""
    knot = np.array([-0.03, -0.48])
    outer = curve(tuple(knot), (0.12, -0.28), (0.19, 0.08))
    inner = curve(tuple(knot), (-0.14, -0.28), (-0.165, 0.08))
    wide = rng.uniform(0.05, 0.09)
    strap = str(rng.choice(["trim", "plain", "leather"]))
    one: list[Piece] = [
        Part(FOOT * 1.03 + (0.012, 0.02), "sole", shade=0.7, edge=0.02),
        Part(FOOT, edge=0.04, slope=0.35),
        Part(ribbon(outer, 0.04, wide), strap, edge=0.03, slope=0.8),
        Part(ribbon(inner, 0.04, wide), strap, edge=0.03, slope=0.8),
        Part(ellipse(*knot, 0.035), strap, edge=0.02, slope=0.8),
    ]
    return pair(one, rng.uniform(0.25, 0.29), rng.uniform(-0.06, 0.1))


def sandal(rng, pattern: str) -> list[Piece]:
    """A pair from above, with two or three bands, a heel strap and buckles."""
    bands = int(rng.integers(2, 4))
    crossed = rng.random() < 0.4
    one: list[Piece] = [
        Part(FOOT * 1.04 + (0.01, 0.015), "ink", edge=0.02),
        Part(FOOT, "gum", edge=0.04, slope=0.3, drape=0.05),
    ]
    for k, y in enumerate(np.linspace(-0.42, 0.12, bands)):
        slant = (0.16 if k % 2 else -0.16) if crossed else -0.03
        band = curve((-0.24, y + slant), (0, y - 0.06), (0.24, y - slant))
        wide = rng.uniform(0.11, 0.17)
        one.append(Part(ribbon(band, wide), "leather", edge=0.045, slope=0.8))
        one.append(
            Part(box(0.13, y - slant - 0.06, 0.2, y - slant + 0.05, 0.015), "metal", edge=0.014)
        )
    if rng.random() < 0.6:
        back = curve((-0.18, 0.2), (-0.19, 0.6), (0, 0.84), (0.19, 0.6), (0.19, 0.2))
        one.append(Part(ribbon(back, 0.07), "leather", edge=0.03, slope=0.8))
    return pair(one, rng.uniform(0.26, 0.3), rng.uniform(-0.05, 0.1))


def socks(rng, pattern: str) -> list[Piece]:
    """A pair, one half over the other; ankle, crew or knee length."""
    length = float(rng.choice([0.25, 0.6, 0.95]))
    top = 0.25 - length
    outline = join(
        curve((-0.16, top), (0.16, top)),
        curve((0.16, top), (0.14, 0.05), (0.17, 0.28), (0.36, 0.44), (0.56, 0.56)),
        curve((0.56, 0.56), (0.64, 0.66), (0.58, 0.77), (0.42, 0.76)),
        curve(
            (0.42, 0.76),
            (0.1, 0.66),
            (-0.12, 0.6),
            (-0.21, 0.46),
            (-0.17, 0.25),
            (-0.15, 0.0),
            (-0.16, top),
        ),
    )
    toe = ellipse(0.58, 0.7, 0.17)
    heel_patch = ellipse(-0.2, 0.56, 0.18)
    welt = box(-0.3, top - 0.05, 0.3, top + 0.13, 0)
    ends = str(rng.choice(["trim", "plain", "main"]))
    folds = (
        Fold((-0.1, 0.42), (0.2, 0.26), 0.04, -0.3),
        Fold((-0.14, 0.3), (0.16, 0.2), 0.03, 0.25),
    )
    one: list[Piece] = [Part(outline, edge=0.06, slope=0.6, drape=0.1, folds=folds)]
    if ends != "main":
        one += [
            Part(shape, ends, edge=0.03, slope=0.3, within=outline) for shape in (toe, heel_patch)
        ]
    one.append(Part(welt, "rib trim" if ends == "trim" else "rib", edge=0.03, within=outline))
    shift = np.array([rng.uniform(0.2, 0.34), rng.uniform(-0.1, 0.05)])
    behind: list[Piece] = []
    for part in one:
        within = None if part.within is None else part.within + shift
        behind.append(
            Part(
                part.outline + shift,
                part.fabric,
                part.grain,
                0.93,
                part.edge,
                part.slope,
                part.drape,
                (),
                within,
            )
        )
    return behind + one
