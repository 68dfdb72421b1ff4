"""JPEG as arithmetic, on whichever device the pictures are: what its quantisation leaves of them.

Tables and steps are those of ITU-T T.81 (annexes A and K), with colours at half the resolution and
scaled by quality as libjpeg does.
"""

import math

import torch
import torch.nn.functional as F

BLOCK = 8

_BRIGHTNESS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOUR = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK,) * 4,
)


def compressed(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Pictures as they are after being saved as JPEG: float [n, 3, h, w] in 0-1, quality float [n]
    in 1-100."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate") * 255
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    red, green, blue = padded.unbind(1)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = torch.stack([(blue - brightness) * 0.564, (red - brightness) * 0.713], 1)
    brightness = _quantised(brightness - 128, _BRIGHTNESS, scale) + 128
    small = F.avg_pool2d(colours, 2)
    small = torch.stack([_quantised(one, _COLOUR, scale) for one in small.unbind(1)], 1)
    whole = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    to_blue, to_red = whole.unbind(1)
    opened = torch.stack(
        [
            brightness + 1.403 * to_red,
            brightness - 0.344 * to_blue - 0.714 * to_red,
            brightness + 1.773 * to_blue,
        ],
        1,
    )
    return (opened / 255).clamp(0, 1)[:, :, :height, :width]


def _quantised(values: torch.Tensor, table: tuple, scale: torch.Tensor) -> torch.Tensor:
    """Values [n, h, w] in -128 to 127, their blocks' cosine transform rounded to steps of the
    table, times `scale`."""
    n, height, width = values.shape
    blocks = values.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(2, 3)
    transform = _cosine_transform().to(values)
    steps = torch.tensor(table, device=values.device) * scale[:, None, None]
    steps = (steps + 0.5).floor().clamp(1, 255)[:, None, None]
    rounded = (transform @ blocks @ transform.T / steps).round() * steps
    return (transform.T @ rounded @ transform).transpose(2, 3).reshape(n, height, width)


def _cosine_transform() -> torch.Tensor:
    """The orthonormal one of type II, [8, 8]."""
    k = torch.arange(BLOCK, dtype=torch.float32)
    waves = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * BLOCK))
    return waves * torch.where(k == 0, BLOCK**-0.5, (BLOCK / 2) ** -0.5)[:, None]
