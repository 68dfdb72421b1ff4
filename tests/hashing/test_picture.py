"""Bytes -> upright RGB picture, and what is refused."""

import base64
import binascii
import io
import random
import re
import signal
import string
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFile, ImageOps

from hashing import apart, picture
from hashing.codes import split
from hashing.picture import FORMATS, PictureError, decode, from_base64
from tests.drawing import draw
from tests.pictures import encoded

pillow_heif.register_heif_opener()  # that it can be written

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # pytest resets what `picture` sets

EDGE = 96  # side of the model input in these tests

LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "TIFF deflate": {"compression": "tiff_deflate"},
}
APART = {"AVIF": {"quality": 95}, "HEIF": {"quality": 95}, "JPEG2000": {}}
ALL = {**LOSSLESS, "JPEG": {}, "JPEG progressive": {"progressive": True}, "GIF": {}, **APART}


def drawing(width=120, height=80) -> Image.Image:
    """Four corners of different colours and a bar: no two orientations look the same."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 3, height // 3), "red")
    draw.rectangle((width // 2, 0, width, height // 4), "green")
    draw.rectangle((0, height // 2, width // 4, height), "blue")
    draw.line((width // 5, height // 5, width - 9, height - 9), "black", max(width // 20, 1))
    return image


def save(image: Image.Image, kind: str, **options) -> bytes:
    return encoded(image, kind.split()[0], **{**ALL[kind], **options})


def far(one, other) -> int:
    """The largest difference of a channel between two pictures of one size."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def refused(data: bytes, kind: str, words: str, **limits) -> None:
    with pytest.raises(PictureError, match=words) as caught:
        decode(data, EDGE, **limits)
    assert caught.value.kind == kind


# What is read


@pytest.mark.parametrize("kind", ALL)
def test_every_format_is_read(kind):
    image = decode(save(drawing(), kind), EDGE)
    assert (image.mode, image.size) == ("RGB", (120, 80))
    assert far(image, drawing()) == 0 if kind in LOSSLESS else np.mean(image) > 100


@pytest.mark.parametrize("kind", LOSSLESS)
@given(data=st.data())
@settings(max_examples=10)
def test_pixels_of_lossless_formats_are_kept(kind, data):
    width, height = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(decode(save(Image.fromarray(noise), kind), EDGE), noise)


@pytest.mark.parametrize("name", ["photo.png", "photo.txt"])
def test_content_counts_and_no_name(name, tmp_path):
    (tmp_path / name).write_bytes(save(drawing(), "JPEG"))
    assert decode((tmp_path / name).read_bytes(), EDGE).size == (120, 80)


def test_first_frame_of_many_is_taken():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for name, options in [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]:
        data = encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert far(decode(data, EDGE), frames[0]) == 0, name


@pytest.mark.parametrize(
    ("name", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})]
)
def test_of_an_animation_the_first_frame_that_shows_something_is_taken(name, options):
    plain = [Image.new("RGB", (120, 80), (i, 0, 0)) for i in range(12)]

    def seen(*frames: Image.Image) -> Image.Image:
        data = encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)
        return decode(data, EDGE)

    def is_near(one, other) -> bool:
        difference = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
        return difference.mean() <= (4 if name == "AVIF" else 0)

    assert is_near(seen(*plain[:4], drawing(), plain[5]), drawing())
    assert is_near(seen(*plain[:9], drawing()), drawing())
    assert is_near(seen(*plain[:10], drawing()), plain[0]), "ten are looked at"


def test_mpo_of_a_stereo_camera_is_read_as_the_jpeg_it_starts_with():
    data = encoded(drawing(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    assert decode(data, EDGE).size == (120, 80)


def test_frame_larger_than_the_gif_s_screen_is_read_whole():
    data = bytearray(encoded(drawing(), "GIF"))
    data[6:10] = struct.pack("<HH", 10, 10)
    assert decode(bytes(data), EDGE).size == (120, 80)


# Orientation

UNDO = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
"""Orientation -> what a camera that notes it stores of an upright picture."""


def photo(upright: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(UNDO[orientation](upright), kind, exif=exif)


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TIFF deflate"])
@pytest.mark.parametrize("size", [(120, 80), (900, 590)])
def test_exif_orientation_is_undone(kind, orientation, size):
    upright = drawing(*size)
    turned_back = decode(photo(upright, orientation, kind), EDGE)
    assert far(turned_back, decode(save(upright, kind), EDGE)) == 0


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("kind", APART)
def test_what_is_decoded_apart_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # AVIF and HEIC are written with the boxes irot and imir, which count there.
    data = save(UNDO[orientation](drawing()), kind, exif=exif.tobytes())
    if kind == "JPEG2000":  # which Pillow writes without it
        block = b"uuidJpgTiffExif->JP2" + exif.tobytes().removeprefix(b"Exif\0\0")
        stream = data.index(b"jp2c") - 4
        data = data[:stream] + struct.pack(">I", len(block) + 4) + block + data[stream:]
    turned_back = np.asarray(decode(data, EDGE), np.int16)
    assert np.abs(turned_back - np.asarray(drawing(), np.int16)).mean() < 4


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize(("size", "bits"), [((120, 80), 8), ((1001, 747), 3)])
def test_every_orientation_of_a_jpeg_has_the_same_code_within_few_bits(
    model, orientation, size, bits
):
    # A product, as in a catalogue: the outputs for a picture of nothing lie near zero, where a sign
    # follows the grain of the JPEG.  A small JPEG is coarse: turned, it is compressed differently,
    # and its margin ends at other pixels.
    upright = draw(3, 1).resize(size)
    inputs = [
        model.pixels(photo(upright, 1, "JPEG")),
        model.pixels(photo(upright, orientation, "JPEG")),
    ]
    codes, _ = split(model.codes(np.stack(inputs)))
    first, turned = np.unpackbits(codes, axis=1)
    assert (first != turned).sum() <= bits


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_passed_over(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert far(decode(save(drawing(), "PNG", exif=exif), EDGE), drawing()) == 0


@pytest.mark.parametrize("exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_a_broken_exif_block_does_not_spoil_the_photo(exif):
    data = save(drawing(), "JPEG", exif=b"Exif\0\0" + exif)
    assert decode(data, EDGE).size == (120, 80)


# Kinds of pixels

GREYS = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (8, 1))


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_cut_off(name):
    data = encoded(Image.fromarray(GREYS.astype(np.uint16) * 257), name)
    assert far(decode(data, EDGE), Image.fromarray(GREYS).convert("RGB")) == 0


def test_16_bit_colour_is_read():
    """Pillow writes none, so the PNG is put together here: one row, white and middle red."""
    row = b"\0" + struct.pack(">6H", 65535, 65535, 65535, 32896, 0, 0)
    data = png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), (b"IDAT", zlib.compress(row)))
    assert np.asarray(decode(data, EDGE)).tolist() == [[[255, 255, 255], [128, 0, 0]]]


def test_floating_point_from_0_to_1_is_grey():
    data = encoded(Image.fromarray(GREYS.astype(np.float32) / 255), "TIFF")
    assert far(decode(data, EDGE), Image.fromarray(GREYS).convert("RGB")) == 0


def test_floating_point_that_is_no_number_is_read():
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF"), EDGE).size == (4, 1)


def test_32_bit_grey_is_read():
    data = encoded(Image.fromarray(GREYS.astype(np.int32) * 257), "TIFF")
    assert far(decode(data, EDGE), Image.fromarray(GREYS).convert("RGB")) == 0


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(name):
    red = Image.new("CMYK", (40, 20), (0, 255, 255, 0))
    assert far(decode(encoded(red, name), EDGE), Image.new("RGB", (40, 20), (255, 0, 0))) <= 2


@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF"])
def test_1_bit_is_black_and_white(name):
    image = drawing().convert("1")
    assert far(decode(encoded(image, name), EDGE), image.convert("RGB")) == 0


@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_is_looked_up(name):
    image = drawing().quantize(16)
    assert far(decode(encoded(image, name), EDGE), image.convert("RGB")) == 0


def seen_through(name: str) -> bytes:
    """Left half red, right half transparent; the colour hidden there is blue."""
    image = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (20, 0, 40, 20))
    match name.split():
        case ["PNG", "palette"]:
            return encoded(image.quantize(8), "PNG")
        case ["PNG", "key"]:
            return encoded(image.convert("RGB"), "PNG", transparency=(0, 0, 255))
        case ["WEBP"]:
            return encoded(image, "WEBP", lossless=True, exact=True)
        case [plain]:
            return encoded(image, plain)


@pytest.mark.parametrize("name", ["PNG", "PNG palette", "PNG key", "WEBP", "TIFF", "GIF"])
def test_transparency_is_white(name):
    expected = Image.new("RGB", (40, 20), "white")
    expected.paste((255, 0, 0), (0, 0, 20, 20))
    assert far(decode(seen_through(name), EDGE), expected) == 0


def test_grey_with_alpha_is_laid_on_white():
    image = Image.new("LA", (4, 4), (0, 128))
    assert np.asarray(decode(encoded(image, "PNG"), EDGE)).tolist() == [[[127] * 3] * 4] * 4


# Size


@pytest.mark.parametrize(
    "kind", [*APART, "JPEG", "JPEG progressive", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
)
def test_a_large_picture_is_made_smaller_but_never_below_twice_the_edge(kind):
    image = decode(save(drawing(2000, 1300), kind), EDGE)
    assert 2 * EDGE <= min(image.size) < 4 * EDGE + 8
    assert far(picture.pixels(image, 8), picture.pixels(drawing(2000, 1300), 8)) < 25


def test_a_photo_of_12_megapixels_is_not_decoded_whole(monkeypatch):
    sizes = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: (load(self), sizes.append(self.size))[0]
    )
    decode(save(drawing(4000, 3000), "JPEG"), EDGE)
    assert set(sizes) == {(500, 375)}


@pytest.mark.parametrize("resampling", picture.RESAMPLINGS)
def test_pixels_are_a_square_whatever_the_shape(resampling):
    for size in [(1, 1), (1, 300), (500, 2)]:
        pixels = picture.pixels(Image.new("RGB", size, (10, 20, 30)), EDGE, resampling)
        assert (pixels.shape, pixels.dtype) == ((EDGE, EDGE, 3), np.uint8)
        assert (pixels == (10, 20, 30)).all()


# Limits


def gif(width: int, height: int) -> bytes:
    """A GIF of a few bytes whose screen is width x height."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def bomb(name: str, width: int, height: int) -> bytes:
    """A small file of the format that declares width x height."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), name))
    match name:
        case "PNG":
            data[16:24] = struct.pack(">II", width, height)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        case "JPEG":
            at = data.index(b"\xff\xc0") + 5
            data[at : at + 4] = struct.pack(">HH", height, width)
        case "WEBP":
            at = data.index(b"\x9d\x01\x2a") + 3
            data[at : at + 4] = struct.pack("<HH", width, height)
        case "BMP":
            data[18:26] = struct.pack("<II", width, height)
        case "TIFF":
            return tiff(width, height)
        case "GIF":
            return gif(width, height)
        case "AVIF" | "HEIF":
            at = data.index(b"ispe\0\0\0\0") + 8
            data[at : at + 8] = struct.pack(">II", width, height)
        case "JPEG2000":
            at = data.index(b"\xff\x4f\xff\x51") + 8
            data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_too_many_pixels_are_refused_before_anything_is_decoded(name, monkeypatch):
    def load(image):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    data = bomb(name, 15100, 15000)
    assert len(data) < 3000
    said = rf"15100x15000 = 226\.5 megapixels, the limit for {name} stored like this is \d+\.\d;"
    refused(data, "too_many_pixels", said)


def test_gif_frame_larger_than_its_screen_counts():
    data = bytearray(gif(8, 8))
    at = data.index(b",", 13)
    data[at + 5 : at + 9] = struct.pack("<HH", 9000, 8000)
    refused(bytes(data), "too_many_pixels", "9000x8000 = 72.0")


def test_tiff_tile_larger_than_the_picture_counts():
    tile = [(322, 4, 9000), (323, 4, 8000), (324, 4, 8), (325, 4, 9)]
    refused(tiff(extra=tile, without=(273, 278, 279)), "too_many_pixels", "9000x8000 = 72.0")


def test_tiff_with_both_strips_and_tiles_is_refused():
    tile = [(322, 4, 16), (323, 4, 16), (324, 4, 8), (325, 4, 9)]
    refused(tiff(extra=tile), "damaged_image", "both strips and tiles")


def test_the_limit_can_be_set_and_is_inclusive():
    data = encoded(Image.new("L", (400, 300)), "PNG")
    assert decode(data, EDGE, max_pixels=120_000).size == (400, 300)
    said = "400x300 = 0.1 megapixels, the limit for PNG stored like this is 0.1"
    refused(data, "too_many_pixels", said, max_pixels=119_999)
    refused(data, "too_many_pixels", "like this is 0.001", max_pixels=1000)


# Decoded apart


def test_heif_says_what_to_install_where_its_package_is_missing(monkeypatch):
    monkeypatch.setattr("hashing.formats.heif_reader", lambda: None)
    refused(save(drawing(), "HEIF"), "damaged_image", r"pip install 'efiss-ai\[heif\]'")


def test_a_decoder_that_ends_is_started_again_and_its_picture_is_refused(monkeypatch):
    data = save(drawing(), "AVIF")
    first = decode(data, EDGE)
    for number in (signal.SIGKILL, signal.SIGSEGV):
        apart._of_thread.process.send_signal(number)
        apart._of_thread.process.wait()
        assert far(decode(data, EDGE), first) == 0
    monkeypatch.setattr(apart, "_asked", lambda process, order: process.kill())
    refused(data, "damaged_image", "its decoder ended with -9")


def test_a_decoder_without_work_ends_and_is_started_when_there_is_some(monkeypatch):
    data = save(drawing(), "AVIF")
    first = decode(data, EDGE)
    process = apart._of_thread.process
    process.stdin.close()
    assert process.wait(60) == 0
    assert far(decode(data, EDGE), first) == 0


def test_threads_decode_side_by_side():
    data = [save(Image.new("RGB", (64, 64), (shade, 0, 0)), "JPEG2000") for shade in range(40)]
    with ThreadPoolExecutor(3) as pool:
        images = list(pool.map(lambda one: decode(one, EDGE), data))
    assert [image.getpixel((9, 9)) for image in images] == [(shade, 0, 0) for shade in range(40)]


# Hostile files


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, body in [(b"IHDR", header), *chunks, (b"IEND", b"")]:
        parts += [struct.pack(">I", len(body)), name, body]
        parts += [struct.pack(">I", binascii.crc32(name + body))]
    return b"".join(parts)


def tiff(width=16, height=16, extra=(), tail=b"", without=()) -> bytes:
    """Greyscale, with 256 pixels whatever it declares.  Extra tags as (number, type, value), or
    (number, type, count, offset)."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 256)]
    tags = [*(tag for tag in tags if tag[0] not in without), *extra]
    entries = [(*tag[:2], 1, tag[2]) if len(tag) == 3 else tag for tag in sorted(tags)]
    return (
        struct.pack("<2sHI", b"II", 42, 8 + 256)
        + bytes(256)
        + struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + bytes(4)
        + tail
    )


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    data = save(drawing(), "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("photo.jpg", save(drawing(), "JPEG"))
    return buffer.getvalue()


NO_PICTURES = {
    "one byte": b"\xff",
    "text": b"this is not a picture",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>',
    "zip": archive(),
    "gzip": b"\x1f\x8b\x08" + bytes(20),
    "zeros": bytes(10_000),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 10, 10, 8, 3) + bytes(40),
    "pdf": b"%PDF-1.7\n%%EOF",
    "ico": encoded(drawing(), "ICO"),
    "tga": encoded(drawing(), "TGA"),
    "ppm": encoded(drawing(), "PPM"),
    "jpeg's first bytes": b"\xff\xd8\xff",
    "png's signature": b"\x89PNG\r\n\x1a\n",
    "gif's header": b"GIF89a",
    "webp's header": b"RIFF\x24\0\0\0WEBPVP8 ",
}


@pytest.mark.parametrize("what", NO_PICTURES)
def test_what_is_no_picture_is_refused(what):
    refused(
        NO_PICTURES[what],
        "not_an_image",
        "not a picture in JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF or JPEG2000",
    )


def test_zero_bytes_are_refused():
    refused(b"", "not_an_image", r"empty \(0 bytes\)")


@pytest.mark.parametrize("kind", ALL)
def test_truncated_files_are_refused(kind):
    whole = save(drawing(300, 200), kind)
    for share in (0.01, 0.1, 0.5, 0.9):
        with pytest.raises(PictureError):
            decode(whole[: int(len(whole) * share)], EDGE)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "BMP", "JPEG"])
def test_empty_pictures_are_refused(name):
    with pytest.raises(PictureError):
        decode(bomb(name, 0, 0), EDGE)


def peak_megabytes(data: bytes) -> float:
    """Memory that Python held at most while it decoded (Pillow's pixels are not in it)."""
    tracemalloc.start()
    try:
        decode(data, EDGE)
    except PictureError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / 1e6


HEADER = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
ROW = (b"IDAT", zlib.compress(b"\0\0"))
INFLATES_TO_100_MB = zlib.compress(bytes(100_000_000), 1)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a profile", png(HEADER, (b"iCCP", b"k\0\0" + INFLATES_TO_100_MB), ROW)),
        ("a text", png(HEADER, (b"zTXt", b"k\0\0" + INFLATES_TO_100_MB), ROW)),
        ("an international text", png(HEADER, (b"iTXt", b"k\0\1\0\0\0" + INFLATES_TO_100_MB), ROW)),
        ("a text behind the pixels", png(HEADER, ROW, (b"zTXt", b"k\0\0" + INFLATES_TO_100_MB))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_png_does_not_inflate_in_memory(what, data):
    assert peak_megabytes(data) < 20


def test_a_tag_that_claims_gigabytes_is_passed_over():
    data = tiff(extra=[(40000, 7, 4_000_000_000, 8), (40001, 12, 500_000_000, 0xFFFFFFF0)])
    assert peak_megabytes(data) < 5


def test_tags_that_all_claim_the_whole_file_are_not_all_read():
    extra = [(40000 + i, 7, 1_000_000, 8) for i in range(500)]  # 500 MB, said in 1 MB
    assert peak_megabytes(tiff(extra=extra, tail=bytes(1_000_000))) < 20


def test_odd_metadata_does_not_fill_the_log():
    """Python keeps each warning it has shown, so that hostile files would fill the memory too."""
    program = "import sys; from hashing.picture import decode; decode(sys.stdin.buffer.read(), 96)"
    extra = [(40000 + i, 7, 1_000_000, 8) for i in range(50)]
    done = subprocess.run(
        [sys.executable, "-c", program], input=tiff(extra=extra), capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_exif_block_that_claims_itself_over_and_over_is_not_all_read():
    block = tiff(extra=[(40000 + i, 7, 60_000, 8) for i in range(3000)])  # 180 MB, said in 60 kB
    data = jpeg_with(segment(0xE1, b"Exif\0\0" + block + bytes(65_000 - len(block))))
    assert peak_megabytes(data) < 20


SEGMENTS = {
    # Appended to all that came before by who keeps them: minutes for a file of 4 MB.
    "exif blocks": segment(0xE1, b"Exif\0\0xxxxxxxx") * 1000,
    "profiles": segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60000)) * 100,
    "pictures in it": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "no segments": b"\xff\0" * 1_000_000 + b"\xff" * 1_000_000 + bytes(1_000_000),
    "bare markers": b"\xff\x01" * 1000,
}


@pytest.mark.parametrize("what", SEGMENTS)
def test_what_a_jpeg_has_beside_its_pixels_costs_nothing_and_decides_nothing(what):
    assert far(decode(jpeg_with(SEGMENTS[what]), EDGE), decode(jpeg_with(), EDGE)) == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (jpeg_with(segment(0xE1, b"x") * 6000), "too many parts"),
        (jpeg_with(segment(0xDB, bytes(65)) * 200), "tables are too many"),
        (jpeg_with(segment(0xC4, bytes(60000))), "tables are too many"),
        (jpeg_with().replace(b"\xff\xc0", b"\xff\xc9"), "arithmetic"),
        (jpeg_with().replace(b"\xff\xc0", b"\xff\xc3"), "lossless"),
        (jpeg_with().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "12 bits a channel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_jpegs_of_other_kinds_are_refused(data, words):
    refused(data, "damaged_image", words)


def test_a_progressive_jpeg_of_too_many_scans_is_refused():
    """Every scan goes over all pixels again: 50 ms each on 64 megapixels, for some 90 bytes."""
    data = save(drawing(), "JPEG progressive")
    last = data.rindex(b"\xff\xda")
    refused(data[:-2] + data[last:-2] * 60 + data[-2:], "damaged_image", "too many parts")


@pytest.mark.parametrize("level", [1, 2])
def test_bmp_of_run_lengths_is_refused(level):
    """Pillow decodes them in Python: 7 s for 33 KB."""
    data = bytearray(encoded(drawing().quantize(16), "BMP"))
    data[30:34] = struct.pack("<I", level)
    refused(bytes(data), "damaged_image", "run lengths; save it as PNG")


# What is no pixel decides nothing

PROFILE = b"k\0\0" + zlib.compress(bytes(2_000_000))


@pytest.mark.parametrize(
    "parts",
    [
        [(b"iCCP", PROFILE)] * 30,
        [(b"iCCP", b"")],
        [(b"zTXt", b"k\0\1no zlib")],
        [(b"iTXt", b"k\0\1\0\0\0no zlib")],
        [(b"tEXt", b"k\0" + bytes(5_000_000))],
        [(b"pHYs", b"1")],
        [(b"gAMA", b"")],
        [(b"eXIf", b"II*\0")],
        [(b"acTL", b"1")],
        [(b"prVt", b"of some program")],
    ],
    ids=lambda parts: parts[0][0].decode(),
)
def test_a_png_is_read_whatever_stands_beside_its_pixels(parts):
    plain = encoded(drawing(), "PNG")
    lines = [(b"IDAT", plain[plain.index(b"IDAT") + 4 : plain.rindex(b"IEND") - 8])]
    for data in (png(plain[16:29], *parts, *lines), png(plain[16:29], *lines, *parts)):
        assert far(decode(data, EDGE), drawing()) == 0


def test_a_wrong_checksum_counts_only_where_pixels_depend_on_it():
    palette = drawing().quantize(16)
    header, colours = png_parts(palette)
    text = png(header, (b"tEXt", b"k\0text"), *colours).replace(b"k\0text", b"k\0tesT")
    assert far(decode(text, EDGE), palette.convert("RGB")) == 0
    wrong = bytearray(png(header, *colours))
    wrong[wrong.index(b"PLTE") + 4] ^= 1
    refused(bytes(wrong), "not_an_image", "checksum of its PLTE is wrong")


def png_parts(image: Image.Image) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Header and the other parts of the PNG that Pillow writes."""
    data, at, parts = encoded(image, "PNG"), 8, []
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        parts.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts[0][1], [part for part in parts[1:] if part[0] != b"IEND"]


def test_a_png_without_its_end_is_read_and_one_without_its_last_lines_is_not():
    data = encoded(drawing(), "PNG")
    assert far(decode(data[:-12], EDGE), drawing()) == 0
    refused(data[:-40], "damaged_image", "damaged")


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive"])
@pytest.mark.parametrize("size", [(120, 80), (900, 590)])
def test_a_jpeg_that_lacks_only_its_end_is_read(kind, size):
    image = Image.effect_noise(size, 40).convert("RGB")
    data = save(image, kind, quality=90)
    for cut in (1, 2):
        assert far(decode(data[:-cut], EDGE), decode(data, EDGE)) == 0
    for cut in (6, 30, 300):
        refused(save(image, "JPEG")[:-cut], "damaged_image", "pixels are missing")


def test_comments_of_a_gif_are_passed_over():
    data = encoded(drawing(), "GIF")
    at = data.index(b",", 13 + (3 << (data[10] & 7) + 1))
    comments = b"!\xfe" + (b"\xff" + bytes(255)) * 30_000 + b"\0"
    assert far(decode(data[:at] + comments + data[at:], EDGE), decode(data, EDGE)) == 0
    comments = b"!\xfe" + b"\1x" * 300_000 + b"\0"
    refused(data[:at] + comments + data[at:], "damaged_image", "too many parts")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": [(259, 3, 34925)], "without": (259,)}, "that TIFF numbers 34925"),
        ({"extra": [(259, 3, 5), (278, 4, 1)], "without": (259, 278)}, "1 of 16 parts"),
        ({"extra": [(279, 4, 10_000)], "without": (279,)}, "longer than the file"),
        ({"extra": [(277, 3, 200)], "without": (277,)}, "200 channels"),
        ({"extra": [(273, 4, 1_000_000, 8)], "without": (273,)}, "1000000 values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tiffs_that_multiply_what_they_hold_are_refused(changes, words):
    with pytest.raises(PictureError, match=words):
        decode(tiff(**changes), EDGE)


def test_metadata_of_real_photos_is_no_trap():
    """A large ICC profile, a depth map as extended XMP, a comment, and a trailing film."""
    segments = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 30]) + bytes(65000)) for i in range(1, 31)
    ]
    segments += [segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65000))] * 80
    film = random.Random(1).randbytes(3_000_000)
    assert decode(jpeg_with(*segments, segment(0xFE, b"shot")) + film, EDGE).size == (120, 80)


# Whatever the bytes: a picture or a PictureError

SMALL = {kind: save(drawing(40, 30), kind) for kind in ALL} | {
    "GIF animated": encoded(
        drawing(40, 30), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30))]
    ),
    "WEBP animated": encoded(
        drawing(40, 30), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 30))]
    ),
    "WEBP alpha": seen_through("WEBP"),
    "PNG palette": seen_through("PNG palette"),
    "PNG 16 bits": encoded(Image.fromarray(GREYS.astype(np.uint16) * 257), "PNG"),
    "TIFF float": encoded(Image.fromarray(GREYS.astype(np.float32)), "TIFF"),
    "TIFF lzw": encoded(drawing(40, 30), "TIFF", compression="tiff_lzw"),
    "TIFF jpeg": encoded(drawing(40, 30), "TIFF", compression="jpeg"),
    "JPEG cmyk": encoded(drawing(40, 30).convert("CMYK"), "JPEG"),
    "JPEG exif": photo(drawing(40, 30), 6, "JPEG"),
    "MPO": encoded(
        drawing(40, 30), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))]
    ),
}


def picture_or_refusal(data: bytes) -> None:
    try:
        image = decode(data, EDGE, max_pixels=1_000_000)
    except PictureError as error:
        assert error.kind in ("not_an_image", "damaged_image", "too_many_pixels")
        assert 20 < len(str(error)) < 400 and "\n" not in str(error)
    else:
        assert image.mode == "RGB"
        assert picture.pixels(image, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", SMALL)
def test_mutated_files_are_pictures_or_refused(kind):
    """Bytes changed, cut out and put in, more often near the start, where the headers are."""
    rng, whole = random.Random(kind), SMALL[kind]
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            at = int(len(data) * rng.random() ** rng.choice([1, 4]))
            match rng.randrange(4):
                case 0 if data:
                    data[min(at, len(data) - 1)] = rng.choice(
                        [0, 1, 127, 128, 255, rng.randrange(256)]
                    )
                case 1:
                    data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4)])
                case 2:
                    del data[at : at + rng.choice([1, 2, 50])]
                case 3:
                    data[at:at] = rng.randbytes(rng.choice([1, 2, 50]))
        picture_or_refusal(bytes(data))


@given(st.sampled_from(sorted(SMALL)), st.integers(0, 40), st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_behind_a_header_are_pictures_or_refused(kind, start, rest):
    picture_or_refusal(SMALL[kind][:start] + rest)


@pytest.mark.parametrize(
    "error",
    [
        OSError("a\nb"),
        SyntaxError("s"),
        ValueError(),
        NotImplementedError("n"),
        MemoryError(),
        struct.error("e"),
        IndexError("i"),
        RecursionError(),
        Image.DecompressionBombError("b"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", [(Image, "open"), (ImageFile.ImageFile, "load")])
def test_whatever_pillow_raises_becomes_a_refusal_in_one_line(monkeypatch, error, where):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(*where, fail)
    with pytest.raises(PictureError) as caught:
        decode(SMALL["BMP"], EDGE)
    assert "\n" not in str(caught.value)


# base64

binaries = st.binary(min_size=1, max_size=300)


@given(
    binaries,
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes]),
    st.booleans(),
    st.sampled_from([b"", b"data:image/png;base64,", b" \nData:image/jpeg;name=a.jpg;BASE64,"]),
    st.booleans(),
)
def test_every_common_way_of_base64_is_read(data, encode, padded, prefix, as_text):
    text = encode(data)
    text = prefix + (text if padded else text.rstrip(b"=\n"))
    assert from_base64(text.decode() if as_text else text) == data


@given(binaries, st.data())
def test_white_space_anywhere_is_passed_over(data, draw):
    text = base64.b64encode(data).decode()
    for space in draw.draw(st.lists(st.sampled_from(" \t\r\n"), max_size=5)):
        at = draw.draw(st.integers(0, len(text)))
        text = text[:at] + space + text[at:]
    assert from_base64(text) == data


@given(binaries, st.sampled_from('!"#$%&()*.:;<>?@[]^`{|}~\0\x7f'), st.data())
def test_one_foreign_character_is_refused(data, foreign, draw):
    text = base64.b64encode(data).decode().rstrip("=")
    at = draw.draw(st.integers(0, len(text)))
    with pytest.raises(PictureError) as caught:
        from_base64(text[:at] + foreign + text[at:])
    assert caught.value.kind == "not_base64"


@given(st.text())
@example("é")
@example("\ud800")
@example("A")
@example("AA=A")
@example("=AAA")
@example("data:,")
def test_any_text_is_bytes_or_refused(text):
    try:
        data = from_base64(text)
    except PictureError as error:
        assert error.kind == "not_base64"
    else:
        letters = set(string.ascii_letters + string.digits + "+/-_= \t\r\n\v\f")
        assert set(re.sub(r"^\s*data:[^,]*,", "", text, flags=re.I)) <= letters
        assert data


@given(st.binary())
def test_any_bytes_are_bytes_or_refused(data):
    assume(data.strip())
    try:
        assert from_base64(data)
    except PictureError as error:
        assert error.kind == "not_base64"


@pytest.mark.parametrize("nothing", ["", "   \n", "====", "data:image/png;base64,", b""])
def test_nothing_is_refused_as_empty(nothing):
    with pytest.raises(PictureError, match="the image is empty"):
        from_base64(nothing)
