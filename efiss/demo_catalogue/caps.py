"""Baseball caps and bucket hats."""

from efiss.demo_catalogue.shapes import (
    Line,
    Part,
    Piece,
    box,
    curve,
    ellipse,
    join,
    mirror,
    turn,
)


def cap(rng, pattern: str) -> list[Piece]:
    """A baseball cap from the side and a little from the front, or a bucket hat."""
    if rng.random() < 0.2:
        return bucket_hat(rng)
    dome = join(
        curve(
            (-0.52, 0.2),
            (-0.54, -0.08),
            (-0.36, -0.36),
            (-0.04, -0.44),
            (0.26, -0.32),
            (0.4, -0.06),
            (0.42, 0.18),
        ),
        curve((0.42, 0.18), (0.0, 0.3), (-0.52, 0.2)),
    )
    brim = join(
        curve((0.02, 0.27), (0.25, 0.2), (0.42, 0.12)),
        curve((0.42, 0.12), (0.66, 0.16), (0.83, 0.32), (0.78, 0.4)),
        curve((0.78, 0.4), (0.5, 0.33), (0.25, 0.33), (0.02, 0.27)),
    )
    panel = join(curve((-0.06, -0.5), (0.1, -0.1), (0.06, 0.35)), (0.7, 0.4), (0.7, -0.5))
    second = str(rng.choice(["main", "main", "trim"]))
    brim_fabric = str(rng.choice(["plain", "trim"]))
    pieces: list[Piece] = [
        Part(dome, edge=0.15, slope=0.9, drape=0.06),
        Part(panel, second, edge=0.03, slope=0.2, within=dome)
        if second != "main"
        else Line(panel[:21], width=0.008),
        Line(curve((-0.06, -0.43), (-0.22, -0.15), (-0.24, 0.25)), width=0.008),
        Part(ellipse(-0.05, -0.44, 0.035, 0.022), "plain", edge=0.015, slope=0.8),
        Part(ellipse(-0.16, -0.2, 0.014), "ink", edge=0.006),
        Part(brim + (0.0, 0.025), "plain", shade=0.5, edge=0.02),
        Part(brim, brim_fabric, edge=0.06, slope=0.6),
    ]
    for inset in (0.03, 0.06):
        arc = curve(
            (0.1, 0.28), (0.3, 0.27 - inset), (0.55, 0.27 - inset * 0.3), (0.78 - inset, 0.37)
        )
        pieces.append(Line(arc, width=0.005, opacity=0.5))
    if rng.random() < 0.7:
        badge = str(rng.choice(["disc", "bar"]))
        shape = (
            ellipse(0.23, -0.08, 0.075, 0.1)
            if badge == "disc"
            else turn(box(0.15, -0.16, 0.3, 0.02, 0.02), 0.15, (0.2, 0))
        )
        pieces += [
            Part(shape, "trim", edge=0.02),
            Part((shape - shape.mean(0)) * 0.55 + shape.mean(0), "accent", edge=0.01),
        ]
    return pieces


def bucket_hat(rng) -> list[Piece]:
    crown = mirror(
        join(
            curve((0, -0.42), (0.28, -0.4), (0.36, -0.34)),
            curve((0.36, -0.34), (0.42, -0.1), (0.46, 0.08)),
            (0, 0.14),
        )
    )
    brim = mirror(
        join(
            curve((0, 0.12), (0.3, 0.1), (0.46, 0.04)),
            curve((0.46, 0.04), (0.6, 0.18), (0.72, 0.3)),
            curve((0.72, 0.3), (0.4, 0.41), (0, 0.44)),
        )
    )
    arcs = [
        curve(
            (-0.46 - k * 0.06, 0.1 + k * 0.05),
            (0, 0.2 + k * 0.06),
            (0.46 + k * 0.06, 0.1 + k * 0.05),
        )
        for k in range(4)
    ]
    return [
        Part(crown, edge=0.1, slope=0.8, drape=0.15),
        Part(brim, edge=0.07, slope=0.7, drape=0.12),
        *(Line(arc, width=0.005, opacity=0.5) for arc in arcs),
    ]
