"""Augmentation of a whole batch at once: cheap enough to run beside the training on two cores."""

import math

import torch
import torch.nn.functional as F


def augment(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """float [n, 3, s, s] in 0-1 -> the same shape: moved, turned, recoloured, at low resolution.

    Scale 0.55-1.05 of the picture's side, aspect 0.85-1.18, shift, up to 9 degrees, mirrored half
    of the time; brightness and contrast; 30 % of the calls at half resolution.
    """
    images = _lower_resolution(images, random)
    grid = F.affine_grid(_affine(len(images), random), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return _light(images, random)


def _affine(n: int, random: torch.Generator) -> torch.Tensor:
    """Random affine maps, float [n, 2, 3], from output to input coordinates in -1..1."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(n).uniform_(low, high, generator=random)

    scale = uniform(0.55, 1.05)
    aspect = torch.exp(uniform(math.log(0.85), math.log(1.18)))
    width, height = scale * aspect.sqrt(), scale / aspect.sqrt()
    angle = uniform(-math.radians(9), math.radians(9))
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    room = (1.05 - scale).clamp_min(0)
    rows = [
        torch.stack(
            [width * mirror * angle.cos(), -height * angle.sin(), room * uniform(-1, 1)], 1
        ),
        torch.stack([width * mirror * angle.sin(), height * angle.cos(), room * uniform(-1, 1)], 1),
    ]
    return torch.stack(rows, dim=1)


def _light(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    contrast = torch.empty(len(images), 1, 1, 1).uniform_(0.8, 1.2, generator=random)
    brightness = torch.empty(len(images), 1, 1, 1).uniform_(-0.1, 0.1, generator=random)
    return ((images - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def _lower_resolution(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    if torch.rand((), generator=random) >= 0.3:
        return images
    size = images.shape[-2:]
    return F.interpolate(F.avg_pool2d(images, 2), size=size, mode="bilinear", align_corners=False)
