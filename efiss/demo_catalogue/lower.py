"""What is worn below the waist: skirts, trousers, jeans and shorts."""

import numpy as np

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
    join,
    loop,
    mirror,
    ribbon,
    turn,
)


def falling_folds(
    rng, top: float, bottom: float, waist: float, hem: float, count: int, depth: float = 0.35
) -> tuple[Fold, ...]:
    """Folds that fall from the waist and spread towards the hem."""
    folds = []
    for at in np.linspace(-0.9, 0.9, count) + rng.uniform(-0.4, 0.4, count) / count:
        start = (at * waist * 0.9, top + rng.uniform(0.0, 0.35) * (bottom - top))
        sign = rng.choice([-1, 1])
        folds.append(
            Fold(
                (at * hem, bottom + 0.05),
                start,
                0.25 * hem / max(count / 4, 1),
                sign * depth * rng.uniform(0.6, 1.2),
            )
        )
    return tuple(folds)


def wavy_hem(rng, hem: float, bottom: float, waves: int, size: float) -> Points:
    """The right half of a hem from the side to the middle; it waves where cloth falls in folds."""
    x = np.linspace(hem, 0, 30)
    dip = 0.05 * (1 - (x / hem) ** 2)
    return np.column_stack([x, bottom + dip + size * np.sin(waves * np.pi * x / hem)])


def skirt(rng, pattern: str) -> list[Piece]:
    """Narrow, flared, pleated, in tiers or short in denim style."""
    kind = rng.choice(["narrow", "flared", "pleated", "tiers", "buttoned"])
    bottom = {"narrow": 0.62, "pleated": 0.35, "buttoned": 0.25}.get(kind, 0.5) + rng.uniform(
        -0.12, 0.2
    )
    waist = 0.3
    hem = {"narrow": rng.uniform(0.3, 0.36), "buttoned": 0.47}.get(kind, rng.uniform(0.55, 0.7))
    hip = 0.40 if kind in ("narrow", "buttoned") else waist + 0.4 * (hem - waist)
    top_y = -0.6
    waves = 0.018 if kind in ("flared", "tiers") else 0.0
    half = join(
        curve((0, top_y + 0.03), (waist, top_y)),
        curve((waist, top_y), (hip, top_y + 0.35), (hem, bottom)),
        wavy_hem(rng, hem, bottom, 5, waves),
    )
    outline = mirror(half)
    count = {"narrow": 2, "buttoned": 3, "pleated": 0}.get(kind, 10)
    folds = falling_folds(rng, top_y, bottom, waist, hem, count, 0.5) if count else ()
    pieces: list[Piece] = [Part(outline, edge=0.06, drape=0.1, folds=folds)]
    if kind == "pleated":
        pieces = pleats(outline, waist, hem, top_y, bottom, int(rng.integers(7, 12)))
    if kind == "tiers":
        for at in (0.36, 0.68):
            y = top_y + at * (bottom - top_y)
            seam = curve((-0.8, y - 0.03), (0, y + 0.05), (0.8, y - 0.03))
            lower = join(seam, (0.8, bottom + 0.3), (-0.8, bottom + 0.3))
            pieces.append(Part(lower, edge=0.03, drape=0.1, folds=folds, within=outline))
    if kind == "buttoned":
        pieces += [
            Part(box(-0.035, top_y, 0.035, bottom + 0.04), edge=0.012, within=outline),
            *buttons(0, np.linspace(top_y + 0.15, bottom - 0.05, 5), 0.02, "metal"),
            *both_lines(
                Line(
                    curve((waist, top_y + 0.2), (0.2, top_y + 0.24), (0.14, top_y + 0.08)),
                    "stitch",
                    0.007,
                    0.9,
                    dashed=True,
                )
            ),
        ]
    if kind == "narrow":
        slit = curve((hem * 0.5, bottom + 0.04), (hem * 0.48, bottom - 0.25))
        pieces.append(Line(slit, width=0.012, opacity=0.9))
    band = curve((-waist, top_y), (0, top_y + 0.03), (waist, top_y))
    fabric = str(rng.choice(["main", "plain", "trim"]))
    return [*pieces, Part(ribbon(band, 0.08), fabric, edge=0.02)]


def pleats(
    outline: Points, waist: float, hem: float, top: float, bottom: float, count: int
) -> list:
    """Knife pleats: strips that each lie a little over the next."""
    pieces: list[Piece] = [Part(outline, shade=0.8)]
    for at in np.linspace(1, -1, count):
        width = 2.2 / count
        strip = join(
            ((at - width) * waist, top - 0.02),
            (at * waist, top - 0.02),
            (at * hem * 1.02, bottom + 0.1),
            ((at - width) * hem * 1.02, bottom + 0.1),
        )
        pieces.append(Part(strip, grain=-0.25 * at, edge=0.035, slope=0.6, within=outline))
    return pieces


def leg(rng, waist: float, hip: float, knee: float, hem: float, bottom: float, gap: float) -> Part:
    """The right trouser leg, from the waist to the hem; gap moves the foot outwards."""
    top, crotch = -0.95, -0.95 + 0.52
    knee_y = (crotch + bottom) / 2
    middle = gap + hem / 2
    half_knee = gap * 0.6 + 0.01 + knee
    outline = join(
        curve((0, top + 0.02), (waist, top)),
        curve(
            (waist, top),
            (hip, top + 0.3),
            (min(half_knee, hip + 0.12), knee_y),
            (middle + hem / 2, bottom),
        ),
        curve(
            (middle + hem / 2, bottom), (middle, bottom + 0.02), (middle - hem / 2, bottom + 0.005)
        ),
        curve((middle - hem / 2, bottom), (gap * 0.6 + 0.01, knee_y), (0.0, crotch)),
    )
    folds = [
        Fold(
            (0.0, crotch),
            (hip * rng.uniform(0.5, 0.9), crotch - rng.uniform(-0.12, 0.12)),
            0.03,
            0.3,
        )
        for _ in range(3)
    ]
    for y in (knee_y - 0.04, knee_y + 0.05, bottom - 0.08):
        y += rng.uniform(-0.04, 0.04)
        span = rng.uniform(0.3, 0.7) * knee
        folds.append(
            Fold(
                (gap * 0.6 + 0.03, y), (gap * 0.6 + span, y + rng.uniform(-0.06, 0.06)), 0.025, 0.25
            )
        )
    return Part(outline, grain=-gap * 0.3, edge=0.075, slope=0.65, drape=0.12, folds=tuple(folds))


def legs(rng, waist, hip, knee, hem, bottom, gap) -> list[Piece]:
    """Both legs, with the cloth inside the back waist."""
    right = leg(rng, waist, hip, knee, hem, bottom, gap)
    inner = mirror(join((0, -0.955), (waist, -0.965), (waist, -0.93), (0, -0.9)))
    return [Part(inner, "plain", shade=0.6, slope=0.1), *both(right)[::-1]]


def waistband(waist: float, fabric: str = "main", loops: bool = True) -> list[Piece]:
    band = curve((-waist, -0.93), (0, -0.905), (waist, -0.93))
    pieces: list[Piece] = [Part(ribbon(band, 0.085), fabric, edge=0.018, slope=0.4)]
    if loops:
        for at in (-0.74, -0.36, 0.36, 0.74):
            x, y = at * waist, -0.905 - 0.025 * at**2
            pieces.append(Part(box(x - 0.012, y - 0.048, x + 0.012, y + 0.05, 0.004), edge=0.01))
    return pieces


def fly(thread: str, button: str) -> list[Piece]:
    stitch = curve((0.07, -0.86), (0.07, -0.62), (0.0, -0.5))
    return [
        Line(curve((0.0, -0.9), (0.0, -0.43)), width=0.009, opacity=0.8),
        Line(stitch, thread, 0.006, 0.8, dashed=thread != "seam"),
        Part(ellipse_button(), button, edge=0.012, slope=0.9),
    ]


def ellipse_button() -> Points:
    return box(-0.005, -0.93, 0.035, -0.89, 0.02)


def trousers(rng, pattern: str) -> list[Piece]:
    """Slim, straight, wide or flared cloth trousers, or joggers with ribbed ends."""
    kind = rng.choice(["slim", "straight", "wide", "jogger", "cropped"])
    hem = {"slim": 0.18, "wide": 0.36, "jogger": 0.16}.get(kind, 0.24)
    knee = {"slim": 0.24, "wide": 0.36, "jogger": 0.27}.get(kind, 0.28)
    bottom = 0.72 if kind == "cropped" else 0.98
    gap = rng.uniform(0.03, 0.12)
    waist = rng.uniform(0.26, 0.29)
    hip = rng.uniform(0.34, 0.38) + (0.03 if kind == "wide" else 0)
    pieces = legs(rng, waist, hip, knee, hem, bottom, gap)
    if kind == "jogger":
        foot = curve((gap - 0.005, bottom + 0.02), (gap + hem + 0.005, bottom + 0.02))
        cord = curve((0.03, -0.9), (0.05, -0.8), (0.035, -0.68))
        stripe = rng.random() < 0.4
        pieces += both(Part(ribbon(foot, 0.09), "rib", edge=0.02))
        if stripe:
            right = next(
                p for p in pieces if isinstance(p, Part) and p.folds and p.outline[:, 0].max() > 0.2
            )
            side = curve(
                (waist, -0.95),
                (hip - 0.01, -0.65),
                (knee + gap * 0.6 - 0.02, 0.2),
                (gap + hem - 0.02, bottom),
            )
            pieces += both(Part(ribbon(side, 0.07), "trim", edge=0.02, within=right.outline))
        return pieces + waistband(waist, "rib", False) + both_lines(Line(cord, "cord", 0.016, 1.0))
    crease = curve((waist * 0.55, -0.8), (gap * 0.8 + knee * 0.5, 0.1), (gap + hem * 0.5, bottom))
    pocket = curve((waist * 0.72, -0.88), (hip - 0.01, -0.66))
    turned = kind == "cropped"
    pieces += both_lines(Line(crease, width=0.008, opacity=0.35)) + both_lines(
        Line(pocket, width=0.01)
    )
    if turned:
        foot = curve((gap - 0.005, bottom - 0.02), (gap + hem + 0.008, bottom - 0.02))
        pieces += both(Part(ribbon(foot, 0.09), edge=0.02))
    return pieces + waistband(waist) + fly("seam", "button")


def jeans(rng, pattern: str) -> list[Piece]:
    """Denim with bright stitches, worn light on the thighs; slim, straight or flared."""
    hem = float(rng.choice([0.16, 0.2, 0.26, 0.34]))
    knee = 0.23 if hem < 0.25 else 0.27
    gap, waist, hip = rng.uniform(0.04, 0.13), 0.28, rng.uniform(0.35, 0.38)
    pieces = legs(rng, waist, hip, knee, hem, 0.98, gap)
    faded = loop((0.1, -0.45), (0.2, -0.55), (0.28, -0.3), (0.24, 0.15), (0.12, 0.15), (0.07, -0.2))
    pieces += (
        both(Part(faded, "faded", slope=0.0, edge=0.11, feathered=True))
        if rng.random() < 0.75
        else []
    )
    pocket = curve((waist * 0.5, -0.87), (waist * 0.62, -0.72), (hip - 0.005, -0.7))
    side = curve(
        (waist - 0.02, -0.86),
        (hip - 0.02, -0.65),
        (knee + gap * 0.6 - 0.015, 0.27),
        (gap + hem - 0.015, 0.98),
    )
    foot = curve((gap + 0.002, 0.94), (gap + hem - 0.002, 0.94))
    stitched = [
        Line(points, "stitch", 0.007, 0.9, dashed=True)
        for points in (pocket, foot, pocket + (0, 0.02))
    ]
    pieces += [line for stitch in stitched for line in both_lines(stitch)]
    pieces += both_lines(Line(side, width=0.007, opacity=0.5))
    if rng.random() < 0.2:
        holes = [
            turn(box(0.13, y, 0.24, y + 0.03, 0.015), 0.1, (0.18, y)) for y in (-0.1, 0.02, 0.3)
        ]
        pieces += [Part(hole, "cord", shade=0.9, edge=0.01, slope=-0.4) for hole in holes]
    return pieces + waistband(waist) + fly("stitch", "metal")


def shorts(rng, pattern: str) -> list[Piece]:
    """Cloth shorts with turn-ups, cargo pockets, or an elastic waist."""
    kind = rng.choice(["chino", "cargo", "sport"])
    bottom = rng.uniform(-0.16, 0.12)
    hem = rng.uniform(0.36, 0.43)
    pieces = legs(rng, 0.32, 0.4, hem - 0.01, hem, bottom, rng.uniform(0.03, 0.07))
    right = next(
        p.outline for p in pieces if isinstance(p, Part) and p.folds and p.outline[:, 0].max() > 0.2
    )
    if kind == "sport":
        cord = curve((0.03, -0.9), (0.06, -0.78), (0.04, -0.66))
        side = curve((0.3, -0.95), (0.39, -0.65), (hem + 0.04, bottom + 0.03))
        trim = (
            both(Part(ribbon(side, 0.1), "trim", edge=0.03, within=right))
            if rng.random() < 0.5
            else []
        )
        return [
            *pieces,
            *trim,
            *waistband(0.32, "rib", False),
            *both_lines(Line(cord, "cord", 0.016, 1.0)),
        ]
    pocket = curve((0.22, -0.88), (0.405, -0.66))
    pieces += both_lines(Line(pocket, width=0.01))
    if kind == "cargo":
        bag = turn(box(0.27, -0.45, 0.47, -0.22, 0.02), -0.1, (0.36, -0.3))
        lid = turn(box(0.26, -0.48, 0.48, -0.38, 0.02), -0.1, (0.36, -0.3))
        pieces += both(Part(bag, edge=0.02, within=right)) + both(
            Part(lid, edge=0.02, within=right)
        )
    else:
        cuff = join(
            (-0.1, bottom - 0.07), (0.7, bottom - 0.07), (0.7, bottom + 0.1), (-0.1, bottom + 0.1)
        )
        pieces += both(Part(cuff, edge=0.02, within=right))
    return pieces + waistband(0.32) + fly("seam", "button")
