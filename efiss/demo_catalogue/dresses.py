"""Dresses: fitted, flared, straight and long ones."""

import numpy as np

from efiss.demo_catalogue.lower import falling_folds, wavy_hem
from efiss.demo_catalogue.shapes import (
    Fold,
    Line,
    Part,
    Piece,
    Points,
    buttons,
    curve,
    join,
    mirror,
    ribbon,
)
from efiss.demo_catalogue.upper import (
    TOP,
    Cut,
    any_cut,
    back_of_neck,
    collar_band,
    neckline,
    shirt_collar,
    sleeves,
)


def dress(rng, pattern: str) -> list[Piece]:
    """Fitted, flared, straight or long, without or with sleeves, some with a belt."""
    kind = rng.choice(["flared", "straight", "long", "fitted"])
    top_y = -0.95
    waist_y = rng.uniform(-0.28, -0.2)
    waist = {"straight": 0.27, "fitted": 0.2}.get(kind, 0.21)
    hem = {"flared": rng.uniform(0.42, 0.56), "long": rng.uniform(0.36, 0.46)}.get(
        kind, rng.uniform(0.24, 0.3) + (0.06 if kind == "straight" else -0.02)
    )
    bottom = {"flared": rng.uniform(0.4, 0.6), "long": 0.98}.get(kind, rng.uniform(0.38, 0.6))
    cut = any_cut(
        rng,
        neck=rng.uniform(0.12, 0.18),
        depth=rng.uniform(0.1, 0.22),
        chest=0.27,
        shoulder=rng.uniform(0.25, 0.29),
        neckline=str(rng.choice(["round", "v", "square"])),
    )
    down = top_y - TOP  # the measures of the upper body hang from TOP
    shift = np.array([0, down])
    shoulder, armpit = (cut.shoulder, top_y + 0.09), (cut.chest, top_y + 0.36)
    soft = kind in ("flared", "long")
    half = join(
        neckline(cut) + shift,
        (cut.neck, top_y),
        curve(shoulder, (cut.shoulder - 0.05, top_y + 0.22), armpit),
        curve(
            armpit,
            (waist + 0.02, waist_y - 0.1),
            (waist, waist_y),
            (waist + 0.05 + 0.3 * (hem - waist), waist_y + 0.2),
            (hem * 0.97, (waist_y + 2 * bottom) / 3),
            (hem, bottom),
        ),
        wavy_hem(rng, hem, bottom, int(rng.integers(3, 6)), 0.012 if soft else 0.0),
    )
    folds = falling_folds(rng, waist_y, bottom, waist, hem, 9 if soft else 4, 0.45 if soft else 0.2)
    folds += tuple(
        Fold((s * 0.25, top_y + 0.38), (s * 0.1, top_y + 0.45), 0.03, 0.3) for s in (-1, 1)
    )
    arms = moved(dress_sleeves(rng, cut), shift)
    pieces: list[Piece] = [
        *moved([back_of_neck(cut)], shift),
        *arms,
        Part(mirror(half), edge=0.07, drape=0.12, folds=folds),
    ]
    if rng.random() < 0.3:
        pieces += moved(collar_band(cut, str(rng.choice(["trim", "plain"])), 0.03), shift)
    elif rng.random() < 0.15 and cut.neckline == "v":
        pieces += moved(shirt_collar(cut), shift) + buttons(
            0, np.linspace(top_y + 0.3, bottom - 0.1, 8)
        )
    band = curve((-waist - 0.005, waist_y), (0, waist_y + 0.025), (waist + 0.005, waist_y))
    if kind != "straight" and rng.random() < 0.5:
        fabric = str(rng.choice(["trim", "plain", "leather"]))
        return [*pieces, Part(ribbon(band, 0.06), fabric, shade=0.9, edge=0.02)]
    return [*pieces, Line(band, width=0.007)] if kind != "straight" else pieces


def dress_sleeves(rng, cut: Cut) -> list[Piece]:
    kind = rng.choice(["none", "none", "short", "long"])
    if kind == "none":
        return []
    arm = Cut(cut.neck, cut.depth, cut.neckline, cut.shoulder - 0.01, cut.chest)
    if kind == "short":
        return sleeves(rng, arm, rng.uniform(0.12, 0.26), 0.2, rng.uniform(0.5, 0.8))
    return sleeves(rng, arm, rng.uniform(0.7, 0.85), 0.13, rng.uniform(0.15, 0.3))


def moved(pieces: list[Piece], shift: Points) -> list[Piece]:
    """The parts and lines at another place."""
    out: list[Piece] = []
    for piece in pieces:
        fields = dict(vars(piece))
        key = "points" if isinstance(piece, Line) else "outline"
        fields[key] = fields[key] + shift
        if fields.get("folds"):
            fields["folds"] = tuple(
                Fold(tuple(np.add(f.start, shift)), tuple(np.add(f.end, shift)), f.width, f.depth)
                for f in fields["folds"]
            )
        out.append(type(piece)(**fields))
    return out
