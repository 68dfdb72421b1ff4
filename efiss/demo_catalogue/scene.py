"""The studio around a garment: where it hangs, where light comes from, what is behind it."""

import numpy as np
from PIL import Image

from efiss.demo_catalogue.painting import Canvas, Light, Place, blur
from efiss.demo_catalogue.shapes import Line, Part, Piece

WIDTH, HEIGHT = 480, 640


def any_light(rng) -> Light:
    """Light from above, more often from the left."""
    direction = np.array(
        [rng.uniform(-0.75, 0.4), rng.uniform(-0.75, -0.35), rng.uniform(0.75, 1.0)]
    )
    return Light(direction / np.linalg.norm(direction), rng.uniform(0.42, 0.58))


def any_place(rng, pieces: list[Piece], tilt: float, mirrored: bool) -> Place:
    """The garment turned by up to `tilt` degrees, a little stretched, fitted into the picture."""
    angle = np.radians(np.clip(rng.normal(0, tilt / 2), -tilt, tilt))
    stretch = rng.uniform(0.96, 1.04)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch])
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0])
    outlines = [extent(piece) for piece in pieces if isinstance(piece, Part | Line)]
    points = np.vstack(outlines) @ matrix.T
    low, high = points.min(0), points.max(0)
    fill = rng.uniform(0.80, 0.93)
    scale = fill * float(np.min(np.array([WIDTH, HEIGHT]) / (high - low)))
    room = np.array([WIDTH, HEIGHT]) - (high - low) * scale
    shift = rng.uniform(0.35, 0.65, 2) * room
    return Place(matrix * scale, shift - low * scale)


def extent(piece: Part | Line) -> np.ndarray:
    """The corners of what is seen of a piece."""
    if isinstance(piece, Line):
        return piece.points
    if piece.within is None:
        return piece.outline
    return piece.within


def backdrop(rng, stands: bool) -> np.ndarray:
    """What is behind: mostly white or nearly so, else grey, a tint, or wall and floor."""
    kind = rng.choice(
        ["white", "light", "vignette", "tint", "floor"], p=[0.5, 0.15, 0.13, 0.14, 0.08]
    )
    if kind == "white":
        return np.ones((HEIGHT, WIDTH, 3), np.float32)
    y = np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    x = np.linspace(-0.75, 0.75, WIDTH, dtype=np.float32)[None, :]
    if kind == "light":
        level = rng.uniform(0.92, 0.98) - 0.03 * (y * rng.uniform(-1, 1) + x * rng.uniform(-1, 1))
        return np.repeat(level[..., None], 3, 2)
    away = np.hypot(x - rng.uniform(-0.2, 0.2), y - rng.uniform(-0.3, 0.1))
    if kind == "vignette":
        return np.repeat((rng.uniform(0.93, 0.99) - 0.14 * away**2)[..., None], 3, 2)
    hue = rng.uniform(0, 6.283)
    wheel = np.cos(hue - np.array([0, 2.094, 4.189]))
    tint = np.clip(rng.uniform(0.78, 0.9) + rng.uniform(0.03, 0.1) * wheel, 0, 1).astype(np.float32)
    if kind == "tint" or not stands:  # what hangs has no floor
        return tint * (1.05 - 0.12 * away**2)[..., None]
    line = rng.uniform(0.35, 0.6)
    below = np.clip((y - line) * 25 + 0.5, 0, 1)
    level = (1.04 - 0.08 * away**2) * (1 - below) + below * (0.86 + 0.12 * (y - line))
    return tint * level[..., None]


def shadow(cover: np.ndarray, light: Light, stands: bool, rng) -> np.ndarray:
    """How much of the light the garment takes from what is behind or below it: (h, w), 0 to 1."""
    quarter = cover.reshape(HEIGHT // 4, 4, WIDTH // 4, 4).mean((1, 3))
    if stands:
        quarter = floor_shadow(quarter)
        soft = blur(quarter, 3) * 0.45
    else:
        shift = -light.direction[:2] / light.direction[2] * rng.uniform(1.5, 4.0)
        moved = np.roll(quarter, (int(round(shift[1])), int(round(shift[0]))), (0, 1))
        soft = blur(moved, int(rng.integers(2, 6))) * rng.uniform(0.15, 0.4)
    image = Image.fromarray(np.ascontiguousarray(soft, np.float32))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def floor_shadow(quarter: np.ndarray) -> np.ndarray:
    """A flat ellipse where the lowest part of the garment touches the floor."""
    rows, columns = np.nonzero(quarter > 0.5)
    if not len(rows):
        return quarter * 0
    base, left, right = rows.max(), columns.min(), columns.max()
    y, x = np.mgrid[: quarter.shape[0], : quarter.shape[1]].astype(np.float32)
    middle, half = (left + right) / 2, (right - left) / 2 + 1
    return (((x - middle) / half) ** 2 + ((y - base) / 3.5) ** 2 < 1).astype(np.float32)


def photograph(canvas: Canvas, light: Light, stands: bool, rng) -> Image.Image:
    """The garment in the studio, as an RGB picture of 480 x 640."""
    behind = backdrop(rng, stands)
    dark = 1 - shadow(canvas.cover, light, stands, rng)
    # In place throughout: the time goes into moving memory.
    picture = behind
    picture *= (dark * (1 - canvas.cover))[..., None]
    picture += canvas.colour
    warmth = rng.normal(0, 0.012)
    exposure = rng.uniform(0.96, 1.05)
    # White stays white: the tint of the light only shows where the picture is not overexposed.
    picture *= np.array([1 + warmth, 1, 1 - warmth], np.float32) * np.float32(exposure)
    noise = rng.random((HEIGHT, WIDTH, 1), dtype=np.float32) - np.float32(0.5)
    np.clip(picture, 0, 1, out=picture)
    picture *= 255
    picture += noise * np.float32(3)
    np.clip(picture, 0, 255, out=picture)
    return Image.fromarray(picture.astype(np.uint8))
