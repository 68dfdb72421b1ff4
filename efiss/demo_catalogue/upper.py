"""What is worn above the waist: T-shirts, shirts and sweatshirts.

Every function draws one product with its own cut and returns its pieces, the lowest first.
"""

from dataclasses import dataclass

import numpy as np

from efiss.demo_catalogue.chest_print import chest_print
from efiss.demo_catalogue.shapes import (
    Fold,
    Line,
    Part,
    Piece,
    Points,
    both,
    both_lines,
    box,
    buttons,
    curve,
    flip,
    join,
    mirror,
    ribbon,
)

TOP = -0.74


@dataclass(frozen=True)
class Cut:
    """The measures of a body of cloth, in units from its middle line."""

    neck: float = 0.17
    depth: float = 0.13
    neckline: str = "round"
    shoulder: float = 0.42
    chest: float = 0.40
    waist: float = 0.38
    hem: float = 0.40
    bottom: float = 0.72
    tail: float = 0.02


def any_cut(rng, **fixed) -> Cut:
    """A body between slim and loose."""
    chest = rng.uniform(0.36, 0.44)
    measures = dict(
        neck=rng.uniform(0.15, 0.19),
        depth=rng.uniform(0.11, 0.16),
        shoulder=chest + rng.uniform(0.01, 0.05),
        chest=chest,
        waist=chest - rng.uniform(0.0, 0.07),
        hem=chest + rng.uniform(-0.02, 0.04),
        bottom=rng.uniform(0.60, 0.84),
    )
    return Cut(**(measures | fixed))


def neckline(cut: Cut) -> Points:
    """The right half of the front neckline, from its lowest point up to the shoulder."""
    low = TOP + cut.depth
    if cut.neckline == "v":
        return curve((0, low), (cut.neck, TOP))
    if cut.neckline == "square":
        return join((0, low), (cut.neck * 0.9, low - 0.01), (cut.neck, TOP))
    return curve((0, low), (cut.neck * 0.62, low - cut.depth * 0.22), (cut.neck, TOP))


def body(cut: Cut) -> Points:
    """The outline of the body, without sleeves."""
    shoulder = (cut.shoulder, TOP + 0.13)
    armpit = (cut.chest, TOP + 0.46)
    hem = (cut.hem, cut.bottom)
    return mirror(
        join(
            neckline(cut),
            curve((cut.neck, TOP), shoulder),
            curve(shoulder, (cut.shoulder - 0.035, TOP + 0.3), armpit),
            curve(armpit, (cut.waist, (TOP + cut.bottom) / 2 + 0.12), hem),
            curve(hem, (cut.hem * 0.6, cut.bottom + cut.tail * 0.8), (0, cut.bottom + cut.tail)),
        )
    )


def body_folds(rng, cut: Cut, strength: float = 0.2) -> tuple[Fold, ...]:
    """Creases that run in from the armpits and up from the hem."""
    folds = []
    for side in (-1, 1):
        for _ in range(2):
            reach, drop = rng.uniform(0.12, 0.3), rng.uniform(-0.08, 0.25)
            start = (side * (cut.chest - 0.02), TOP + 0.46)
            end = (side * (cut.chest - reach), TOP + 0.5 + drop)
            folds.append(Fold(start, end, 0.03, strength * rng.uniform(0.7, 1.5)))
        x = side * rng.uniform(0.08, 0.3)
        folds.append(
            Fold(
                (x, cut.bottom),
                (x * 0.8, cut.bottom - rng.uniform(0.3, 0.6)),
                0.05,
                strength * rng.choice([-0.8, 0.8]),
            )
        )
    return tuple(folds)


def back_of_neck(cut: Cut, fabric: str = "plain") -> Part:
    """The inner side of the back, seen through the neck."""
    half = join(
        curve((0, TOP + 0.03), (cut.neck * 0.7, TOP + 0.022), (cut.neck, TOP)),
        (cut.neck + 0.02, TOP + 0.05),
        (cut.neck * 0.5, TOP + cut.depth + 0.02),
        (0, TOP + cut.depth + 0.05),
    )
    return Part(mirror(half), fabric, shade=0.62, slope=0.2)


def collar_band(cut: Cut, fabric: str, width: float = 0.035) -> list[Piece]:
    """The knitted band around the neck, back and front."""
    back = curve((-cut.neck, TOP), (0, TOP + 0.03), (cut.neck, TOP))
    front = neckline(cut)
    whole = join(flip(front)[::-1], front[1:])
    return [
        Part(ribbon(back, width), fabric, shade=0.8, edge=0.012),
        Part(ribbon(whole, width), fabric, edge=0.014, slope=0.5),
    ]


def sleeves(rng, cut: Cut, length: float, wrist: float, angle: float, cuff: str = "") -> list:
    """A pair of sleeves; angle is how far (radians) the arm is lifted from hanging down.

    cuff names the fabric of a band at the end: none when empty.
    """
    shoulder, armpit = np.array([cut.shoulder, TOP + 0.13]), np.array([cut.chest, TOP + 0.46])
    along = np.array([np.sin(angle), np.cos(angle)])
    out = np.array([np.cos(angle), -np.sin(angle)])
    end = (shoulder + armpit) / 2 + along * length
    outer, inner = end + out * wrist / 2, end - out * wrist / 2
    bulge = (shoulder + outer) / 2 + out * (0.03 + 0.02 * (length > 0.6))
    bend = (armpit + inner) / 2 - out * 0.01
    # The seam side reaches under the body, which is painted over it.
    under = [tuple(armpit - (0.08, 0)), tuple(shoulder - (0.1, 0))]
    outline = join(curve(shoulder, bulge, outer), curve(inner, bend, armpit), under)
    folds = []
    for at in rng.uniform(0.15, 0.85, 5 if length > 0.6 else 2):
        middle = bend * (1 - at) + end * at
        half = out * wrist * rng.uniform(0.3, 0.5)
        tilt = along * rng.uniform(-0.05, 0.08)
        folds.append(
            Fold(tuple(middle - half), tuple(middle + half + tilt), 0.022, rng.uniform(0.15, 0.35))
        )
    pieces = both(Part(outline, grain=-angle, edge=0.055, drape=0.12, folds=tuple(folds)))
    if cuff:
        band = ribbon(curve(tuple(end - along * 0.035), tuple(end + along * 0.035)), wrist * 1.04)
        pieces += both(Part(band, cuff, grain=-angle, edge=0.02))
    else:
        hem = curve(tuple(outer - along * 0.03), tuple(inner - along * 0.03))
        pieces += both_lines(Line(hem))
    return pieces


def hem_line(cut: Cut, up: float = 0.035) -> Line:
    half = curve(
        (cut.hem - 0.005, cut.bottom - up),
        (cut.hem * 0.6, cut.bottom + cut.tail * 0.8 - up),
        (0, cut.bottom + cut.tail - up),
    )
    return Line(join(half, flip(half)[::-1]), width=0.006)


def tshirt(rng, pattern: str) -> list[Piece]:
    """Round or V neck, or a polo collar; short, cap or long sleeves."""
    polo = rng.random() < 0.25
    bottom = rng.uniform(0.48, 0.7)
    cut = any_cut(rng, bottom=bottom, neckline="v" if not polo and rng.random() < 0.3 else "round")
    long = rng.random() < 0.15
    trim = "trim" if rng.random() < 0.3 else "plain"
    length, angle = (
        (1.0, rng.uniform(0.15, 0.3)) if long else (rng.uniform(0.16, 0.34), rng.uniform(0.6, 0.95))
    )
    pieces = [back_of_neck(cut)]
    pieces += sleeves(rng, cut, length, 0.15 if long else 0.27, angle, trim if polo else "")
    pieces += [Part(body(cut), edge=0.07, drape=0.14, folds=body_folds(rng, cut)), hem_line(cut)]
    if polo:
        pieces += placket(cut, TOP + cut.depth + 0.28, 2, "plain") + shirt_collar(cut, trim)
    else:
        pieces += collar_band(cut, trim)
    if pattern == "Print" and rng.random() < 0.75:
        return pieces + chest_print(rng, -0.22 + 0.3 * cut.depth)
    return pieces


def placket(cut: Cut, bottom: float, count: int, fabric: str = "main") -> list[Piece]:
    """The buttoned strip at the front, from the neck down to `bottom`."""
    top = TOP + cut.depth
    strip = box(-0.032, top - 0.02, 0.032, bottom, 0.005)
    return [
        Part(strip, fabric, edge=0.01, slope=0.35),
        *both_lines(Line(curve((0.024, top), (0.024, bottom)), width=0.004, opacity=0.4)),
        *buttons(0, np.linspace(top + 0.05, bottom - 0.06, count)),
    ]


def shirt_collar(cut: Cut, fabric: str = "main", reach: float = 0.14) -> list[Piece]:
    """A folded collar: the band at the back and two pointed leaves."""
    back = curve((-cut.neck, TOP - 0.005), (0, TOP - 0.02), (cut.neck, TOP - 0.005))
    low = TOP + cut.depth
    leaf = join(
        curve((cut.neck * 0.6, TOP - 0.02), (cut.neck + 0.03, TOP - 0.005)),
        curve((cut.neck + 0.045, TOP + 0.04), (cut.neck * 0.95, low + reach * 0.2)),
        (cut.neck * 0.72, low + reach * 0.5),
        curve((0.012, low), (cut.neck * 0.45, TOP + cut.depth * 0.5)),
    )
    return [
        Part(ribbon(back, 0.05), fabric, shade=0.85, edge=0.02),
        *both(Part(leaf, fabric, grain=0.5, edge=0.022, slope=0.5)),
    ]


def chest_pocket(x: float, y: float, w: float = 0.075, flap: bool = False) -> list[Piece]:
    shape = join((x - w, y), (x + w, y), (x + w, y + 1.7 * w), (x, y + 2 * w), (x - w, y + 1.7 * w))
    pieces: list[Piece] = [Part(shape, edge=0.012, slope=0.3), Line(shape, width=0.005)]
    if not flap:
        return pieces
    lid = join(
        (x - w * 1.08, y - 0.02),
        (x + w * 1.08, y - 0.02),
        (x + w * 1.08, y + w * 0.6),
        (x, y + w * 0.95),
        (x - w * 1.08, y + w * 0.6),
    )
    return [*pieces, Part(lid, edge=0.014, slope=0.4), *buttons(x, [y + w * 0.6], 0.011)]


def shirt(rng, pattern: str) -> list[Piece]:
    """Buttoned through, with a collar; long or short sleeves, straight or curved hem."""
    cut = any_cut(rng, depth=rng.uniform(0.1, 0.15), tail=rng.choice([0.02, 0.09]), neckline="v")
    long = rng.random() < 0.65
    collar = "trim" if rng.random() < 0.15 else "main"
    pieces: list[Piece] = [back_of_neck(cut)]
    if long:
        pieces += sleeves(rng, cut, rng.uniform(0.95, 1.08), 0.15, rng.uniform(0.12, 0.3), "main")
    else:
        pieces += sleeves(rng, cut, rng.uniform(0.28, 0.38), 0.27, rng.uniform(0.5, 0.8))
    pieces += [Part(body(cut), edge=0.07, drape=0.14, folds=body_folds(rng, cut)), hem_line(cut)]
    yoke = curve((cut.neck + 0.02, TOP + 0.1), (cut.shoulder - 0.02, TOP + 0.21))
    pieces += both_lines(Line(yoke, width=0.005))
    pieces += placket(cut, cut.bottom + cut.tail - 0.005, int(rng.integers(6, 8)))
    if rng.random() < 0.6:
        flap = rng.random() < 0.4
        pieces += chest_pocket(0.2, TOP + 0.42, flap=flap)
        pieces += chest_pocket(-0.2, TOP + 0.42, flap=flap) if rng.random() < 0.4 else []
    return pieces + shirt_collar(cut, collar)


def sweatshirt(rng, pattern: str) -> list[Piece]:
    """A thick pullover with ribbed ends, with a round neck or with a hood."""
    hood = rng.random() < 0.5
    chest = rng.uniform(0.41, 0.46)
    cut = any_cut(
        rng,
        chest=chest,
        waist=chest,
        hem=chest - 0.03,
        shoulder=chest + 0.03,
        bottom=rng.uniform(0.52, 0.64),
        depth=0.12,
        neckline="v" if hood else "round",
    )
    rib = "rib trim" if rng.random() < 0.25 else "rib"
    arms = sleeves(rng, cut, rng.uniform(0.92, 1.0), 0.16, rng.uniform(0.14, 0.3), rib)
    band = box(-cut.hem + 0.01, cut.bottom - 0.02, cut.hem - 0.01, cut.bottom + 0.09, 0.02)
    pieces = [
        back_of_neck(cut),
        *arms,
        Part(band, rib, edge=0.03),
        Part(body(cut), edge=0.09, drape=0.2, folds=body_folds(rng, cut, 0.3)),
    ]
    if hood:
        pieces += hood_pieces(cut, rng)
    else:
        pieces += collar_band(cut, rib, 0.055)
    if pattern == "Print" and rng.random() < 0.8:
        return pieces + chest_print(rng, -0.2)
    return pieces


def hood_pieces(cut: Cut, rng) -> list[Piece]:
    low = TOP + cut.depth
    n = cut.neck
    outer = mirror(
        curve(
            (0, TOP - 0.17),
            (n * 0.75, TOP - 0.15),
            (n + 0.09, TOP + 0.03),
            (n * 0.8, low + 0.01),
            (0, low + 0.1),
        )
    )
    inner = mirror(
        curve((0, TOP - 0.1), (n * 0.6, TOP - 0.07), (n * 0.72, TOP + 0.04), (0, low + 0.05))
    )
    pouch = mirror(
        join(
            (0, 0.14), (0.17, 0.14), (0.27, 0.38), (0.27, cut.bottom - 0.02), (0, cut.bottom - 0.02)
        )
    )
    cord = curve((0.07, low + 0.03), (0.085, low + 0.16), (0.07, low + rng.uniform(0.25, 0.36)))
    pieces: list[Piece] = [
        Part(outer, "plain", edge=0.06, slope=0.8, drape=0.1),
        Part(inner, "plain", shade=0.5, edge=0.05, slope=0.3),
        Part(pouch, "main", edge=0.02, slope=0.4),
        Line(pouch, width=0.006),
    ]
    return pieces + both_lines(Line(cord, "cord", 0.016, 1.0))
