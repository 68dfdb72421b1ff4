"""The fixed list of changes, on pictures whose outcome is known."""

import numpy as np
import pytest
from PIL import Image

from hashing.changed import CHANGES, SCREEN, changed
from hashing.picture import decode
from tests.pictures import encoded


def halves() -> Image.Image:
    """200 x 300 pixels, red at the left and blue at the right."""
    pixels = np.zeros((300, 200, 3), np.uint8)
    pixels[:, :100, 0] = pixels[:, 100:, 2] = 200
    return Image.fromarray(pixels)


def after(name: str) -> np.ndarray:
    data = encoded(halves(), "PNG")
    one = changed(data, CHANGES[name])
    assert one == changed(data, CHANGES[name]) and one.startswith(b"\xff\xd8")
    return np.asarray(decode(one, 2048)).astype(int)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("half of each side", (100, 150)),
        ("100 pixels", (67, 100)),
        ("white border of 5 %", (220, 330)),
        ("white border of 20 %", (280, 420)),
        ("black border of 10 %", (240, 360)),
        ("padded to a square", (300, 300)),
        ("phone screenshot", SCREEN),
        ("mirrored", (200, 300)),
        ("grey", (200, 300)),
        ("80 % of the middle", (160, 240)),
        ("turned by 90 degrees", (300, 200)),
    ],
)
def test_a_change_gives_a_picture_of_its_size(name, size):
    assert after(name).shape == (size[1], size[0], 3)


def test_these_are_all_changes():
    assert len(CHANGES) == 11


@pytest.mark.parametrize(
    ("name", "colour", "inside"),
    [
        ("white border of 5 %", 255, (15, 205)),
        ("white border of 20 %", 255, (60, 220)),
        ("black border of 10 %", 0, (30, 210)),
        ("padded to a square", 255, (0, 300)),
        ("phone screenshot", 0, (180, 990)),
    ],
)
def test_around_the_picture_lies_its_border(name, colour, inside):
    pixels, (top, bottom) = after(name), inside
    middle = pixels[:, pixels.shape[1] // 2 - 10]
    assert np.abs(pixels[2, 2] - colour).max() <= 4 and np.abs(pixels[-2, -2] - colour).max() <= 4
    assert (middle[top + 4 : bottom - 4, 0] > 150).all()


def test_what_is_mirrored_turned_or_grey():
    left, right = after("mirrored")[100, 20], after("mirrored")[100, 180]
    assert left[2] > 150 > left[0] and right[0] > 150 > right[2]
    turned = after("turned by 90 degrees")  # against the clock: the right side comes to the top
    assert turned[20, 100, 2] > 150 and turned[180, 100, 0] > 150
    assert np.ptp(after("grey"), axis=2).max() <= 2


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (60, 80)])
def test_every_picture_can_be_changed(name, size):
    data = encoded(Image.new("RGB", size, (90, 20, 10)), "PNG")
    assert decode(changed(data, CHANGES[name]), 2048).size
