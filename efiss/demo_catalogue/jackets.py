"""Jackets: bombers, blazers, padded jackets and the cut of a denim jacket."""

import numpy as np

from efiss.demo_catalogue.shapes import (
    Line,
    Part,
    Piece,
    both,
    both_lines,
    box,
    buttons,
    curve,
    join,
    mirror,
    ribbon,
    turn,
)
from efiss.demo_catalogue.upper import (
    TOP,
    Cut,
    any_cut,
    back_of_neck,
    body,
    body_folds,
    chest_pocket,
    placket,
    shirt_collar,
    sleeves,
)


def jacket(rng, pattern: str) -> list[Piece]:
    """A bomber, a blazer, a padded jacket or one in the style of a denim jacket."""
    kind = rng.choice(["bomber", "blazer", "padded", "trucker"])
    return {"bomber": bomber, "blazer": blazer, "padded": padded, "trucker": trucker}[str(kind)](
        rng
    )


def jacket_cut(rng, **fixed) -> Cut:
    chest = rng.uniform(0.41, 0.45)
    return any_cut(
        rng,
        **(
            dict(
                chest=chest,
                shoulder=chest + 0.03,
                waist=chest - 0.02,
                depth=0.1,
                hem=chest,
                bottom=rng.uniform(0.5, 0.64),
                neckline="v",
            )
            | fixed
        ),
    )


def zipper(top_y: float, bottom: float) -> list[Piece]:
    return [
        Part(box(-0.022, top_y, 0.022, bottom, 0.004), "plain", shade=0.75, edge=0.01),
        Line(curve((0, top_y), (0, bottom)), "metal", 0.016, 1.0),
        Line(curve((0, top_y), (0, bottom)), "ink", 0.016, 0.6, dashed=True),
        Part(box(-0.013, top_y + 0.01, 0.013, top_y + 0.08, 0.01), "metal", edge=0.01),
    ]


def slanted_pockets(x: float, y: float) -> list[Piece]:
    return both(
        Part(ribbon(curve((x, y), (x + 0.07, y + 0.2)), 0.03), "plain", shade=0.85, edge=0.012)
    )


def bomber(rng) -> list[Piece]:
    cut = jacket_cut(rng)
    rib = str(rng.choice(["rib", "rib trim"]))
    arms = sleeves(rng, cut, 0.95, 0.17, rng.uniform(0.14, 0.3), rib)
    stand = ribbon(
        curve((-cut.neck - 0.01, TOP), (0, TOP + cut.depth + 0.01), (cut.neck + 0.01, TOP)), 0.07
    )
    return [
        back_of_neck(cut),
        *arms,
        Part(
            box(-cut.hem + 0.02, cut.bottom - 0.03, cut.hem - 0.02, cut.bottom + 0.09),
            rib,
            edge=0.03,
        ),
        Part(body(cut), edge=0.09, slope=0.7, drape=0.24, folds=body_folds(rng, cut, 0.35)),
        *slanted_pockets(0.2, 0.12),
        *zipper(TOP + cut.depth, cut.bottom + 0.08),
        Part(
            ribbon(curve((-cut.neck, TOP), (0, TOP - 0.01), (cut.neck, TOP)), 0.06),
            rib,
            shade=0.75,
            edge=0.02,
        ),
        Part(stand, rib, edge=0.02),
    ]


def blazer(rng) -> list[Piece]:
    cut = jacket_cut(rng, bottom=rng.uniform(0.66, 0.8), depth=0.1, tail=0.0, waist=0.37)
    deep = rng.uniform(-0.2, 0.05)
    opening = mirror(join((0, TOP + 0.03), (cut.neck, TOP), (0.02, deep), (0, deep + 0.02)))
    lapel = join(
        (cut.neck + 0.01, TOP - 0.02),
        (cut.neck + 0.1, TOP + 0.16),
        (cut.neck + 0.06, TOP + 0.19),
        (cut.neck + 0.12, TOP + 0.24),
        (0.0, deep + 0.01),
        (cut.neck * 0.55, TOP + 0.15),
    )
    flap = turn(box(0.16, 0.3, 0.33, 0.36, 0.01), 0.04, (0.2, 0.3))
    vent = curve((0.0, deep), (0.015, 0.3), (-0.03, cut.bottom))
    pieces: list[Piece] = [
        *sleeves(rng, cut, rng.uniform(1.0, 1.08), 0.15, rng.uniform(0.1, 0.22)),
        Part(body(cut), edge=0.08, drape=0.08, folds=body_folds(rng, cut, 0.15)),
        Part(opening, "lining", shade=0.8, edge=0.03, slope=0.2),
        Line(vent, width=0.01, opacity=0.8),
        *both(Part(lapel, "plain" if rng.random() < 0.3 else "main", grain=0.3, edge=0.02)),
        *both_lines(
            Line(join((cut.neck + 0.06, TOP + 0.19), (cut.neck * 0.62, TOP + 0.13)), opacity=0.8)
        ),
        *both(Part(flap, edge=0.012)),
        Part(turn(box(0.15, -0.22, 0.27, -0.19, 0.004), -0.06), edge=0.01),
        Part(
            ribbon(curve((-cut.neck, TOP), (0, TOP - 0.02), (cut.neck, TOP)), 0.05),
            shade=0.8,
            edge=0.02,
        ),
    ]
    return pieces + buttons(0.0, deep + 0.05 + 0.15 * np.arange(rng.integers(1, 4)), 0.02)


def padded(rng) -> list[Piece]:
    cut = jacket_cut(rng, bottom=rng.uniform(0.5, 0.7))
    wall = body(cut)
    count = int(rng.integers(6, 10))
    arms = sleeves(rng, cut, 0.97, 0.18, rng.uniform(0.14, 0.28), "plain")
    pieces: list[Piece] = [*arms]
    for part in [p for p in arms if isinstance(p, Part) and p.grain][:2]:
        side = np.sign(part.outline[0, 0])
        for at in np.linspace(0.15, 0.9, count - 1):
            y = TOP + 0.35 + at * 0.9
            roll = ribbon(curve((side * 0.3, y - 0.06), (side * 0.85, y)), 0.9 / (count - 1))
            pieces.append(Part(roll, edge=0.03, slope=0.6, within=part.outline))
    pieces.append(Part(wall, edge=0.08))
    step = (cut.bottom - TOP) / count
    for k in range(count):
        roll = box(-0.6, TOP + k * step, 0.6, TOP + (k + 1) * step, 0.0)
        pieces.append(Part(roll, edge=0.045, slope=0.75, drape=0.25, within=wall))
    stand = box(-cut.neck - 0.02, TOP - 0.1, cut.neck + 0.02, TOP + 0.07, 0.05)
    return [
        *pieces,
        Part(stand, "plain", edge=0.05, slope=0.8),
        *zipper(TOP - 0.08, cut.bottom + 0.02),
        *slanted_pockets(0.2, 0.1),
    ]


def trucker(rng) -> list[Piece]:
    cut = jacket_cut(rng, bottom=rng.uniform(0.42, 0.55), hem=0.4)
    stitches = [
        Line(curve((0.1, TOP + 0.42), (0.07, cut.bottom)), "stitch", 0.006, 0.9, dashed=True),
        Line(curve((0.3, TOP + 0.42), (0.2, cut.bottom)), "stitch", 0.006, 0.9, dashed=True),
        Line(curve((0.03, TOP + 0.34), (cut.chest, TOP + 0.34)), "stitch", 0.006, 0.9, dashed=True),
    ]
    return [
        back_of_neck(cut, "lining"),
        *sleeves(rng, cut, 0.97, 0.16, rng.uniform(0.14, 0.3), "main"),
        Part(body(cut), edge=0.07, drape=0.2, folds=body_folds(rng, cut, 0.25)),
        Part(box(-cut.hem + 0.01, cut.bottom - 0.02, cut.hem - 0.01, cut.bottom + 0.06), edge=0.02),
        *(line for stitch in stitches for line in both_lines(stitch)),
        *chest_pocket(0.2, TOP + 0.38, 0.09, flap=True),
        *chest_pocket(-0.2, TOP + 0.38, 0.09, flap=True),
        *placket(cut, cut.bottom + 0.05, 6),
        *shirt_collar(cut, "main", 0.18),
    ]
