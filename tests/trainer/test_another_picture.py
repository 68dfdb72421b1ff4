"""The fixed transform, on pictures whose outcome is known."""

import numpy as np
import pytest
from PIL import Image

from hashing.picture import decode
from tests.pictures import encoded
from trainer.another_picture import COLOUR_CAST, another_picture, read_other_pictures
from trainer.data import DataError


def transformed(pixels: np.ndarray) -> np.ndarray:
    other = another_picture(encoded(Image.fromarray(pixels), "PNG"))
    return np.asarray(decode(other, 2048)).astype(int)


def test_a_plain_picture_takes_the_colour_cast_and_loses_15_percent_of_each_side():
    plain = np.full((160, 120, 3), (100, 120, 200), np.uint8)
    other = transformed(plain)
    assert other.shape == (136, 102, 3)  # 160 - 2 * 12 and 120 - 2 * 9
    wanted = np.array([100, 120, 200]) * COLOUR_CAST
    assert np.abs(other - wanted).max() <= 4  # JPEG rounds


def test_what_lies_at_the_border_is_cut_off():
    bordered = np.full((80, 80, 3), 128, np.uint8)
    bordered[:4] = bordered[-4:] = bordered[:, :4] = bordered[:, -4:] = 0  # of 6 that are cut off
    green = transformed(bordered)[..., 1]
    assert green.shape == (68, 68) and green.min() > 110


def test_details_below_a_quarter_of_the_resolution_are_gone():
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, ::2] = 200
    green = transformed(stripes)[..., 1]
    assert green.mean() == pytest.approx(100, abs=2) and green.std() < 3


def test_it_is_the_same_every_time_and_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    assert another_picture(data) == another_picture(data)
    assert another_picture(data).startswith(b"\xff\xd8")


def test_missing_products_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no fashion_products"):
        read_other_pictures(tmp_path, 32, "bilinear")
