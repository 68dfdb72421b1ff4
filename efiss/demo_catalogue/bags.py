"""Handbags and backpacks."""

from efiss.demo_catalogue.shapes import (
    Fold,
    Line,
    Part,
    Piece,
    both,
    box,
    buttons,
    curve,
    ellipse,
    join,
    mirror,
    ribbon,
    turn,
)


def handbag(rng, pattern: str) -> list[Piece]:
    """A tote, a flap bag, a round-bottomed bag or a clutch on a chain."""
    kind = str(rng.choice(["tote", "flap", "hobo", "clutch"]))
    return {"tote": tote, "flap": flap_bag, "hobo": hobo, "clutch": clutch}[kind](rng)


def handle(half: float, foot: float, height: float, width: float, shade: float = 1.0) -> Part:
    arc = curve(
        (-half, foot),
        (-half * 0.92, foot - height * 0.6),
        (-half * 0.45, foot - height),
        (half * 0.45, foot - height),
        (half * 0.92, foot - height * 0.6),
        (half, foot),
    )
    return Part(ribbon(arc, width), "leather", shade=shade, edge=width / 2.2, slope=0.9)


def tote(rng) -> list[Piece]:
    top, bottom = rng.uniform(0.5, 0.6), rng.uniform(0.42, 0.54)
    outline = mirror(
        join(
            (0, -0.2),
            (top, -0.2),
            curve((top, -0.2), (bottom + 0.02, 0.3), (bottom, 0.62)),
            curve((bottom, 0.62), (bottom - 0.04, 0.66), (0, 0.67)),
        )
    )
    grip = rng.uniform(0.4, 0.6)
    pieces: list[Piece] = [
        handle(0.24, -0.2, grip, 0.045, 0.7),
        Part(
            outline,
            edge=0.07,
            slope=0.6,
            drape=0.12,
            folds=(Fold((0.3, -0.2), (0.2, 0.4), 0.06, 0.2),),
        ),
        Part(box(-0.8, -0.21, 0.8, -0.14, 0), "leather", shade=0.9, edge=0.02, within=outline),
    ]
    if rng.random() < 0.5:
        pieces.append(Part(box(-0.8, 0.42, 0.8, 0.8, 0), "trim", edge=0.03, within=outline))
    pieces += both(Part(box(0.2, -0.22, 0.28, 0.0, 0.02), "leather", edge=0.02))
    pieces += buttons(0.24, [-0.04], 0.018, "metal") + buttons(-0.24, [-0.04], 0.018, "metal")
    return [*pieces, handle(0.24, -0.16, grip, 0.05)]


def flap_bag(rng) -> list[Piece]:
    w, low = rng.uniform(0.5, 0.62), rng.uniform(0.42, 0.55)
    flap_low = rng.uniform(0.08, 0.26)
    front = box(-w, -0.2, w, low, 0.08)
    flap = mirror(
        join(
            (0, -0.22),
            (w - 0.05, -0.22),
            (w + 0.015, -0.15),
            curve(
                (w + 0.01, -0.1),
                (w * 0.96, flap_low - 0.12),
                (w * 0.7, flap_low - 0.02),
                (0, flap_low),
            ),
        )
    )
    pieces: list[Piece] = [
        handle(w * 0.5, -0.2, rng.uniform(0.25, 0.5), 0.05)
        if rng.random() < 0.6
        else handle(w * 0.95, -0.15, 0.75, 0.035),
        Part(front, edge=0.07, slope=0.7, drape=0.05),
        Part(flap, edge=0.05, slope=0.6),
        Line(flap * 0.965 + (0, 0.0), "stitch", 0.006, 0.5, dashed=True),
        Part(box(-0.06, flap_low - 0.08, 0.06, flap_low + 0.05, 0.015), "metal", edge=0.02),
        Part(box(-0.025, flap_low - 0.03, 0.025, flap_low + 0.02, 0.01), "ink", edge=0.01),
    ]
    return pieces + both(
        Part(box(w * 0.5 - 0.04, -0.25, w * 0.5 + 0.04, -0.16, 0.01), "metal", edge=0.02)
    )


def hobo(rng) -> list[Piece]:
    shape = mirror(
        curve(
            (0, -0.1), (0.25, -0.14), (0.46, -0.3), (0.6, 0.0), (0.58, 0.4), (0.3, 0.62), (0, 0.66)
        )
    )
    folds = tuple(
        Fold((x, -0.15), (x * 1.5, 0.3), 0.04, 0.45) for x in (-0.3, -0.15, 0.0, 0.15, 0.3)
    )
    zip_line = curve((-0.44, -0.24), (-0.2, -0.1), (0, -0.06), (0.2, -0.1), (0.44, -0.24))
    return [
        handle(0.45, -0.24, rng.uniform(0.5, 0.62), 0.07),
        Part(shape, edge=0.12, slope=0.8, drape=0.2, folds=folds),
        Line(zip_line, "metal", 0.016, 1.0),
        *both(Part(ellipse(0.45, -0.26, 0.045), "metal", edge=0.02)),
        *both(Part(ellipse(0.45, -0.26, 0.026), "ink", edge=0.02)),
    ]


def clutch(rng) -> list[Piece]:
    w = rng.uniform(0.56, 0.66)
    bag = box(-w, -0.12, w, 0.42, 0.05)
    flap = mirror(join((0, -0.13), (w, -0.13), (w, -0.05), (0.0, rng.uniform(0.18, 0.32))))
    arc = curve(
        (-w * 0.95, -0.1), (-w * 0.7, -0.6), (0, -0.8), (w * 0.7, -0.6), (w * 0.95, -0.1), steps=16
    )
    links = [Part(ellipse(x, y, 0.022), "metal", edge=0.012, slope=0.9) for x, y in arc[::2]]
    return [
        *links,
        Part(bag, edge=0.05, drape=0.06),
        Part(flap, edge=0.03, slope=0.5),
        Part(ellipse(0, flap[:, 1].max() - 0.05, 0.035), "metal", edge=0.02, slope=0.9),
    ]


def backpack(rng, pattern: str) -> list[Piece]:
    """From the front: a zip or a lid, a pocket, the straps showing at the sides."""
    w = rng.uniform(0.44, 0.52)
    shape = mirror(
        join(
            curve((0, -0.78), (w * 0.6, -0.75), (w * 0.95, -0.5), (w, -0.1)),
            curve((w, -0.1), (w + 0.03, 0.4), (w, 0.68)),
            curve((w, 0.68), (w - 0.08, 0.76), (0, 0.78)),
        )
    )
    pocket_top = rng.uniform(0.05, 0.2)
    pocket = mirror(
        join(
            curve((0, pocket_top), (w * 0.7, pocket_top + 0.01), (w * 0.8, pocket_top + 0.08)),
            curve((w * 0.82, 0.4), (w * 0.78, 0.68)),
            (0, 0.7),
        )
    )
    zip_arc = curve(
        (-w * 0.93, 0.0),
        (-w * 0.8, -0.48),
        (-w * 0.45, -0.62),
        (w * 0.45, -0.62),
        (w * 0.8, -0.48),
        (w * 0.93, 0.0),
    )
    strap = curve((w * 0.55, -0.7), (w + 0.1, -0.35), (w + 0.12, 0.2), (w * 0.9, 0.62))
    lid = rng.random() < 0.35
    second = str(rng.choice(["main", "trim", "plain", "leather"]))
    pieces: list[Piece] = [
        *both(Part(ribbon(strap, 0.12, 0.06), "plain", shade=0.75, edge=0.04)),
        handle(0.12, -0.74, 0.17, 0.045),
        Part(shape, edge=0.12, slope=0.75, drape=0.14),
    ]
    if lid:
        cover = join((-1, -1), (1, -1), curve((1, -0.1), (0, -0.02), (-1, -0.1)))
        pieces.append(Part(cover, second, edge=0.05, within=shape))
        pieces += both(Part(box(0.17, -0.2, 0.24, 0.22, 0.01), "leather", edge=0.02))
        pieces += both(Part(box(0.155, 0.0, 0.255, 0.07, 0.01), "metal", edge=0.02))
    else:
        pieces += [
            Line(zip_arc, "ink", 0.022, 0.8),
            Line(zip_arc, "metal", 0.01, 0.9, dashed=True),
            Part(turn(box(-0.02, -0.62, 0.02, -0.5, 0.01), 0.1), "metal", edge=0.015),
        ]
    pieces += [
        Part(pocket, second, edge=0.05, slope=0.7, drape=0.1),
        Line(
            curve(
                (-w * 0.7, pocket_top + 0.1), (0, pocket_top + 0.07), (w * 0.7, pocket_top + 0.1)
            ),
            "ink",
            0.02,
            0.8,
        ),
    ]
    if not lid and rng.random() < 0.6:
        pieces.append(Part(box(-0.1, -0.34, 0.1, -0.22, 0.02), "leather", edge=0.02))
    return pieces
