"""Draws one picture of the catalogue: chooses the product, cuts it, dyes it and photographs it."""

from dataclasses import replace

import numpy as np
from PIL import Image

from efiss.demo_catalogue.painting import Canvas, Cloth, paint
from efiss.demo_catalogue.patterns import pattern
from efiss.demo_catalogue.products import ARTICLES, COLOURS, Article, Labels, choose, randomness
from efiss.demo_catalogue.scene import HEIGHT, WIDTH, any_light, any_place, photograph


def draw(seed: int, index: int) -> tuple[Image.Image, Labels]:
    """Picture `index` of the catalogue of a seed, and what it shows.

    The picture is RGB, 480 wide and 640 high. It depends on the two numbers alone, so any picture
    can be drawn at any time, anywhere. ValueError for a negative number.
    """
    rng = randomness(seed, index)
    labels = choose(rng, f"{seed}-{index}")
    kind = ARTICLES[labels.article_type]
    pieces = kind.cut(rng, labels.pattern)
    place = any_place(rng, pieces, kind.tilt, mirrored=rng.random() < 0.5 and not has_words(pieces))
    light = any_light(rng)
    canvas = Canvas.empty(WIDTH, HEIGHT)
    paint(canvas, pieces, cloths(rng, kind, labels, pieces), place, light, rng)
    return photograph(canvas, light, kind.stands, rng), labels


def has_words(pieces) -> bool:
    return any(hasattr(piece, "text") for piece in pieces)


def brightness(colour: np.ndarray) -> float:
    return float(colour @ np.array([0.3, 0.6, 0.1]))


def dye(name: str, rng) -> np.ndarray:
    """A colour of a name, a little different every time: 3 floats from 0 to 1."""
    base = np.array(COLOURS[name], np.float32) / 255
    shift = (
        rng.normal(0, 0.02, 3) if name not in ("Black", "White", "Grey") else rng.normal(0, 0.015)
    )
    return np.clip(base + shift, 0.02, 0.96).astype(np.float32)


def contrast(colour: np.ndarray, rng) -> np.ndarray:
    """A second colour that is well told from the first."""
    names = [*COLOURS, "White", "White", "Black"]
    for name in rng.permutation(names):
        second = dye(str(name), rng)
        if abs(brightness(second) - brightness(colour)) > 0.28:
            return second
    return np.full(3, 0.95 if brightness(colour) < 0.5 else 0.1, np.float32)


def cloths(rng, kind: Article, labels: Labels, pieces) -> dict[str, Cloth]:
    """Every material a piece may name."""
    main = dye(labels.colour, rng)
    second, third = contrast(main, rng), contrast(main, rng)
    # A printed chest takes the place of a print all over the cloth.
    printed = any(getattr(piece, "fabric", "") == "print" for piece in pieces)
    design = (
        None if printed else pattern(labels.pattern, rng, [main, second, third], kind.pattern_scale)
    )
    dark = brightness(main) < 0.2
    seam = main * 1.9 + 0.04 if dark else main * 0.55
    metal = np.array([[0.78, 0.79, 0.81], [0.80, 0.66, 0.38], [0.42, 0.42, 0.44]])[
        rng.choice(3, p=[0.55, 0.35, 0.1])
    ]
    hides = [main * 0.9, dye("Brown", rng), dye("Black", rng), dye("Beige", rng)]
    # A thing of leather is of one hide; handles and straps of other things may be of another.
    hide = main if kind.weave == "leather" and kind.one_hide else hides[rng.integers(4)]
    worn = main + (np.array([0.75, 0.8, 0.88]) - main) * 0.35
    stitch = np.array([0.80, 0.58, 0.28]) if kind.weave == "denim" else main + (0.95 - main) * 0.45
    sole = [np.array([0.94, 0.94, 0.93]), np.array([0.16, 0.16, 0.17]), second][
        rng.choice(3, p=[0.6, 0.2, 0.2])
    ]
    glass = np.array(
        [[0.10, 0.10, 0.12], [0.28, 0.18, 0.12], [0.14, 0.2, 0.34], [0.16, 0.26, 0.2]]
    )[rng.integers(4)]
    button = [np.array([0.92, 0.90, 0.86]), main * 0.6, np.array([0.15, 0.14, 0.14])][
        rng.integers(3)
    ]
    ink = np.array([0.09, 0.09, 0.10])
    gloss, surface = kind.gloss, kind.weave
    made = {
        "main": Cloth(main, gloss, surface, design),
        "plain": Cloth(main, gloss, surface),
        "trim": Cloth(second, gloss, surface),
        "accent": Cloth(third, 0.0),
        "print": Cloth(second, 0.0),
        "rib": Cloth(main * 0.93, 0.0, "rib"),
        "rib trim": Cloth(second * 0.95, 0.0, "rib"),
        "lining": Cloth(main * 0.5 + 0.25, 0.0, "cotton"),
        "leather": Cloth(hide, max(gloss, 0.2), "leather"),
        "metal": Cloth(metal, 0.75),
        "sole": Cloth(sole, 0.1),
        "gum": Cloth(np.array([0.70, 0.50, 0.31]), 0.1, "cotton"),
        "ink": Cloth(ink, 0.1),
        "mark": Cloth(metal, 0.3),
        "cord": Cloth(
            np.array([0.93, 0.93, 0.91]) if not dark or rng.random() < 0.6 else ink, 0.05
        ),
        "button": Cloth(button, 0.3),
        "glass": Cloth(glass, 0.5),
        "gleam": Cloth(glass * 0.6 + 0.35, 0.0),
        "faded": Cloth(worn, 0.0, surface),
        "stitch": Cloth(stitch),
        "seam": Cloth(seam),
    }
    # Single precision throughout: a double here would double the work on every pixel.
    return {name: replace(cloth, colour=np.float32(cloth.colour)) for name, cloth in made.items()}
