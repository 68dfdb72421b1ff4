"""Trainers, leather shoes and heels, seen from the side with the toe to the right."""

import numpy as np

from efiss.demo_catalogue.shapes import (
    Line,
    Part,
    Piece,
    Points,
    box,
    curve,
    ellipse,
    join,
    loop,
    ribbon,
)


def casual_shoe(rng, pattern: str) -> list[Piece]:
    """A trainer: low or high, with laces or pulled on, with its own stripes, cap and sole."""
    high = -0.27 * (rng.random() < 0.35)
    slip_on = not high and rng.random() < 0.25
    thick = rng.uniform(0.09, 0.17)
    floor = 0.3
    sole_y = floor - thick
    upper = join(
        curve((-0.64, sole_y + 0.04), (-0.655, -0.06), (-0.60, -0.24 + high)),
        curve((-0.60, -0.24 + high), (-0.40, -0.17 + high), (-0.21, -0.23 + high)),
        curve(
            (-0.21, -0.23 + high),
            (-0.12, -0.2 + high * 0.9),
            (0.08, -0.07),
            (0.3, 0.0),
            (0.52, 0.03),
            (0.66, 0.11),
            (0.69, sole_y + 0.05),
        ),
        (0.66, sole_y + 0.05),
    )
    tongue = loop(
        (-0.25, -0.16 + high), (-0.22, -0.33 + high), (-0.1, -0.31 + high), (0.1, -0.06), (0.0, 0.0)
    )
    inside = loop(
        (-0.6, -0.22 + high), (-0.4, -0.27 + high), (-0.2, -0.23 + high), (-0.4, -0.14 + high)
    )
    pieces: list[Piece] = [
        Part(inside, "lining", shade=0.7, edge=0.03, slope=0.2),
        Part(tongue, "plain", shade=0.85, edge=0.03),
        Part(upper, edge=0.1, slope=0.75, drape=0.06),
    ]
    cap = join((0.4, 0.5), curve((0.4, 0.2), (0.44, 0.08), (0.5, -0.05)), (0.8, -0.05), (0.8, 0.5))
    heel = join(
        (-0.8, -0.6),
        (-0.55, -0.6),
        curve((-0.55, -0.2 + high), (-0.5, 0.02), (-0.42, 0.4)),
        (-0.8, 0.4),
    )
    accents = ["trim", "plain", "trim"]
    if rng.random() < 0.6:
        pieces.append(
            Part(cap, str(rng.choice(["trim", "sole", "plain"])), edge=0.05, within=upper)
        )
    if rng.random() < 0.7:
        pieces.append(Part(heel, str(rng.choice(accents)), shade=0.92, edge=0.05, within=upper))
    if not slip_on:
        pieces += laces(upper, high, rng)
    pieces += side_marks(rng, upper)
    pieces.append(
        Line(curve((-0.60, -0.2 + high), (-0.4, -0.13 + high), (-0.2, -0.19 + high)), width=0.01)
    )
    sole = join(
        curve(
            (-0.67, sole_y),
            (-0.3, sole_y + 0.035),
            (0.1, sole_y + 0.035),
            (0.5, sole_y + 0.01),
            (0.715, sole_y - 0.005),
        ),
        curve((0.735, sole_y + 0.02), (0.70, floor - 0.03), (0.62, floor)),
        curve((0.62, floor), (0.1, floor), (-0.6, floor)),
        curve((-0.6, floor), (-0.68, floor - 0.03), (-0.69, sole_y + 0.03)),
    )
    tread = join((-0.8, floor - 0.03), (0.8, floor - 0.03), (0.8, floor + 0.1), (-0.8, floor + 0.1))
    pieces += [Part(sole, "sole", edge=0.035, slope=0.5)]
    pieces.append(Part(tread, str(rng.choice(["gum", "ink", "trim"])), edge=0.012, within=sole))
    line = curve((-0.7, sole_y + 0.035), (0.1, sole_y + 0.06), (0.72, sole_y + 0.03))
    return [*pieces, Line(line, str(rng.choice(["trim", "plain", "seam"])), 0.012, 0.8)]


def laces(upper: Points, high: float, rng) -> list[Piece]:
    """The lace panel with its holes, and the laces across it."""
    panel = ribbon(
        curve((-0.24, -0.1 + high), (-0.12, -0.08 + high * 0.6), (0.06, 0.02), (0.26, 0.1)),
        0.13,
        0.1,
    )
    pieces: list[Piece] = [
        Part(panel, str(rng.choice(["plain", "trim"])), shade=0.95, edge=0.03, within=upper)
    ]
    count = 7 if high else 5
    path = curve(
        (-0.2, -0.12 + high), (-0.08, -0.08 + high * 0.5), (0.08, 0.0), (0.2, 0.05), steps=20
    )
    for point in path[np.linspace(3, len(path) - 4, count).astype(int)]:
        lace = curve(
            tuple(point + (0.0, 0.045)),
            tuple(point + (0.045, -0.02)),
            tuple(point + (0.075, -0.085)),
        )
        pieces += [
            Part(ellipse(*(point + (0, 0.05)), 0.016), "ink", edge=0.005),
            Part(ribbon(lace, 0.03), "cord", edge=0.012, slope=0.7),
        ]
    return pieces


def side_marks(rng, upper: Points) -> list[Piece]:
    kind = rng.choice(["bars", "wave", "panel", "none"])
    if kind == "bars":
        spots = np.linspace(-0.24, 0.0, int(rng.integers(2, 4)))
        slants = [
            join((x, 0.26), (x + 0.06, 0.26), (x + 0.0, -0.05), (x - 0.05, -0.05)) for x in spots
        ]
        return [Part(slant, "trim", edge=0.012, within=upper) for slant in slants]
    if kind == "wave":
        wave = curve((-0.5, 0.0), (-0.3, 0.14), (-0.05, 0.1), (0.2, 0.0))
        return [Part(ribbon(wave, 0.03, 0.1), "trim", edge=0.012, within=upper)]
    if kind == "panel":
        panel = join((-0.35, 0.3), curve((-0.35, -0.05), (-0.1, 0.1), (0.35, 0.14)), (0.45, 0.3))
        return [Part(panel, "trim", shade=0.95, edge=0.03, within=upper)]
    return []


def formal_shoe(rng, pattern: str) -> list[Piece]:
    """A leather lace-up, a loafer or an ankle boot, on a dark sole with a heel."""
    kind = rng.choice(["laced", "loafer", "boot"])
    high = -0.36 if kind == "boot" else 0.0
    upper = join(
        curve((-0.62, 0.2), (-0.64, 0.02), (-0.58, -0.17 + high)),
        curve((-0.58, -0.17 + high), (-0.38, -0.08 + high * 1.1), (-0.16, -0.12 + high)),
        curve(
            (-0.16, -0.12 + high),
            (-0.06, -0.1 + high * 0.6),
            (0.12, 0.0),
            (0.4, 0.05),
            (0.62, 0.09),
            (0.72, 0.16),
            (0.72, 0.215),
        ),
        curve((0.72, 0.215), (0.2, 0.22), (-0.62, 0.21)),
    )
    sole = join(
        curve((-0.64, 0.2), (0.2, 0.21), (0.74, 0.2)),
        curve((0.73, 0.235), (0.4, 0.25), (-0.18, 0.25)),
        (-0.2, 0.31),
        (-0.63, 0.31),
    )
    inside = loop(
        (-0.57, -0.16 + high), (-0.38, -0.2 + high), (-0.17, -0.12 + high), (-0.38, -0.06 + high)
    )
    pieces: list[Piece] = [
        Part(inside, "lining", shade=0.6, edge=0.03, slope=0.2),
        Part(upper, "leather", edge=0.11, slope=0.85, drape=0.05),
    ]
    if kind == "loafer":
        apron = curve((-0.02, -0.05), (0.25, 0.09), (0.5, 0.12), (0.62, 0.1))
        strap = join((-0.14, 0.2), (-0.1, -0.2), (0.08, -0.1), (0.1, 0.2))
        pieces += [
            Line(apron, width=0.014, opacity=0.9),
            Part(strap, "leather", shade=0.85, edge=0.03, within=upper),
            Part(box(-0.06, 0.0, 0.04, 0.05, 0.01), "metal", edge=0.015),
        ]
    else:
        cap = curve((0.42, 0.22), (0.46, 0.13), (0.47, 0.02))
        facing = join(
            (-0.3, 0.1 + high * 0.5), (-0.24, -0.3 + high), (0.05, -0.2), (0.18, 0.08), (0.0, 0.1)
        )
        heel = curve((-0.36, -0.1 + high), (-0.38, 0.05), (-0.28, 0.22))
        pieces += [
            Part(facing, "leather", shade=0.88, edge=0.03, within=upper),
            Line(cap, width=0.012, opacity=0.9),
            Line(cap + (0.02, 0.0), "stitch", 0.005, 0.5, dashed=True),
            Line(heel, width=0.01, opacity=0.8),
        ]
        path = curve(
            (-0.12, -0.06 + high * 0.9), (-0.02, -0.02 + high * 0.4), (0.1, 0.04), steps=20
        )
        for point in path[np.linspace(4, len(path) - 3, 6 if high else 4).astype(int)]:
            lace = curve(tuple(point + (-0.02, 0.03)), tuple(point + (0.05, -0.05)))
            pieces.append(Part(ribbon(lace, 0.022), "ink", edge=0.01, slope=0.7))
    return [*pieces, Part(sole, str(rng.choice(["ink", "ink", "gum"])), edge=0.02)]


def heel(rng, pattern: str) -> list[Piece]:
    """A pump: thin, block or wedge heel; closed or open toe, plain or with an ankle strap."""
    kind = rng.choice(["thin", "thin", "block", "wedge"])
    rise = rng.uniform(-0.42, -0.3)
    open_toe = rng.random() < 0.3
    arch = curve(
        (-0.56, rise + 0.1),
        (-0.34, rise + 0.18),
        (-0.05, 0.12),
        (0.2, 0.27),
        (0.42, 0.285),
        (0.68, 0.27),
    )
    upper = join(
        curve((-0.58, rise + 0.1), (-0.6, rise - 0.05), (-0.53, rise - 0.18)),
        curve((-0.53, rise - 0.18), (-0.42, rise + 0.02), (-0.1, 0.03), (0.12, 0.14), (0.3, 0.12)),
        curve((0.3, 0.12), (0.5, 0.14), (0.64, 0.2), (0.7, 0.26)),
        arch[::-1],
    )
    sole = ribbon(arch, 0.03)
    heels = {
        "thin": join(
            curve((-0.57, rise + 0.08), (-0.54, 0.0), (-0.52, 0.3)),
            (-0.48, 0.3),
            curve((-0.48, 0.3), (-0.46, 0.0), (-0.3, rise + 0.2)),
        ),
        "block": join((-0.57, rise + 0.08), (-0.56, 0.3), (-0.36, 0.3), (-0.3, rise + 0.2)),
        "wedge": join((-0.57, rise + 0.08), (-0.52, 0.3), (0.5, 0.3), arch[::-1][8:]),
    }
    under = "gum" if kind == "wedge" and rng.random() < 0.6 else "leather"
    pieces: list[Piece] = [Part(heels[str(kind)], under, shade=0.9, edge=0.035, slope=0.8)]
    if open_toe:
        straps = [
            join((0.2, 0.3), (0.26, 0.05), (0.36, 0.05), (0.42, 0.3)),
            join((0.46, 0.3), (0.5, 0.08), (0.58, 0.1), (0.62, 0.3)),
        ]
        back = join((-0.7, rise - 0.3), (-0.3, rise - 0.3), (-0.25, 0.2), (-0.7, 0.2))
        inner = join(arch, arch[::-1] + (0, -0.02))
        pieces += [Part(inner, "lining", edge=0.02)]
        pieces += [
            Part(shape, "leather", edge=0.03, slope=0.7, within=upper) for shape in (back, *straps)
        ]
    else:
        pieces.append(Part(upper, "leather", edge=0.08, slope=0.8))
        mouth = curve(
            (-0.53, rise - 0.17), (-0.42, rise + 0.03), (-0.1, 0.04), (0.12, 0.15), (0.3, 0.13)
        )
        pieces.append(Line(mouth, width=0.012, opacity=0.7))
    if open_toe or rng.random() < 0.35:
        around = curve(
            (-0.55, rise - 0.14),
            (-0.42, rise - 0.24),
            (-0.22, rise - 0.23),
            (-0.18, rise - 0.15),
            (-0.3, rise - 0.08),
            (-0.52, rise - 0.1),
        )
        pieces += [
            Part(ribbon(around, 0.035), "leather", edge=0.014),
            Part(box(-0.24, rise - 0.21, -0.18, rise - 0.13, 0.01), "metal", edge=0.012),
        ]
    elif rng.random() < 0.4:
        bow = join(
            (0.22, 0.12), (0.08, 0.02), (0.1, 0.16), (0.22, 0.13), (0.36, 0.18), (0.36, 0.04)
        )
        pieces.append(Part(bow, "trim", edge=0.02))
    return [*pieces, Part(sole, "ink", shade=1.0, edge=0.012)]
