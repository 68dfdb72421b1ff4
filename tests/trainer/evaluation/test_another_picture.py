"""The fixed transform, on pictures whose outcome is known."""

import numpy as np
import pytest
from PIL import Image

from hashing.picture import decode
from tests.pictures import encoded
from trainer.evaluation.another_picture import (
    COLOUR_CAST,
    DEGREES,
    Transform,
    another_picture,
)


def transformed(pixels: np.ndarray, divisor: int = 2) -> np.ndarray:
    other = another_picture(encoded(Image.fromarray(pixels), "PNG"), Transform(divisor))
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


@pytest.mark.parametrize("divisor", (2, 4))
def test_details_finer_than_the_divisor_are_gone_and_coarser_ones_stay(divisor):
    def contrast(width: int) -> float:
        stripes = np.zeros((96, 96, 3), np.uint8)
        stripes[:, np.arange(96) // width % 2 == 0] = 200
        green = transformed(stripes, divisor)[..., 1]
        assert green.mean() == pytest.approx(100, abs=12)
        return green.std()

    assert contrast(divisor // 2) < 5
    assert contrast(divisor * 4) > 60


def test_the_standard_degree_leaves_a_quarter_of_the_pixels():
    quarter, coarser, alone = DEGREES.values()
    assert (quarter, coarser) == (Transform(2), Transform(4))
    assert (quarter.crop, quarter.colour_cast, quarter.jpeg_quality) == (0.15, (1.1, 1, 0.85), 60)
    assert alone.divisor == 2


def test_the_resolution_alone_leaves_borders_and_colours():
    plain = np.full((160, 120, 3), (100, 120, 200), np.uint8)
    data = encoded(Image.fromarray(plain), "PNG")
    other = np.asarray(decode(another_picture(data, DEGREES["the resolution alone"]), 2048))
    assert other.shape == plain.shape and np.abs(other.astype(int) - plain).max() <= 2


def test_it_is_the_same_every_time_and_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "PNG")
    assert another_picture(data, Transform(2)) == another_picture(data, Transform(2))
    assert another_picture(data, Transform(2)) != another_picture(data, Transform(4))
    assert another_picture(data, Transform(2)).startswith(b"\xff\xd8")
