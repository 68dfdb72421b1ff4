"""Paints the pieces of a garment: cloth fills them, bends, and light falls on it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from efiss.demo_catalogue.patterns import Pattern
from efiss.demo_catalogue.shapes import Line, Part, Piece, Words

FINE = 4  # outlines are drawn this many times larger than the picture, which makes edges smooth


@dataclass(frozen=True)
class Cloth:
    """A material: colour (3 floats, 0 to 1), shine (0 to 1), surface, and a pattern if any."""

    colour: np.ndarray
    gloss: float = 0.05
    weave: str = "smooth"
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Light:
    """Where light comes from (unit vector: right, down, towards us) and how soft it is (0 to 1)."""

    direction: np.ndarray
    soft: float


@dataclass(frozen=True)
class Place:
    """How garment units become picture pixels: turn and stretch by `matrix`, then move."""

    matrix: np.ndarray
    offset: np.ndarray

    @property
    def scale(self) -> float:
        """Pixels per unit."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.offset

    def units(self, left: int, top: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """The place on the garment, in units, of every pixel of a window."""
        back = np.linalg.inv(self.matrix).astype(np.float32)
        x = np.arange(left, left + width, dtype=np.float32) + np.float32(0.5 - self.offset[0])
        y = np.arange(top, top + height, dtype=np.float32) + np.float32(0.5 - self.offset[1])
        return (
            back[0, 0] * x[None, :] + back[0, 1] * y[:, None],
            back[1, 0] * x[None, :] + back[1, 1] * y[:, None],
        )


@dataclass
class Canvas:
    """The garment so far: colour (h, w, 3) already multiplied by its cover (h, w), 0 to 1."""

    colour: np.ndarray
    cover: np.ndarray

    @classmethod
    def empty(cls, width: int, height: int) -> "Canvas":
        shape = (height, width)
        return cls(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32))


Window = tuple[int, int, int, int]  # left, top, width, height in pixels, all even


def paint(
    canvas: Canvas,
    pieces: list[Piece],
    cloths: dict[str, Cloth],
    place: Place,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Paints the pieces onto the canvas, one over the other."""
    for piece in pieces:
        if isinstance(piece, Part):
            paint_part(canvas, piece, cloths[piece.fabric], place, light, rng)
        elif isinstance(piece, Line):
            paint_line(canvas, piece, cloths[piece.fabric], place)
        else:
            paint_words(canvas, piece, cloths[piece.fabric], place)


def window(points: np.ndarray, margin: float, canvas: Canvas) -> Window | None:
    """The part of the picture around the points; None where they lie outside it."""
    height, width = canvas.cover.shape
    left, top = np.maximum((points.min(0) - margin) // 2 * 2, 0).astype(int)
    right, bottom = np.minimum((points.max(0) + margin) // 2 * 2 + 2, (width, height)).astype(int)
    if right - left < 2 or bottom - top < 2:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)


def filled(points: np.ndarray, at: Window) -> np.ndarray:
    """How far each pixel of a window lies in an outline: (h, w), 0 to 1."""
    left, top, width, height = at
    image = Image.new("L", (width * FINE, height * FINE))
    corners = (points - (left, top)) * FINE
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=255)
    return np.asarray(image.reduce(FINE), np.float32) / 255


def paint_part(canvas: Canvas, part: Part, cloth: Cloth, place: Place, light: Light, rng) -> None:
    outline = place.pixels(part.outline)
    edge = max(part.edge * place.scale, 1.0)
    spot = outline
    if part.within is not None:
        limit = place.pixels(part.within)
        spot = np.clip(outline, limit.min(0), limit.max(0))
    at = window(spot, edge, canvas)
    if at is None:
        return
    left, top, width, height = at
    here = np.s_[top : top + height, left : left + width]
    mask = filled(outline, at)
    clip = filled(limit, at) if part.within is not None else None

    tone, gleam, near = shading(part, cloth, mask, at, place, light, edge, rng)
    colour = cloth.colour
    if cloth.pattern is not None:
        x, y = place.units(*at)
        cos, sin = np.float32(np.cos(part.grain)), np.float32(np.sin(part.grain))
        colour = cloth.pattern(x * cos + y * sin, y * cos - x * sin, 1 / place.scale)
    tone = tone * (part.shade * weave(cloth.weave, at, place, rng, part.grain))
    lit = colour * tone[..., None]
    lit += gleam[..., None]

    if part.feathered:
        mask = mask * np.clip(near * 2 - 1, 0, 1)
    if clip is not None:
        mask, near = mask * clip, near * clip
    # The part darkens what lies just beside and below it.
    occluded = 1 - 0.3 * np.clip(near, 0, 1) * (1 if part.slope else 0)
    below, cover = canvas.colour[here], canvas.cover[here]
    below *= (occluded * (1 - mask))[..., None]
    below += lit * mask[..., None]
    cover *= 1 - mask
    cover += mask


def shading(
    part: Part, cloth: Cloth, mask, at: Window, place: Place, light: Light, edge: float, rng
):
    """Brightness (h, w, about 1), shine (h, w) and nearness of the part (h, w) of a window.

    The cloth is a height field at half the resolution: it bends down at the outline, hangs in
    creases and folds, and its slope against the light gives the brightness.
    """
    left, top, width, height = at
    half = mask.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    reach = max(int(round(edge / 2)), 1)
    near = blur(half, reach)
    surface = near * (2 * reach * part.slope)
    if part.drape:
        surface = surface + creases(part, half.shape, place, rng)
    if part.folds:
        surface = surface + folds(part, at, place)
    # The difference quotient of a sharp height field would flicker: it is smoothed once.
    down, right = (
        np.gradient(blur(surface, 1)) if min(half.shape) > 1 else (surface * 0, surface * 0)
    )
    length = np.sqrt(right**2 + down**2 + 1)
    lx, ly, lz = light.direction.tolist()
    facing = (lz - right * lx - down * ly) / length
    tone = light.soft + (1 - light.soft) * np.maximum(facing, 0) / lz
    tone *= 0.88 + 0.12 * np.clip(near * 2 - 1, 0, 1) if part.slope else 1.0
    gleam = np.zeros_like(tone)
    if cloth.gloss:
        middle = light.direction + (0, 0, 1)
        mx, my, mz = (middle / np.linalg.norm(middle)).tolist()
        mirror = np.maximum((mz - right * mx - down * my) / length, 0)
        sharp = 8 + 40 * cloth.gloss
        gleam = cloth.gloss * 0.9 * (mirror**sharp - 0.3 * mz**sharp)
    return enlarge(tone, at), enlarge(gleam, at), enlarge(near, at)


def enlarge(half: np.ndarray, at: Window) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(half, np.float32))
    return np.asarray(image.resize((at[2], at[3]), Image.Resampling.BILINEAR))


def blur(field: np.ndarray, reach: int) -> np.ndarray:
    """The field, averaged twice over 2 * reach + 1 neighbours each way; it is zero outside."""
    for axis in (0, 1):
        for _ in range(2):
            pads = [(0, 0), (0, 0)]
            pads[axis] = (reach + 1, reach)
            total = np.cumsum(np.pad(field, pads), axis=axis, dtype=np.float32)
            size = field.shape[axis]
            far = total.take(np.arange(2 * reach + 1, 2 * reach + 1 + size), axis)
            field = (far - total.take(np.arange(size), axis)) / (2 * reach + 1)
    return field


def creases(part: Part, shape: tuple[int, int], place: Place, rng) -> np.ndarray:
    """Chance creases of the cloth, longer than wide, about as steep as the part's drape."""
    cell = 0.16 * place.scale / 2
    rows, columns = max(int(shape[0] / cell / 1.6), 2), max(int(shape[1] / cell), 2)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth) * (part.drape * cell * 0.5)


def folds(part: Part, at: Window, place: Place) -> np.ndarray:
    """The part's folds as heights, on half the resolution of the window."""
    left, top, width, height = at
    x = (np.arange(width // 2, dtype=np.float32) + 0.5)[None, :]
    y = (np.arange(height // 2, dtype=np.float32) + 0.5)[:, None]
    total = np.zeros((height // 2, width // 2), np.float32)
    for fold in part.folds:
        start, end = ((place.pixels(np.array([fold.start, fold.end])) - (left, top)) / 2).astype(
            np.float32
        )
        size = fold.width * place.scale / 2
        span = max(float(np.hypot(*(end - start))), 1.0)
        ux, uy = (end - start) / span
        along = ((x - start[0]) * ux + (y - start[1]) * uy) / span
        across = ((x - start[0]) * uy - (y - start[1]) * ux) / size
        fade = np.clip(1 - np.abs(2 * along - 0.7) / 1.3, 0, 1)
        total += fold.depth * size * fade * np.exp(-across * across)
    return total


def weave(kind: str, at: Window, place: Place, rng, grain: float) -> np.ndarray | float:
    """The fine grain of a surface as a factor on its brightness."""
    left, top, width, height = at
    if kind == "smooth":
        return 1.0
    speckle = rng.random((height, width), dtype=np.float32) - np.float32(0.5)
    if kind == "cotton":
        return 1 + 0.04 * speckle
    if kind == "leather":
        soft = np.asarray(
            Image.fromarray(speckle).reduce(2).resize((width, height), Image.Resampling.BICUBIC)
        )
        return 1 + 0.10 * soft
    x, y = place.units(*at)
    if kind == "rib":
        across = x * np.float32(np.cos(grain)) + y * np.float32(np.sin(grain))
        return 1 + 0.09 * np.sin(across * np.float32(2 * np.pi / 0.024))
    if kind == "knit":
        return 1 + 0.07 * speckle + 0.02 * np.sin(x * np.float32(2 * np.pi / 0.014))
    return 1 + 0.13 * speckle + 0.045 * np.sin((x + y) * np.float32(2 * np.pi / 0.016))


def paint_line(canvas: Canvas, line: Line, cloth: Cloth, place: Place) -> None:
    """Draws a line, only where the garment already is unless it is a strand of full opacity."""
    points = place.pixels(line.points)
    width = max(line.width * place.scale, 0.8)
    at = window(points, width + 1, canvas)
    if at is None:
        return
    image = Image.new("L", (at[2] * FINE, at[3] * FINE))
    pen = ImageDraw.Draw(image)
    corners = (points - at[:2]) * FINE
    for run in dashes(corners, 5.0 * FINE) if line.dashed else [corners]:
        pen.line(
            [tuple(corner) for corner in run], fill=255, width=round(width * FINE), joint="curve"
        )
    ink = np.asarray(image.reduce(FINE), np.float32) / 255 * line.opacity
    lay(canvas, at, ink if line.opacity == 1 else ink * inked(canvas, at), cloth.colour)


def inked(canvas: Canvas, at: Window) -> np.ndarray:
    left, top, width, height = at
    return canvas.cover[top : top + height, left : left + width]


def lay(canvas: Canvas, at: Window, ink: np.ndarray, colour: np.ndarray) -> None:
    """Lays flat ink over the canvas."""
    left, top, width, height = at
    here = np.s_[top : top + height, left : left + width]
    canvas.colour[here] = canvas.colour[here] * (1 - ink)[..., None] + colour * ink[..., None]
    canvas.cover[here] = canvas.cover[here] * (1 - ink) + ink


def dashes(points: np.ndarray, length: float) -> list[np.ndarray]:
    """A line cut into dashes, with gaps a little shorter than the dashes."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    walked = np.concatenate([[0], np.cumsum(steps)])
    starts = np.arange(0, walked[-1], length * 1.7)
    ends = np.minimum(starts + length, walked[-1])
    return [
        np.column_stack([np.interp((start, end), walked, points[:, k]) for k in (0, 1)])
        for start, end in zip(starts, ends, strict=True)
    ]


def paint_words(canvas: Canvas, words: Words, cloth: Cloth, place: Place) -> None:
    """Prints words flat on the garment, turned with it; the letters are Pillow's own."""
    size = words.height * place.scale * FINE
    font = ImageFont.load_default(size)
    box = font.getbbox(words.text)
    across, down = box[2] - box[0] + 8, box[3] - box[1] + 8
    image = Image.new("L", (int(across), int(down)))
    ImageDraw.Draw(image).text(
        (4 - box[0], 4 - box[1]),
        words.text,
        fill=255,
        font=font,
        stroke_width=max(size / 30, 1),
        stroke_fill=255,
    )
    limit = 0.42 * place.scale * FINE
    if image.width > limit:
        image = image.resize((int(limit), int(image.height * limit / image.width)))
    angle = float(np.degrees(np.arctan2(place.matrix[1, 0], place.matrix[0, 0])))
    image = image.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
    middle = place.pixels(np.array([words.middle]))[0]
    corner = middle - np.array(image.size) / FINE / 2
    at = window(np.array([corner, corner + np.array(image.size) / FINE]), 2, canvas)
    if at is None:
        return
    whole = Image.new("L", (at[2] * FINE, at[3] * FINE))
    whole.paste(image, tuple(int(v) for v in (corner - at[:2]) * FINE))
    ink = np.asarray(whole.reduce(FINE), np.float32) / 255 * 0.95
    lay(canvas, at, ink * inked(canvas, at), cloth.colour)
