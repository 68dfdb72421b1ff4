"""Margins that are cut off, what is never cut, and the square that a model looks at."""

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from hashing import picture
from hashing.framing import Frame, frame
from hashing.picture import PictureError, crop, pixels, read
from tests.pictures import encoded

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def bordered(image: Image.Image, colour, left: int, top: int, right: int, bottom: int):
    size = (image.width + left + right, image.height + top + bottom)
    whole = Image.new("RGB", size, colour)
    whole.paste(image, (left, top))
    return whole


def content(image: Image.Image) -> Image.Image:
    return image.crop(frame(image).box)


# What is cut


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    sides=st.tuples(*[st.integers(0, 30)] * 4),
    size=st.tuples(st.integers(5, 40), st.integers(5, 40)),
)
@settings(max_examples=60, deadline=None)
def test_a_border_of_any_colour_is_cut_off_and_nothing_else(colour, sides, size):
    inside = noise(*size)
    found = frame(bordered(inside, colour, *sides))
    left, top, _, _ = sides
    assert found.box == (left, top, left + size[0], top + size[1])
    if any(sides):
        assert found.colour == colour


def test_borders_within_borders_are_cut_off_until_none_is_left():
    image = noise(30, 40)
    for colour in [(250, 250, 250), (40, 40, 40), WHITE, (200, 30, 30)]:
        image = bordered(image, colour, 7, 5, 9, 11)
    assert frame(image).box == (28, 20, 58, 60)
    assert frame(image).colour == (250, 250, 250), "the innermost"


def test_bars_beside_margins_are_cut_off():
    """A product before white, on a phone: black bars above and below, white at all sides."""
    product = bordered(noise(40, 60), WHITE, 20, 10, 20, 10)
    screen = bordered(product, BLACK, 0, 50, 0, 50)
    assert content(screen).tobytes() == noise(40, 60).tobytes()


def test_text_in_a_bar_goes_with_it():
    screen = bordered(noise(200, 300), (20, 20, 22), 0, 60, 0, 80)
    draw = ImageDraw.Draw(screen)
    draw.text((5, 8), "12:34", "white")
    draw.rectangle((160, 10, 190, 16), "grey")
    draw.line((0, 40, 200, 40), "white")
    draw.ellipse((90, 400, 110, 420), "white")
    assert frame(screen).box == (0, 60, 200, 360)


def test_two_things_apart_are_both_kept():
    """Earrings, a pair of shoes one above the other: neither is a strip of text."""
    image = Image.new("RGB", (100, 100), WHITE)
    image.paste(noise(60, 8), (20, 10))
    image.paste(noise(60, 70), (20, 25))
    assert frame(image).box == (20, 10, 80, 95)


@pytest.mark.parametrize("quality", [40, 60, 75, 90])
@pytest.mark.parametrize("colour", [WHITE, BLACK, (200, 60, 60), (128, 128, 128)])
def test_noise_of_jpeg_does_not_keep_a_margin(quality, colour):
    inside = noise(20, 30).resize((160, 240), Image.Resampling.BICUBIC)
    data = encoded(bordered(inside, colour, 48, 64, 48, 64), "JPEG", quality=quality)
    left, top, right, bottom = frame(Image.open(io.BytesIO(data))).box
    # Nothing of it is lost, and what is kept too much is within the JPEG's blocks of 16 pixels.
    assert 32 <= left <= 52 and 48 <= top <= 68
    assert 204 <= right <= 224 and 300 <= bottom <= 320


def test_a_speck_does_not_keep_a_margin():
    image = bordered(noise(100, 100), WHITE, 100, 100, 100, 100)
    image.putpixel((7, 9), BLACK)
    image.putpixel((150, 291), BLACK)
    assert frame(image).box == (100, 100, 200, 200)


# What is kept


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 3), (200, 300)])
@pytest.mark.parametrize("colour", [WHITE, BLACK, (12, 200, 99)])
def test_a_picture_of_one_colour_is_kept_whole(size, colour):
    image = Image.new("RGB", size, colour)
    assert frame(image) == Frame((0, 0, *size), colour)
    assert (pixels(image, 16, framing="letter") == colour).all()


def test_one_colour_within_a_border_is_kept():
    image = bordered(Image.new("RGB", (30, 20), "red"), WHITE, 5, 6, 7, 8)
    assert frame(image) == Frame((5, 6, 35, 26), WHITE)


@pytest.mark.parametrize("box", [(0, 50, 80, 51), (40, 0, 41, 100)])
def test_a_line_of_one_pixel_is_what_is_left(box):
    image = Image.new("RGB", (80, 100), WHITE)
    image.paste(BLACK, box)
    assert frame(image) == Frame(box, WHITE)
    square = pixels(image, 16, framing="letter")
    assert 16 <= (square == 0).all(axis=2).sum() <= 32 and (square[0, 0] == 255).all()


def shirt() -> Image.Image:
    """White before white: 8 levels darker, with folds, and a label."""
    image = Image.new("RGB", (300, 400), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 80, 239, 339), (247, 247, 247))
    for column in range(70, 230, 20):
        draw.line((column, 90, column, 330), (243, 243, 243), 3)
    draw.rectangle((140, 110, 159, 119), (40, 40, 120))
    return image


def test_a_white_shirt_before_white_does_not_shrink_to_its_label():
    left, top, right, bottom = frame(shirt()).box
    assert abs(left - 60) <= 1 and abs(top - 80) <= 1
    assert abs(right - 240) <= 1 and abs(bottom - 340) <= 1


def test_a_white_shirt_without_a_label_is_kept_whole():
    image = shirt()
    image.paste((247, 247, 247), (135, 105, 165, 125))
    assert frame(image).box == (0, 0, 300, 400)


def test_a_slow_gradient_is_not_eaten_line_by_line():
    """A wall, the sky: every row is of one colour, and none has the colour of the first."""
    shades = np.linspace(250, 60, 600).astype(np.uint8)
    wall = Image.fromarray(np.broadcast_to(shades[:, None, None], (600, 450, 3)).copy())
    left, top, right, bottom = frame(wall).box
    assert (left, right) == (0, 450) and top <= 60 and bottom >= 540


def test_a_dark_corner_keeps_a_photo_whole():
    rows, columns = np.mgrid[-1:1:200j, -1:1:150j]
    grey = (200 - 60 * (rows**2 + columns**2)).astype(np.uint8)
    photo = Image.fromarray(np.repeat(grey[..., None], 3, axis=2))
    assert frame(photo).box == (0, 0, 150, 200)


def test_a_picture_without_margins_is_kept_whole_and_has_the_median_of_its_edges():
    image = noise(90, 70)
    image.paste((10, 200, 30), (0, 0, 90, 1))
    image.paste((10, 200, 30), (0, 0, 1, 70))
    image.paste((10, 200, 30), (0, 69, 60, 70))
    image = image.transpose(Image.Transpose.ROTATE_90)
    image.paste(noise(30, 1), (0, 0))
    found = frame(bordered(image, (10, 200, 30), 0, 0, 0, 0))
    assert found.colour == (10, 200, 30)


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    levels=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_whatever_a_picture_shows_something_is_left_and_the_same_every_time(size, levels, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (levels, 3), np.uint8)[
        np.sort(rng.integers(0, levels, (size[1], size[0])), axis=seed % 2)
    ]
    image = Image.fromarray(values)
    left, top, right, bottom = frame(image).box
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert frame(image) == frame(image.copy())
    assert np.array_equal(pixels(image, 24, framing="letter"), pixels(image, 24, framing="letter"))


def test_turning_a_picture_turns_its_frame():
    image = bordered(bordered(noise(40, 60), WHITE, 20, 10, 30, 15), BLACK, 3, 50, 0, 40)
    turned = image.transpose(Image.Transpose.ROTATE_180)
    assert (
        content(turned).tobytes() == content(image).transpose(Image.Transpose.ROTATE_180).tobytes()
    )


# Pictures that are large, or made to take time


@pytest.mark.parametrize("margin", [(100, 200, 300, 50), (1, 400, 0, 3)])
def test_a_large_picture_has_the_frame_of_what_is_in_it(margin):
    """Of two megapixels and more: looked at in a reduced copy, and then where something is."""
    inside = noise(500, 400)
    left, top, right, bottom = margin
    image = bordered(bordered(inside, WHITE, *[50] * 4), BLACK, *margin)
    image = bordered(image, (200, 0, 0), 600, 600, 600, 600)
    assert image.width * image.height > 2_000_000
    found = frame(image)
    x, y = left + 650, top + 650
    assert found == Frame((x, y, x + 500, y + 400), WHITE)


def test_of_a_large_picture_with_thin_margins_they_are_cut_to_a_pixel_of_its_copy():
    image = bordered(noise(90, 70).resize((1800, 1400)), BLACK, 40, 30, 20, 10)
    wanted = (40, 30, 1840, 1430)
    found = frame(image).box
    assert all(abs(side - own) <= 2 for side, own in zip(found, wanted, strict=True))


def test_a_picture_of_a_thousand_frames_takes_no_longer_than_one_of_some():
    """Each ring has a colour of its own, far from the one before it."""
    rows, columns = np.mgrid[0:900, 0:900]
    ring = np.minimum.reduce([rows, columns, 899 - rows, 899 - columns]) // 2
    values = np.stack([ring * 97 % 256, ring * 31 % 256, ring * 151 % 256], axis=2)
    image = Image.fromarray(values.astype(np.uint8))
    begun = time.thread_time()
    left, top, right, bottom = frame(image).box
    assert time.thread_time() - begun < 2 and right > left and bottom > top


# The square


def test_letter_keeps_the_proportions_in_the_middle_of_a_square_of_the_margin_s_colour():
    image = bordered(noise(20, 40), (90, 10, 10), 30, 5, 0, 2)
    square = pixels(image, 40, framing="letter")
    assert np.array_equal(square[:, 10:30], noise(20, 40)), "not resized"
    assert (square[:, :10] == (90, 10, 10)).all() and (square[:, 30:] == (90, 10, 10)).all()


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000), (3, 1000)])
def test_a_thin_picture_has_at_least_a_line_in_the_square(size):
    square = pixels(noise(*size), 16, framing="letter")
    assert square.shape == (16, 16, 3) and len(np.unique(square.reshape(-1, 3), axis=0)) > 1


@pytest.mark.parametrize("colour", [WHITE, BLACK, (180, 40, 90)])
def test_a_picture_looks_the_same_in_any_border(colour):
    product = bordered(noise(30, 20).resize((120, 80)), WHITE, 10, 30, 10, 30)
    wanted = pixels(product, 32, framing="letter")
    for size in (5, 60):
        square = pixels(bordered(product, colour, *[size] * 4), 32, framing="letter")
        assert np.array_equal(square, wanted)


def test_squash_takes_the_whole_picture():
    image = bordered(noise(20, 40), WHITE, 30, 5, 0, 2)
    wanted = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels(image, 24), wanted)
    assert np.array_equal(pixels(image, 24, framing="squash"), wanted)


# Pixels enough


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("margin", [0, 300, 1400])
def test_what_is_left_has_twice_the_pixels_of_the_input_where_the_file_has_them(kind, margin):
    inside = noise(20, 15).resize((400, 300), Image.Resampling.BICUBIC)
    data = encoded(bordered(inside, WHITE, *[margin] * 4), kind)
    view = read(data, 96, "letter")
    assert view.frame in (None, frame(view.image))
    left, top, right, bottom = frame(view.image).box
    assert 192 <= right - left <= 420


def test_a_far_smaller_product_keeps_every_pixel_it_has():
    data = encoded(bordered(noise(40, 30), WHITE, *[900] * 4), "PNG")
    assert content(read(data, 96, "letter").image).tobytes() == noise(40, 30).tobytes()


def test_squash_is_decoded_as_before():
    data = encoded(bordered(noise(400, 300), WHITE, *[900] * 4), "JPEG")
    assert read(data, 96, "squash").image.tobytes() == picture.decode(data, 96).tobytes()


def test_a_box_is_cut_out_before_its_margins():
    whole = Image.new("RGB", (1600, 1600), BLACK)
    whole.paste(bordered(noise(40, 30), WHITE, 80, 85, 80, 85), (400, 600))
    box = (0.25, 0.375, 0.375, 0.5)
    part = read(encoded(whole, "PNG"), 96, "letter", box).image
    assert content(part).tobytes() == noise(40, 30).tobytes()
    assert frame(part).colour == WHITE


def test_a_picture_is_framed_once(monkeypatch):
    counted = []
    monkeypatch.setattr(picture, "frame", lambda image: counted.append(image) or frame(image))
    data = encoded(bordered(noise(40, 30).resize((1200, 900)), WHITE, *[100] * 4), "JPEG")
    view = read(data, 96, "letter")
    square = pixels(view.image, 96, framing="letter", framed=view.frame)
    assert len(counted) == 1 and max(view.image.size) < 1400
    assert np.array_equal(square, pixels(view.image, 96, framing="letter"))


def test_only_a_picture_error_is_raised():
    with pytest.raises(PictureError, match="empty"):
        read(b"", 96, "letter")
    with pytest.raises(PictureError, match="megapixels"):
        read(encoded(noise(40, 30), "PNG"), 96, "letter", None, 1000)


# Parts


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    sides=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_part_has_a_pixel_and_lies_where_the_box_is(width, height, sides):
    left, right = sorted(sides[::2])
    top, bottom = sorted(sides[1::2])
    # Red and the tens of blue tell the column, green and the ones of blue the row.
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([columns % 256, rows % 256, columns // 256 * 10 + rows // 256], axis=2)
    pixels = pixels.astype(np.uint8)
    part = np.asarray(crop(Image.fromarray(pixels), (left, top, right, bottom)))
    red, green, blue = part[0, 0].tolist()
    first_column, first_row = red + blue // 10 * 256, green + blue % 10 * 256
    np.testing.assert_array_equal(
        part,
        pixels[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1]],
    )
    assert abs(first_column - left * width) <= 1 and abs(first_row - top * height) <= 1
    assert abs(part.shape[1] - (right - left) * width) <= 1
    assert abs(part.shape[0] - (bottom - top) * height) <= 1
