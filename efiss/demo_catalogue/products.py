"""What the catalogue sells: article types, colours, patterns, and which a product has."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from efiss.demo_catalogue import (
    accessories,
    bags,
    caps,
    dresses,
    footwear,
    jackets,
    lower,
    pairs,
    tops,
    upper,
)
from efiss.demo_catalogue.shapes import Piece

COLOURS: dict[str, tuple[int, int, int]] = {
    "Black": (40, 40, 44),
    "White": (238, 238, 236),
    "Grey": (142, 144, 148),
    "Navy Blue": (34, 44, 88),
    "Blue": (52, 108, 196),
    "Red": (194, 36, 44),
    "Green": (44, 124, 74),
    "Pink": (238, 146, 174),
    "Yellow": (242, 204, 64),
    "Brown": (112, 72, 46),
    "Purple": (118, 64, 148),
    "Orange": (234, 124, 44),
    "Beige": (216, 196, 162),
    "Maroon": (116, 30, 46),
    "Olive": (106, 108, 60),
    "Teal": (30, 132, 134),
}

PATTERNS = ("Plain", "Stripes", "Checks", "Dots", "Print")

ALL = tuple(COLOURS)
LEATHERS = ("Black", "Brown", "Beige", "Maroon", "Red", "Navy Blue", "White", "Grey", "Olive")
DENIMS = ("Blue", "Navy Blue", "Black", "Grey")
CLOTH = {"Plain": 5, "Stripes": 2, "Checks": 2, "Dots": 1.3, "Print": 2}


@dataclass(frozen=True)
class Article:
    """One article type: how it is cut, and the colours and patterns (with weights) it comes in.

    gloss is the shine of its main cloth (0 none, 1 mirror), weave the name of its surface; a thing
    that stands throws its shadow on the floor instead of on the wall behind it; one_hide tells
    that its leather parts are all of its own colour.
    """

    cut: Callable[[np.random.Generator, str], list[Piece]]
    colours: tuple[str, ...] = ALL
    patterns: tuple[tuple[str, float], ...] = tuple(CLOTH.items())
    gloss: float = 0.05
    weave: str = "cotton"
    stands: bool = False
    one_hide: bool = True
    pattern_scale: float = 1.0
    tilt: float = 6.0


def article(cut, colours=ALL, *, patterns: str | dict[str, float] = "Plain", **more) -> Article:
    weights = dict.fromkeys(patterns.split(), 1.0) if isinstance(patterns, str) else patterns
    return Article(cut, colours, tuple(weights.items()), **more)


ARTICLES: dict[str, Article] = {
    "Tshirts": article(upper.tshirt, patterns={"Plain": 3, "Stripes": 2, "Dots": 0.6, "Print": 4}),
    "Shirts": article(upper.shirt, patterns=CLOTH | {"Checks": 5, "Stripes": 3}),
    "Tops": article(tops.top, patterns=CLOTH),
    "Sweatshirts": article(
        upper.sweatshirt, patterns={"Plain": 3, "Stripes": 1, "Print": 2}, weave="knit"
    ),
    "Jackets": article(jackets.jacket, patterns={"Plain": 5, "Checks": 1}, gloss=0.12),
    "Dresses": article(dresses.dress, patterns=CLOTH | {"Print": 4, "Dots": 2}),
    "Skirts": article(lower.skirt, patterns=CLOTH),
    "Trousers": article(lower.trousers, patterns={"Plain": 6, "Checks": 1, "Stripes": 1}),
    "Jeans": article(lower.jeans, DENIMS, weave="denim"),
    "Shorts": article(lower.shorts, patterns={"Plain": 4, "Checks": 1, "Stripes": 1, "Print": 1}),
    "Casual Shoes": article(
        footwear.casual_shoe,
        patterns={"Plain": 5, "Checks": 1, "Print": 0.7},
        gloss=0.15,
        stands=True,
        tilt=3,
    ),
    "Formal Shoes": article(
        footwear.formal_shoe,
        ("Black", "Brown", "Maroon", "Beige", "Navy Blue"),
        gloss=0.4,
        weave="leather",
        stands=True,
        tilt=3,
    ),
    "Heels": article(
        footwear.heel,
        (*LEATHERS, "Pink", "Purple", "Teal", "Orange"),
        gloss=0.45,
        weave="leather",
        stands=True,
        tilt=3,
    ),
    "Sandals": article(pairs.sandal, LEATHERS, gloss=0.25, weave="leather"),
    "Flip Flops": article(
        pairs.flip_flop,
        patterns={"Plain": 4, "Stripes": 2, "Print": 2, "Dots": 1},
        gloss=0.12,
        weave="smooth",
    ),
    "Socks": article(
        pairs.socks,
        patterns={"Plain": 2, "Stripes": 3, "Dots": 2, "Checks": 1, "Print": 1},
        weave="knit",
        pattern_scale=1.3,
    ),
    "Handbags": article(
        bags.handbag,
        patterns={"Plain": 6, "Checks": 0.7, "Stripes": 0.7, "Print": 1},
        one_hide=False,
        gloss=0.28,
        weave="leather",
        stands=True,
        tilt=3,
    ),
    "Backpacks": article(
        bags.backpack,
        patterns={"Plain": 6, "Checks": 1, "Print": 1.5, "Dots": 0.7},
        gloss=0.1,
        stands=True,
        tilt=3,
    ),
    "Caps": article(
        caps.cap, patterns={"Plain": 6, "Checks": 1, "Print": 1, "Dots": 0.6}, weave="denim"
    ),
    "Watches": article(
        accessories.watch,
        ("Black", "Brown", "White", "Blue", "Red", "Pink", "Beige", "Navy Blue", "Green", "Orange"),
        gloss=0.3,
        weave="leather",
    ),
    "Sunglasses": article(
        accessories.sunglasses,
        ("Black", "Brown", "White", "Red", "Blue", "Green", "Purple", "Pink", "Yellow"),
        gloss=0.5,
        weave="smooth",
        tilt=4,
    ),
    "Belts": article(accessories.belt, LEATHERS, gloss=0.3, weave="leather"),
    "Ties": article(
        accessories.tie,
        patterns={"Plain": 1.5, "Stripes": 3, "Checks": 1.5, "Dots": 2, "Print": 1},
        gloss=0.2,
        pattern_scale=0.7,
    ),
    "Scarves": article(
        accessories.scarf,
        patterns={"Plain": 2, "Stripes": 2, "Checks": 3, "Print": 1, "Dots": 0.7},
        weave="knit",
    ),
}


@dataclass(frozen=True)
class Labels:
    """What a picture shows; product names it and no other product of any seed."""

    product: str
    article_type: str
    colour: str
    pattern: str


def randomness(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one picture: always the same, whatever else is drawn."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, got seed {seed} and index {index}")
    return np.random.default_rng([seed, index])


def choose(rng: np.random.Generator, product: str) -> Labels:
    """The first choices from a picture's random numbers: type, colour and pattern."""
    name = str(rng.choice(list(ARTICLES)))
    kind = ARTICLES[name]
    colour = str(rng.choice(kind.colours))
    names, weights = zip(*kind.patterns, strict=True)
    pattern = str(rng.choice(names, p=np.array(weights) / sum(weights)))
    return Labels(product, name, colour, pattern)


def label(seed: int, index: int) -> Labels:
    """The labels of picture `index`, without drawing it; ValueError for a negative number."""
    return choose(randomness(seed, index), f"{seed}-{index}")
