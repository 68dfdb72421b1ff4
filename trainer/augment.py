"""Augmentation: a picture as a phone, a shop's studio or a small preview would have shown it.

In two steps, so that what is drawn at random does not depend on how a batch is shared out among
processes: `draw` draws the numbers for a whole batch, `apply` makes the pictures.
"""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

COARSE_SIDES = (64, 48, 32, 20)
"""Sides in pixels that a picture is reduced to and enlarged from, as small previews are."""
WHITE = 0.9
"""Least brightness of the darkest channel of a studio's background."""
FLOOD_SIDE, FLOOD_STEPS = 32, 16

Draw = dict[str, torch.Tensor]
"""Random numbers of a batch by name, each float [n] or [n, ...]."""


def draw(n: int, random: torch.Generator) -> Draw:
    """Random numbers for n pictures."""

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=random)

    return {
        "scale": uniform(), "aspect": uniform(), "angle": uniform(), "mirror": uniform(),
        "shift": uniform(2),
        "background": uniform(), "colours": uniform(3, 3, 3), "texture": uniform(3, 16, 16),
        "pale": uniform(),
        "spotlight": uniform(), "radius": uniform(),
        "coarse": uniform(), "side": uniform(),
        "cast": uniform(), "gains": uniform(3), "light": uniform(3),
        "blur": uniform(), "jpeg": uniform(), "quality": uniform(),
    }  # fmt: skip


def apply(images: torch.Tensor, drawn: Draw, size: int, strength: str) -> torch.Tensor:
    """float [n, 3, s, s] in 0-1 -> float [n, 3, size, size] in 0-1, on the CPU.

    strength: `none` only resizes.  `mild` moves, mirrors and lights a little: another upload of the
    same picture.  `phone` does so strongly and changes backgrounds, colour temperature, sharpness,
    resolution and compression as well: the studio's picture as a phone's and, where a spotlight
    leaves the middle on white, the phone's as a studio's.
    """
    if strength == "none":
        return _resized(images, size)
    if strength == "mild":
        return _lit(_moved(images, drawn, size, smallest=0.8, turn=3), drawn, 0.05)
    images = _where(drawn["background"] < 0.35, images, drawn, _on_another_background)
    images = _where(drawn["spotlight"] < 0.15, images, drawn, _in_the_spotlight)
    images = _where(drawn["coarse"] < 0.4, images, drawn, _coarse)
    images = _where(drawn["blur"] < 0.1, images, drawn, _blurred)
    images = _moved(images, drawn, size, smallest=0.55, turn=12)
    images = _where(drawn["cast"] < 0.7, images, drawn, _cast)
    images = _lit(images, drawn, 0.2)
    return _where(drawn["jpeg"] < 0.3, images, drawn, _compressed)


def _where(chosen: torch.Tensor, images: torch.Tensor, drawn: Draw, change) -> torch.Tensor:
    """The images with the chosen ones changed."""
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    own = {name: values[rows] for name, values in drawn.items()}
    return images.index_copy(0, rows, change(images[rows], own))


def _resized(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def _moved(
    images: torch.Tensor, drawn: Draw, size: int, smallest: float, turn: float
) -> torch.Tensor:
    """Cut out, stretched, turned by up to `turn` degrees, mirrored half of the time.  smallest: the
    least share of the side that is cut out; the largest is 1.1."""
    largest = 1.1
    scale = smallest + (largest - smallest) * drawn["scale"]
    aspect = torch.exp(math.log(1.2) * (2 * drawn["aspect"] - 1))
    width, height = scale * aspect.sqrt(), scale / aspect.sqrt()
    angle = math.radians(turn) * (2 * drawn["angle"] - 1)
    mirror = torch.where(drawn["mirror"] < 0.5, -1.0, 1.0)
    shift = (largest - scale)[:, None] * (2 * drawn["shift"] - 1)
    # Rows of the affine maps from output to input coordinates, in -1..1.
    rows = [
        torch.stack([width * mirror * angle.cos(), -height * angle.sin(), shift[:, 0]], 1),
        torch.stack([width * mirror * angle.sin(), height * angle.cos(), shift[:, 1]], 1),
    ]
    shape = [len(images), 3, size, size]
    grid = F.affine_grid(torch.stack(rows, dim=1), shape, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _lit(images: torch.Tensor, drawn: Draw, range_: float) -> torch.Tensor:
    """Contrast, brightness and saturation, each changed by up to `range_`."""
    contrast, brightness, saturation = (range_ * (2 * drawn["light"] - 1)).T[:, :, None, None, None]
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (1 + 1.5 * saturation)
    return ((images - 0.5) * (1 + contrast) + 0.5 + brightness / 2).clamp(0, 1)


def _cast(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Light of another colour: red, green and blue each times 0.8 to 1.25."""
    gains = torch.exp(math.log(1.25) * (2 * drawn["gains"] - 1))
    return (images * gains[:, :, None, None]).clamp(0, 1)


def _on_another_background(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """What is white and reaches the border replaced by a coloured gradient with a texture."""
    size = images.shape[-2:]
    background = _enlarged(drawn["colours"], size) + 0.4 * (_enlarged(drawn["texture"], size) - 0.5)
    grey = background.mean(dim=1, keepdim=True)
    background = (grey + (background - grey) * drawn["pale"][:, None, None, None]).clamp(0, 1)
    mask = _studio_background(images)
    return images * (1 - mask) + background * mask


def _studio_background(images: torch.Tensor) -> torch.Tensor:
    """Where a studio's white background is, 0-1 [n, 1, s, s]: near white and joined to the border
    by near white, found by letting the border grow inwards."""
    white = (images.min(dim=1, keepdim=True).values > WHITE).float()
    small = F.interpolate(white, size=(FLOOD_SIDE, FLOOD_SIDE), mode="area")
    allowed = (small > 0.5).float()
    flood = torch.zeros_like(allowed)
    flood[:, :, [0, -1], :] = 1
    flood[:, :, :, [0, -1]] = 1
    flood *= allowed
    for _ in range(FLOOD_STEPS):
        flood = F.max_pool2d(flood, 3, 1, 1) * allowed
    # One step more at full size, so that the mask reaches the product's outline.
    grown = _enlarged(F.max_pool2d(flood, 3, 1, 1), images.shape[-2:])
    return F.avg_pool2d(grown * white, 3, 1, 1)


def _in_the_spotlight(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """White outside of an ellipse around the middle, with a soft edge."""
    size = images.shape[-1]
    axis = torch.linspace(-1, 1, size)
    distance = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    radius = 0.7 + 0.4 * drawn["radius"][:, None, None, None]
    outside = ((distance - radius) / 0.15).clamp(0, 1)
    return images * (1 - outside) + outside


def _coarse(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Reduced to one of COARSE_SIDES and enlarged again."""
    size = images.shape[-2:]
    result = images.clone()
    sides = (drawn["side"] * len(COARSE_SIDES)).long().clamp_max(len(COARSE_SIDES) - 1)
    for number, side in enumerate(COARSE_SIDES):
        rows = (sides == number).nonzero()[:, 0]
        if len(rows) and side < size[0]:
            small = F.interpolate(images[rows], size=(side, side), mode="area")
            result[rows] = _enlarged(small, size)
    return result


def _blurred(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    return F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, 1)


def _compressed(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Saved as JPEG of quality 20 to 80 and opened again."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    opened = []
    for one, quality in zip(pixels, (20 + 60 * drawn["quality"]).int().tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=quality)
        opened.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2).to(images) / 255


def _enlarged(images: torch.Tensor, size) -> torch.Tensor:
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
