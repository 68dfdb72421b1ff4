"""What completes an outfit: watches, sunglasses, belts, ties and scarves."""

import numpy as np

from efiss.demo_catalogue.shapes import (
    Fold,
    Line,
    Part,
    Piece,
    both,
    both_lines,
    box,
    curve,
    ellipse,
    join,
    loop,
    mirror,
    ribbon,
    turn,
)


def watch(rng, pattern: str) -> list[Piece]:
    """A round or square watch, upright, on a leather or a metal band."""
    r = rng.uniform(0.34, 0.42)
    square = rng.random() < 0.25
    steel = rng.random() < 0.35
    end = r * rng.uniform(0.46, 0.54)
    half = join(
        (0, -0.98),
        curve((end * 0.9, -0.98), (end, -0.6), (r * 0.66, -r * 0.8)),
        (r * 0.66, r * 0.8),
        curve((r * 0.66, r * 0.8), (end, 0.6), (end * 0.8, 0.95)),
        (0, 1.0),
    )
    strap = mirror(half)
    pieces: list[Piece] = [
        Part(strap, "metal" if steel else "leather", edge=0.06, slope=0.8, drape=0.04)
    ]
    for y in [*np.arange(-0.96, -r, 0.075), *np.arange(r + 0.02, 0.98, 0.075)]:
        if steel:
            pieces.append(Line(curve((-0.3, y), (0.3, y)), "ink", 0.014, 0.55))
        elif y > 0.5:
            pieces.append(Part(ellipse(0, y, 0.016), "ink", edge=0.006))
    if not steel:
        pieces += both_lines(
            Line(
                curve((end - 0.03, -0.92), (r * 0.56, -r * 0.9)), "stitch", 0.007, 0.7, dashed=True
            )
        )
        pieces.append(Part(box(-end - 0.04, -0.99, end + 0.04, -0.9, 0.02), "metal", edge=0.02))

    def face(size: float):
        return box(-size, -size, size, size, size * 0.25) if square else ellipse(0, 0, size)

    dial = "plain" if steel else str(rng.choice(["trim", "accent", "ink"]))
    pieces += [
        Part(box(r * 0.95, -0.05, r * 1.16, 0.05, 0.02), "metal", edge=0.03),
        Part(face(r), "metal", edge=0.05, slope=1.0),
        Part(face(r * 0.86), dial, edge=0.03, slope=-0.3),
    ]
    for k in range(12):
        tick = turn(
            box(-0.01, -r * 0.78, 0.01, -r * (0.6 if k % 3 == 0 else 0.68), 0.0), k * np.pi / 6
        )
        pieces.append(Part(tick, "mark", edge=0.006, slope=0.2))
    if rng.random() < 0.3:
        for angle in (0.0, 2.1, 4.2):
            x, y = 0.4 * r * np.sin(angle), 0.4 * r * np.cos(angle)
            pieces.append(Part(ellipse(x, y, r * 0.2), "mark", edge=0.01, slope=0.2))
            pieces.append(Part(ellipse(x, y, r * 0.17), dial, shade=0.85, edge=0.01, slope=0.1))
    for length, width in ((0.45, 0.022), (0.66, 0.014)):
        hand = box(-width, -r * length, width, r * 0.12, width)
        pieces.append(Part(turn(hand, rng.uniform(0, 6.28)), "mark", edge=0.01))
    return [*pieces, Part(ellipse(0, 0, 0.025), "metal", edge=0.01)]


def sunglasses(rng, pattern: str) -> list[Piece]:
    """From the front: squarish, round, drop-shaped or cat-eyed lenses."""
    kind = rng.choice(["square", "round", "drop", "cat"])
    outlines = {
        "square": loop(
            (0.1, -0.17),
            (0.36, -0.2),
            (0.62, -0.17),
            (0.62, 0.02),
            (0.55, 0.19),
            (0.36, 0.22),
            (0.17, 0.19),
            (0.11, 0.02),
        ),
        "round": ellipse(0.34, 0.0, 0.23),
        "drop": loop(
            (0.09, -0.14),
            (0.36, -0.2),
            (0.61, -0.14),
            (0.62, 0.05),
            (0.5, 0.26),
            (0.36, 0.3),
            (0.2, 0.21),
            (0.1, 0.03),
        ),
        "cat": loop(
            (0.1, -0.1),
            (0.36, -0.17),
            (0.66, -0.27),
            (0.64, -0.04),
            (0.54, 0.15),
            (0.34, 0.21),
            (0.17, 0.14),
            (0.1, 0.02),
        ),
    }
    lens = outlines[str(kind)]
    wire = kind in ("drop", "round") and rng.random() < 0.7
    middle = lens.mean(0)
    inner = (lens - middle) * (0.95 if wire else 0.83) + middle
    hinge = lens[np.argmax(lens[:, 0] - 0.6 * lens[:, 1])]
    arm = curve(
        tuple(hinge - (0.05, 0)),
        tuple(hinge + (0.05, -0.005)),
        tuple(hinge + (0.085, 0.04)),
        tuple(hinge + (0.08, 0.12)),
        tuple(hinge + (0.06, 0.2)),
    )
    shine = turn(box(0.24, -0.4, 0.3, 0.4, 0), 0.5, tuple(middle))
    bridge = curve((-0.13, -0.07), (0, -0.11), (0.13, -0.07))
    pieces: list[Piece] = [
        *both(Part(ribbon(arm, 0.025 if wire else 0.045), "main", shade=0.8, edge=0.018)),
        Part(ribbon(bridge, 0.03 if wire else 0.06), "main", edge=0.02, slope=0.9),
        *both(Part(lens, "main", edge=0.025, slope=0.95)),
        *both(Part(inner, "glass", edge=0.1, slope=0.25)),
        *both(Part(shine, "gleam", edge=0.02, slope=0.0, within=inner)),
    ]
    if wire:
        return [
            *pieces,
            Part(
                ribbon(curve((-0.14, -0.14), (0, -0.16), (0.14, -0.14)), 0.025), "main", edge=0.01
            ),
        ]
    studs = both(Part(ellipse(*(hinge - (0.035, -0.01)), 0.014), "metal", edge=0.01))
    return [*pieces, *studs]


def belt(rng, pattern: str) -> list[Piece]:
    """Folded in two and hung up, or laid in a wide arc."""
    wide = rng.uniform(0.11, 0.16)
    if rng.random() < 0.5:
        gap = rng.uniform(0.13, 0.2)
        path = curve(
            (-gap - 0.02, -0.72),
            (-gap, 0.0),
            (-gap, 0.55),
            (-gap * 0.7, 0.74),
            (0, 0.81),
            (gap * 0.7, 0.74),
            (gap, 0.55),
            (gap, 0.0),
            (gap + 0.03, -0.85),
            steps=14,
        )
    else:
        path = curve(
            (-0.62, -0.22),
            (-0.5, 0.2),
            (0, 0.38),
            (0.5, 0.2),
            (0.66, -0.25),
            (0.4, -0.55),
            (0, -0.5),
            (-0.3, -0.42),
            steps=14,
        )
    seam = ribbon(path, wide - 0.04)
    spots = path[-16:-3:4]
    loop_at = path[8]
    return [
        Part(ribbon(path, wide), "leather", edge=0.022, slope=0.55, drape=0.03),
        Line(seam[: len(path)], "stitch", 0.006, 0.7, dashed=True),
        Line(seam[len(path) :], "stitch", 0.006, 0.7, dashed=True),
        *(Part(ellipse(x, y, 0.016), "ink", edge=0.006) for x, y in spots),
        Part(
            turn(
                box(
                    loop_at[0] - wide * 0.56,
                    loop_at[1] - 0.03,
                    loop_at[0] + wide * 0.56,
                    loop_at[1] + 0.03,
                ),
                -0.1,
                tuple(loop_at),
            ),
            "leather",
            shade=0.9,
            edge=0.014,
            slope=0.8,
        ),
        *buckle(tuple(path[0]), rng, wide),
    ]


def buckle(at: tuple[float, float], rng, wide: float) -> list[Piece]:
    """A metal frame with its tongue, above the end of an upright strap."""
    x, y = at
    half = wide * 0.78
    frame = box(x - half, y - 0.13, x + half, y + 0.06, float(rng.choice([0.01, 0.04, 0.09])))
    middle = frame.mean(0)
    return [
        Part(frame, "metal", edge=0.025, slope=1.0),
        Part((frame - middle) * (0.7, 0.62) + middle, "leather", shade=0.7, edge=0.02),
        Part(box(x - 0.014, y - 0.14, x + 0.014, y + 0.04, 0.01), "metal", edge=0.012, slope=0.9),
    ]


def tie(rng, pattern: str) -> list[Piece]:
    """A tied long tie, or a bow tie."""
    if rng.random() < 0.2:
        wing = join(
            curve((0.05, -0.05), (0.3, -0.2), (0.6, -0.24)),
            curve((0.6, -0.24), (0.64, 0), (0.6, 0.24)),
            curve((0.6, 0.24), (0.3, 0.2), (0.05, 0.05)),
        )
        folds = (
            Fold((0.08, 0.0), (0.4, -0.06), 0.04, -0.5),
            Fold((0.08, 0.02), (0.42, 0.1), 0.04, -0.4),
        )
        return [
            *both(Part(wing, edge=0.06, slope=0.7, folds=folds)),
            Part(box(-0.09, -0.1, 0.09, 0.1, 0.04), edge=0.05, slope=0.8),
        ]
    w = rng.uniform(0.11, 0.18)
    blade = mirror(
        join((0, -0.74), (0.06, -0.74), curve((0.06, -0.74), (w * 0.75, 0.0), (w, 0.75)), (0, 0.97))
    )
    knot = mirror(join((0, -0.96), (0.115, -0.95), (0.065, -0.72), (0, -0.71)))
    collar = curve((-0.12, -0.95), (-0.2, -0.985), (0, -1.0), (0.2, -0.985), (0.12, -0.95))
    narrow = mirror(join((0, -0.7), (0.05, -0.7), (w * 0.62, 0.6), (0, 0.74)))
    folds = (Fold((0, -0.7), (rng.uniform(-0.03, 0.03), -0.3), 0.03, -0.5),)
    return [
        Part(ribbon(collar, 0.05), "main", shade=0.7, edge=0.02),
        Part(narrow + (rng.uniform(-0.06, 0.06), 0), "main", shade=0.75, grain=0.7),
        Part(blade, grain=0.7, edge=0.05, slope=0.6, folds=folds),
        Part(knot, grain=-0.7, edge=0.04, slope=0.8),
    ]


def scarf(rng, pattern: str) -> list[Piece]:
    """Hung in a loop, both ends with fringes."""
    w = rng.uniform(0.17, 0.23)
    neck = curve(
        (-0.12, -0.35), (-0.26, -0.62), (-0.14, -0.85), (0.14, -0.85), (0.26, -0.62), (0.12, -0.35)
    )
    pieces: list[Piece] = [Part(ribbon(neck, 0.2), edge=0.07, slope=0.8, drape=0.2, grain=0.3)]
    for x, low, tilt in (
        (-0.14, rng.uniform(0.55, 0.7), 0.08),
        (0.1, rng.uniform(0.7, 0.85), -0.06),
    ):
        end = turn(box(x - w, -0.45, x + w, low, 0.02), tilt, (x, -0.4))
        strands = np.linspace(x - w + 0.015, x + w - 0.015, 12)
        pieces += [
            Line(
                turn(
                    curve((s, low - 0.01), (s + rng.uniform(-0.02, 0.02), low + 0.13)),
                    tilt,
                    (x, -0.4),
                ),
                "plain",
                0.02,
                1.0,
            )
            for s in strands
        ]
        folds = tuple(
            Fold((x + k * w, -0.4), (x + k * w * 1.3, low), 0.04, 0.45) for k in (-0.55, 0.05, 0.6)
        )
        pieces.append(Part(end, grain=tilt, edge=0.05, drape=0.15, folds=folds))
    knot = loop(
        (-0.24, -0.42), (-0.02, -0.52), (0.22, -0.44), (0.2, -0.22), (0.0, -0.16), (-0.22, -0.24)
    )
    return [*pieces, Part(knot, grain=1.1, edge=0.09, slope=0.8, drape=0.25)]
