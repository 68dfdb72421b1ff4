"""Pictures of made-up garments, drawn: as many as a test wants, and the same every time."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 480, 640
SHOPS = ("north", "linden", "harbour", "atlas")
COLOURS = {
    "Black": (40, 40, 44), "White": (238, 238, 236), "Blue": (52, 108, 196), "Red": (194, 36, 44),
    "Green": (44, 124, 74), "Pink": (238, 146, 174), "Yellow": (242, 204, 64),
    "Brown": (112, 72, 46), "Purple": (118, 64, 148), "Orange": (234, 124, 44),
}  # fmt: skip
OUTLINES = {  # right halves, from the top to the bottom: parts of half the width and of the height
    "Tshirts": [(0.2, 0), (0.9, 0.16), (0.75, 0.38), (0.5, 0.3), (0.52, 1), (0, 1)],
    "Dresses": [(0.2, 0), (0.36, 0.02), (0.3, 0.4), (0.7, 1), (0, 1)],
    "Jeans": [(0.4, 0), (0.46, 0.3), (0.44, 1), (0.16, 1), (0.04, 0.35), (0, 0.33)],
    "Skirts": [(0.3, 0.1), (0.34, 0.2), (0.75, 0.9), (0, 0.95)],
    "Caps": [(0.25, 0.3), (0.5, 0.45), (0.55, 0.62), (0.9, 0.7), (0.5, 0.75), (0, 0.68)],
    "Handbags": [(0.25, 0.2), (0.3, 0.4), (0.72, 0.42), (0.62, 0.9), (0, 0.92)],
    "Ties": [(0.12, 0.05), (0.06, 0.16), (0.22, 0.85), (0, 1)],
}
PATTERNS = ("plain", "stripes", "dots", "checks")


@dataclasses.dataclass(frozen=True)
class Labels:
    article_type: str
    colour: str


def labels(seed: int, index: int) -> Labels:
    """What `draw` draws."""
    return _labels(_random(seed, index))


def draw(seed: int, index: int) -> Image.Image:
    """RGB, 480 x 640."""
    random = _random(seed, index)
    what = _labels(random)
    image = _background(random)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(_outline(random, what.article_type), fill=255)
    turn = random.uniform(-12, 12)
    shadow = mask.rotate(turn, translate=(14, 18)).point(lambda value: value // 4)
    image.paste((0, 0, 0), mask=shadow)
    image.paste(_cloth(random, COLOURS[what.colour]), mask=mask.rotate(turn))
    return image


def write_catalogue(folder: Path, images: int, shops: int, seed: int = 0) -> None:
    """Drawn pictures <shop>/<id>_<shop>.jpg, and labels.csv with what they show."""
    rows = []
    for index in range(images):
        shop, product = f"{SHOPS[index % shops]}.example", index // shops + 1
        path = f"{shop}/{product}_{shop.replace('.', '_')}.jpg"
        (folder / shop).mkdir(parents=True, exist_ok=True)
        draw(seed, index).save(folder / path, quality=88)
        rows.append({"path": path, "product": product, **vars(labels(seed, index))})
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _random(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, index])


def _labels(random: np.random.Generator) -> Labels:
    return Labels(str(random.choice(list(OUTLINES))), str(random.choice(list(COLOURS))))


def _background(random: np.random.Generator) -> Image.Image:
    """A wall, lighter at one side, with some grain."""
    tint = random.uniform(150, 245, 3)
    slope = random.uniform(-40, 40) * np.linspace(-1, 1, WIDTH)[None, :, None]
    grain = random.normal(0, random.uniform(1, 6), (HEIGHT, WIDTH, 1))
    return Image.fromarray((tint + slope + grain).clip(0, 255).astype(np.uint8))


def _outline(random: np.random.Generator, kind: str) -> list[tuple[float, float]]:
    """A polygon; its width and height, and every corner a little, are chance."""
    half, high = random.uniform(150, 215), random.uniform(340, 500)
    top = (HEIGHT - high) / 2
    corners = [
        (half * (x + random.normal(0, 0.02) * (x > 0)), top + high * (y + random.normal(0, 0.015)))
        for x, y in OUTLINES[kind]
    ]
    right = [(WIDTH / 2 + x, y) for x, y in corners]
    return right + [(WIDTH / 2 - x, y) for x, y in reversed(corners)]


def _cloth(random: np.random.Generator, colour: tuple[int, int, int]) -> Image.Image:
    """The cloth of a pattern, with a second colour, folds of light and shade over it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle, step = random.uniform(0, math.pi), random.uniform(18, 60)
    along = np.sin(2 * np.pi * (x * math.cos(angle) + y * math.sin(angle)) / step)
    across = np.sin(2 * np.pi * (y * math.cos(angle) - x * math.sin(angle)) / step)
    is_second = {
        "plain": along > 2,
        "stripes": along > 0.2,
        "dots": along * across > 0.6,
        "checks": (along > 0.5) ^ (across > 0.5),
    }[str(random.choice(PATTERNS))]
    second = random.uniform(20, 240, 3)
    cloth = np.where(is_second[..., None], second, np.array(colour, float))
    folds = 1 + random.uniform(0.05, 0.25) * np.sin(x / random.uniform(15, 60) + y / 90)
    return Image.fromarray((cloth * folds[..., None]).clip(0, 255).astype(np.uint8))
