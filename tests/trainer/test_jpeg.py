"""JPEG as arithmetic, against what Pillow's files give."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.jpeg import compressed


def a_picture(side: int) -> np.ndarray:
    """Smooth colours and edges, uint8 [side, side, 3]."""
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    pixels = np.array(small.resize((side, side), Image.Resampling.BICUBIC))
    pixels[side // 3 : side // 2, side // 4 :] = (200, 40, 60)
    return pixels


def of_a_file(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("side", [64, 72])
@pytest.mark.parametrize("quality", [25, 60, 90])
def test_it_is_near_to_what_a_file_gives(quality, side):
    pixels = a_picture(side)
    images = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2).float() / 255
    got = compressed(images, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255
    wanted = of_a_file(pixels, quality).astype(float)
    lost = np.abs(wanted - pixels).mean()
    assert got.shape == wanted.shape and np.abs(got - wanted).mean() < 0.6 * lost + 1
    assert np.abs(got - pixels).mean() == pytest.approx(lost, rel=0.4, abs=1)


def test_every_picture_has_its_own_quality():
    images = (
        torch.from_numpy(a_picture(32))[None].permute(0, 3, 1, 2).float().repeat(2, 1, 1, 1) / 255
    )
    both = compressed(images, torch.tensor([20.0, 95.0]))
    losses = (both - images).abs().mean(dim=(1, 2, 3))
    assert losses[0] > 2 * losses[1]
    assert torch.allclose(both[1], compressed(images[1:], torch.tensor([95.0]))[0], atol=1e-6)
