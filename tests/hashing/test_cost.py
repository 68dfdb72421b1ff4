"""No file costs more than a request may: seconds of a core, and memory above the process's rest."""

import json
import math
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageFile

from hashing import apart
from hashing.formats import look
from tests.pictures import encoded

pillow_heif.register_heif_opener()  # that it can be written

MOST_SECONDS = 1.0
"""Of a core's time.  On a quiet server of 2024 every file here takes less than 0.7; the machine may
be older, and busy, so that its caches are others'."""
MOST_MEGABYTES = 400

MEASURED = """
import json, os, resource, struct, sys
from pathlib import Path
from hashing import picture
from hashing.picture import PictureError

def processes():
    "This one and those that decode for it."
    children = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
    return ["self", *children]

def highest():
    "Megabytes of all of them."
    lines = [line for pid in processes() for line in open(f"/proc/{pid}/status")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def seconds():
    "Of all of them, and of those that have ended."
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = [Path("/proc", pid, "stat").read_text().rpartition(")")[2] for pid in processes()]
    ticks = sum(sum(map(int, stat.split()[11:13])) for stat in stats)
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")

Image = picture.Image
Image.init()  # the modules of all formats
picture.pixels(Image.new("RGB", (2000, 2000)), 112, "bilinear", "letter")
rest = highest()
source = sys.stdin.buffer
while size := source.read(12):
    length, box = struct.unpack("<Qf", size)
    data = source.read(length)
    for pid in processes():
        Path("/proc", pid, "clear_refs").write_text("5")
    start = seconds()
    try:
        view = picture.read(data, 112, "letter", (0, 0, box, box) if box else None)
        said = picture.pixels(view.image, 112, "bilinear", "letter", view.frame).shape[0]
        del view
    except PictureError as error:
        said = str(error)
    print(json.dumps([seconds() - start, highest() - rest, said]), flush=True)
"""


class Decoder:
    """A process that decodes, and says what each file cost."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", MEASURED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def cost(self, data: bytes, box: float = 0) -> tuple[float, float, str | int]:
        """Seconds, megabytes, and the refusal, or the edge of the pixels."""
        self._process.stdin.write(struct.pack("<Qf", len(data), box) + data)
        self._process.stdin.flush()
        seconds, megabytes, said = json.loads(self._process.stdout.readline())
        return seconds, megabytes, said

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def check(decoder: Decoder, data: bytes, box: float = 0) -> str | int:
    """What the decoder says of a file that costs no more than it may."""
    seconds, megabytes, said = decoder.cost(data, box)
    print(f"{len(data) / 1e6:.2f} MB: {seconds:.2f} s, {megabytes:.0f} MB: {said}")
    assert seconds < MOST_SECONDS and megabytes < MOST_MEGABYTES
    return said


# Files as costly as they can be for their number of pixels


def noise(width: int, height: int, channels: int = 3, most: int = 256) -> np.ndarray:
    """uint8 [height, width, channels], repeated every 500 lines so that making it takes no time."""
    lines = np.random.default_rng(0).integers(0, most, (500, width, channels), np.uint8)
    return np.tile(lines, (height // 500 + 1, 1, 1))[:height]


def png(width: int, height: int, depth: int, colour: int, most: int, interlaced=False) -> bytes:
    """Filtered by Paeth in every line."""
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
    passes = (
        [(1, 1)] if not interlaced else [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)]
    )
    packer = zlib.compressobj(1)
    body = []
    for across, down in passes:
        lines = noise(
            1 + math.ceil(math.ceil(width / across) * bits / 8), math.ceil(height / down), 1, most
        )[..., 0].copy()
        lines[:, 0] = 4
        body.append(packer.compress(lines.tobytes()))
    body.append(packer.flush())
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = (
        [(b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes(range(256)))] if colour == 3 else []
    )
    parts = [(b"IHDR", head), *palette, (b"IDAT", b"".join(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def as_file(kind: str, channels: int = 3, most: int = 256, mode: str | None = None, **options):
    def build(width: int, height: int) -> bytes:
        values = noise(width, height, channels, most)
        image = Image.fromarray(values[..., 0] if channels == 1 else values)
        exif = Image.Exif()
        exif[0x0112] = 6  # turning it takes memory
        if kind in ("JPEG", "WEBP", "PNG"):
            options.setdefault("exif", exif)
        return encoded(image.convert(mode) if mode else image, kind, **options)

    return build


def floats(**options):
    def build(width: int, height: int) -> bytes:
        values = noise(width, height, 1)[..., 0].astype(np.float32) * 1000
        return encoded(Image.fromarray(values), "TIFF", **options)

    return build


def moving(kind: str, **options):
    """Ten frames of one colour and one of noise."""

    def build(width: int, height: int) -> bytes:
        plain = [Image.new("RGB", (width, height), (i, 0, 0)) for i in range(9)]
        last = Image.fromarray(noise(width, height))
        return encoded(plain[0], kind, save_all=True, append_images=[*plain[1:], last], **options)

    return build


QUICKLY = {"preset": "ultrafast"}  # what is written so takes no less to read
BUILDERS: dict[str, Callable[[int, int], bytes]] = {
    "JPEG": as_file("JPEG", quality=95, subsampling=0),
    "JPEG coarse": as_file("JPEG", quality=30),
    "JPEG cmyk": as_file("JPEG", 4, quality=80, mode="CMYK"),
    "JPEG progressive": as_file("JPEG", quality=90, progressive=True, subsampling=0),
    "JPEG progressive coarse": as_file("JPEG", quality=30, progressive=True),
    "PNG": lambda w, h: png(w, h, 8, 2, 2),
    "PNG alpha": lambda w, h: png(w, h, 8, 6, 2),
    "PNG deep": lambda w, h: png(w, h, 16, 6, 2),
    "PNG deep grey": lambda w, h: png(w, h, 16, 0, 2),
    "PNG palette": lambda w, h: png(w, h, 8, 3, 256),
    "PNG bits": lambda w, h: png(w, h, 1, 0, 256),
    "PNG interlaced": lambda w, h: png(w, h, 8, 6, 2, interlaced=True),
    "PNG moving": moving("PNG"),
    "WEBP": as_file("WEBP", quality=100, method=0),
    "WEBP coarse": as_file("WEBP", quality=60, method=0),
    "WEBP alpha": as_file("WEBP", 4, quality=100, method=0),
    "WEBP lossless": as_file("WEBP", 4, lossless=True, quality=0, method=0),
    "WEBP moving": moving("WEBP", method=0),
    "GIF": as_file("GIF", 1, transparency=3),
    "BMP": as_file("BMP"),
    "BMP palette": as_file("BMP", 1),
    "BMP bits": as_file("BMP", 1, mode="1"),
    "TIFF": as_file("TIFF"),
    "TIFF deflate": as_file("TIFF", 4, 2, compression="tiff_deflate"),
    "TIFF LZW": as_file("TIFF", 3, 4, compression="tiff_lzw", tiffinfo={317: 2}),
    "TIFF lines": as_file("TIFF", compression="packbits", tiffinfo={278: 2}),
    "TIFF fax": as_file("TIFF", 1, mode="1", compression="group4"),
    "TIFF jpeg": as_file("TIFF", compression="jpeg", quality=90),
    "TIFF floats": floats(),
    "TIFF floats LZW": floats(compression="tiff_lzw"),
    "AVIF": as_file("AVIF", quality=60, speed=10),
    "AVIF alpha": as_file("AVIF", 4, quality=95, speed=10),
    "HEIF": as_file("HEIF", quality=60, enc_params=QUICKLY),
    "HEIF alpha": as_file("HEIF", 4, quality=95, enc_params=QUICKLY),
    "JPEG 2000": as_file("JPEG2000", irreversible=True, quality_layers=[20]),
    "JPEG 2000 lossless": as_file("JPEG2000", 4),
}

LIMIT_BYTES = 64_000_000


@pytest.mark.slow("makes and decodes files as large as may be decoded")
@pytest.mark.parametrize("shape", [(4, 3), (1, 40)], ids=["wide", "thin"])
@pytest.mark.parametrize("kind", BUILDERS)
def test_the_largest_file_that_is_decoded_costs_no_more_than_it_may(
    kind, shape, decoder, monkeypatch
):
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**27)  # what encoders write at once
    width, height = 200 * shape[0], 200 * shape[1]
    small = BUILDERS[kind](width, height)
    share = look(small).cost(look(small).scales[-1])
    times = min(0.97 / share, LIMIT_BYTES / len(small), 16_000**2 / width / height) ** 0.5
    times = min(times, 16_000 / max(width, height))  # WebP's longest side
    data = BUILDERS[kind](int(width * times), int(height * times))
    assert check(decoder, data) == 112
    assert check(decoder, data, box=0.02) == 112


@pytest.mark.slow("makes and decodes a JPEG of 91 megapixels")
def test_a_progressive_jpeg_that_costs_too_much_whole_is_read_at_an_eighth(decoder):
    data = BUILDERS["JPEG progressive coarse"](11_000, 8250)
    assert look(data).is_too_much and check(decoder, data) == 112


# Files that lie


def mutated(rng: random.Random, whole: bytes) -> bytes:
    """The file with bytes changed, cut out, put in or repeated, more often near its start."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = int(len(data) * rng.random() ** rng.choice([1, 8]))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes(
                    [rng.choice([0, 1, 2, 127, 128, 255, rng.randrange(256)])]
                )
            case 1:
                data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4)])
            case 2:
                data[at : at + 2] = rng.randbytes(2)
            case 3:
                del data[at : at + rng.choice([1, 2, 50])]
            case 4:
                data[at:at] = rng.randbytes(rng.choice([1, 2, 50]))
            case 5:
                part = bytes(data[at : at + rng.choice([4, 12, 100])])
                data[at:at] = part * rng.choice([2, 1000, 50_000])
    return bytes(data)


@pytest.mark.parametrize("kind", BUILDERS)
def test_mutated_files_cost_no_more_than_they_may(kind, decoder):
    rng, whole = random.Random(kind), BUILDERS[kind](160, 120)
    for _ in range(30):
        check(decoder, mutated(rng, whole), rng.choice([0, 0, 0.1]))


def strips(count: int, length: int) -> bytes:
    """A TIFF of `count` strips of LZW that are all the same bytes."""
    body = encoded(Image.fromarray(noise(400, 8)), "TIFF", compression="tiff_lzw")[8:]
    body = (body * (length // len(body) + 1))[:length]
    where = 8 + length
    tags = [
        (256, 4, 1, 400),
        (257, 4, 1, 8 * count),
        (258, 3, 1, 8),
        (259, 3, 1, 5),
        (262, 3, 1, 1),
    ]
    tags += [
        (273, 4, count, where),
        (277, 3, 1, 3),
        (278, 4, 1, 8),
        (279, 4, count, where + 4 * count),
    ]
    lists = struct.pack(f"<{2 * count}I", *[8] * count, *[length] * count)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI", b"II", 42, where + len(lists))
    return head + body + lists + struct.pack("<H", len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    """40 bytes."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "WEBP"))
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def run_lengths() -> bytes:
    data = bytearray(encoded(Image.new("P", (8000, 8000)), "BMP"))[:33_000]
    data[30:34] = struct.pack("<I", 1)
    return bytes(data)


def liar(name: str, width: int, height: int) -> bytes:
    """A picture that says that it is of 64 x 64 pixels."""
    data = encoded(Image.new("RGB", (width, height)), name)
    size = struct.pack(">II", width, height)
    assert size in data
    return data.replace(size, struct.pack(">II", 64, 64))


LIES = {
    "strips that share their bytes": lambda: strips(2000, 2_000_000),
    "a WebP of 64 megapixels": lambda: webp(8000, 8000),
    "run lengths": run_lengths,
    "fill bytes": lambda: b"\xff\xd8" + b"\xff" * 20_000_000,
    "stuffed bytes": lambda: b"\xff\xd8" + b"\xff\0" * 10_000_000,
    "segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 5_000_000,
    "bare markers": lambda: b"\xff\xd8" + b"\xff\x01" * 5_000_000,
    "chunks": lambda: png(8, 8, 8, 2, 2)[:33] + struct.pack(">I4sI", 0, b"IDAT", 0) * 1_000_000,
    "blocks": lambda: b"GIF89a\x08\0\x08\0\0\0\0!\xfe" + b"\1x" * 8_000_000,
    "RIFF chunks": lambda: webp(8, 8)[:12] + b"VP8X" + bytes(26) + bytes(8) * 2_000_000,
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_refused_at_once(what, decoder):
    assert isinstance(check(decoder, LIES[what]()), str)


@pytest.mark.parametrize("name", ["AVIF", "HEIF", "JPEG2000"])
def test_a_picture_that_says_it_is_small_costs_no_more_than_it_may(name, decoder):
    check(decoder, liar(name, 2000, 1500))


@pytest.mark.slow("writes a picture that takes long to decode")
def test_a_decoder_that_takes_too_long_is_ended():
    name = "JPEG2000"
    data = encoded(Image.fromarray(noise(2600, 2000)), name)
    with pytest.raises(ValueError, match="takes too long"):
        apart.decode(data, name, 10**9, 8)
    assert apart.decode(encoded(Image.new("RGB", (64, 64)), name), name, 10**9, 1).size == (64, 64)
