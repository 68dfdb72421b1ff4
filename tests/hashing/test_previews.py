"""Pictures that cost too much whole, and are read in the less detail that their files offer."""

import functools
import io
import random
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from hashing import picture, stored
from hashing.formats import look
from hashing.picture import PictureError
from tests.drawing import draw
from tests.hashing.test_cost import mutated
from tests.pictures import encoded

pillow_heif.register_heif_opener()  # that it can be written

EDGE = 96
OF_JPEG, OF_HEIC = (1600, 1200), (1000, 750)  # a HEIC takes long to write


def photo(size: tuple[int, int]) -> Image.Image:
    return draw(1, 3).resize(size)


def progressive(**options) -> bytes:
    return encoded(photo(OF_JPEG), "JPEG", quality=90, progressive=True, **options)


@functools.cache
def heic(preview: int = 320, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(OF_HEIC), "HEIF", quality=60, thumbnails=[preview], exif=exif)


def seen(data: bytes) -> np.ndarray:
    return picture.pixels(picture.decode(data, EDGE), EDGE).astype(int)


@pytest.fixture
def poor(monkeypatch):
    """poor(seconds): from then on a picture may cost no more than that."""
    return lambda seconds: monkeypatch.setattr(stored, "MOST_SECONDS", seconds)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_of_a_progressive_jpeg_the_scans_are_left_out_that_add_detail(options, poor):
    data = progressive(**options)
    whole = seen(data)
    poor(0.012)
    found = look(data)
    assert found.is_too_much and found.preview and len(found.preview.data) < len(data) / 3
    assert np.abs(seen(data) - whole).mean() < 2
    assert picture.decode(data, EDGE).size == (200, 150)


def test_a_progressive_jpeg_of_one_channel_is_read_too(poor):
    data = encoded(photo(OF_JPEG).convert("L"), "JPEG", quality=90, progressive=True)
    whole = seen(data)
    poor(0.012)
    assert look(data).is_too_much and np.abs(seen(data) - whole).mean() < 2


def test_without_its_end_a_progressive_jpeg_is_refused_that_costs_too_much(poor):
    poor(0.012)
    with pytest.raises(PictureError, match=r"megapixels, the limit for JPEG stored like this is"):
        picture.decode(progressive()[:-2], EDGE)


@pytest.mark.parametrize("orientation", [1, 6, 2])
def test_the_preview_of_a_heic_is_read(orientation, poor):
    """Writes one."""
    data = heic(orientation=orientation)
    whole = seen(data)
    poor(0.015)
    image = picture.decode(data, EDGE)
    assert sorted(image.size) == [240, 320] and np.abs(seen(data) - whole).mean() < 3


def test_a_preview_that_is_small_or_of_another_shape_is_not(poor):
    """Writes three HEICs."""
    size, other = struct.pack(">II", 320, 240), struct.pack(">II", 320, 320)
    poor(0.015)
    for data in (
        heic(128),
        heic().replace(size, other),
        encoded(photo(OF_HEIC), "HEIF", quality=60),
    ):
        with pytest.raises(PictureError, match=r"1000x750 = 0\.8 megapixels, the limit for HEIF"):
            picture.decode(data, EDGE)


def test_the_limit_of_the_operator_holds_for_the_whole_picture(poor):
    poor(0.015)
    with pytest.raises(PictureError, match="the limit for HEIF stored like this is"):
        picture.decode(heic(), EDGE, max_pixels=500_000)


@pytest.mark.parametrize("build", [heic, progressive])
def test_mutated_files_are_read_or_refused(build, poor):
    data, rng = build(), random.Random(1)
    poor(0.015 if build is heic else 0.012)
    for _ in range(60):
        changed = mutated(rng, data[:3000]) + data[3000:]
        try:
            assert picture.decode(changed, EDGE).mode == "RGB"
        except PictureError as error:
            assert error.kind in ("damaged_image", "too_many_pixels", "not_an_image")


def test_what_is_read_in_less_detail_is_a_file_of_its_format(poor):
    poor(0.012)
    preview = look(progressive()).preview
    assert preview and Image.open(io.BytesIO(preview.data)).size == OF_JPEG
