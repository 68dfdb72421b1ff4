"""Pictures that a stranger may send: files of every format, changed at random, and files that are
small and cost much.  A kind is a function that draws one from `random`, which alone decides."""

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from PIL import Image

from photographs import queries

with contextlib.suppress(ImportError):  # the one package of these that writes HEIC
    import pillow_heif

    pillow_heif.register_heif_opener()

SIDES = (1000, 4000, 8000)
"""Of pictures of one colour: 1, 16 and 64 megapixels, the last the service's default limit."""
ZEROS = 2**20
Kind = Callable[[Random], bytes]

_SAVED_AS: dict[str, tuple[str, str, dict]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg_progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg_cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "png_palette": ("PNG", "P", {}),
    "png_16_bits": ("PNG", "I;16", {}),
    "webp": ("WEBP", "RGB", {}),
    "webp_lossless": ("WEBP", "RGBA", {"lossless": True}),
    "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff_lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff_jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
    "tiff_float": ("TIFF", "F", {"compression": "tiff_deflate"}),
    "avif": ("AVIF", "RGB", {"speed": 10}),
    "heif": ("HEIF", "RGB", {}),
}


# -- ordinary ones, changed ----------------------------------------------------------------------


def changed_picture(random: Random) -> bytes:
    """A photograph in any format, with bytes changed, left out, doubled or cut off."""
    return changed(random, photograph(random.choice(formats())))


def changed(random: Random, data: bytes) -> bytes:
    """The bytes with one to eight changes, most of them near the start, where headers are."""
    file = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        near = min(len(file), random.choice((64, 1024, len(file))))
        at = random.randrange(near) if near else 0
        length = random.choice((1, 2, 4, 64, 4096))
        change = random.randrange(6)
        if change < 3:
            file[at : at + length] = random.randbytes(min(length, len(file) - at))
        elif change == 3:
            file[at : at + length] = random.choice((b"\xff", b"\x00", b"\x7f")) * length
        elif change == 4:
            file[at:at] = file[at : at + length]
        else:
            del file[at : at + length * 16]
    return bytes(file)


@functools.cache
def formats() -> list[str]:
    """Those that Pillow writes here."""
    Image.init()
    return [name for name, (saved_as, _, _) in _SAVED_AS.items() if saved_as in Image.SAVE]


@functools.cache
def photograph(name: str) -> bytes:
    """One in a format of `formats`."""
    saved_as, mode, options = _SAVED_AS[name]
    with Image.open(queries()[0].file) as image:
        image = image.resize((300, 400)).convert("L" if mode in ("I;16", "F") else mode)
    return _encoded(
        image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode),
        saved_as,
        **options,
    )


def _encoded(image: Image.Image, saved_as: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, saved_as, **options)
    return buffer.getvalue()


# -- JPEG ----------------------------------------------------------------------------------------


def large_jpeg(random: Random) -> bytes:
    """A photograph of 16 or 64 megapixels, as telephones take them, or the same progressive."""
    return large_photograph(random.choice(SIDES[1:]), random.random() < 0.5)


@functools.cache
def large_photograph(side: int, progressive: bool) -> bytes:
    """A JPEG of so many pixels a side."""
    with Image.open(queries()[1].file) as image:
        large = image.convert("RGB").resize((side, side))
    return _encoded(large, "JPEG", quality=60, progressive=progressive)


def jpeg_of_many_scans(random: Random) -> bytes:
    """A progressive one whose scans come again and again."""
    data = _flat("JPEG", random.choice(SIDES[:2]), progressive=True)
    first = data.index(b"\xff\xda")
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:first] + scan * random.choice((40, 400, 4000)) + data[first:]


def jpeg_of_many_segments(random: Random) -> bytes:
    """Thousands of comments, profiles or blocks of EXIF before the picture."""
    data = photograph("jpeg")
    content = random.choice((b"\xff\xfe", b"\xff\xe1Exif\0\0MM\0*", b"\xff\xe2ICC_PROFILE\0\1\1"))
    body = content[2:] + bytes(random.choice((2, 60_000)))
    segment = content[:2] + struct.pack(">H", len(body) + 2) + body
    return (
        data[:2]
        + segment * min(random.choice((10, 1000, 100_000)), 2**24 // len(segment))
        + data[2:]
    )


@functools.cache
def _flat(saved_as: str, side: int, **options) -> bytes:
    return _encoded(Image.new("L", (side, side), 200), saved_as, **options)


# -- PNG, GIF, BMP, WebP -------------------------------------------------------------------------


def flat_png(random: Random) -> bytes:
    """Up to 64 megapixels of zeros, of any colour type and depth, interlaced or not."""
    side = random.choice(SIDES)
    colour, channels = random.choice(((0, 1), (2, 3), (3, 1), (4, 2), (6, 4)))
    depth = random.choice({0: (1, 8, 16), 3: (1, 8)}.get(colour, (8, 16)))
    interlaced = random.randrange(2)
    return _png(
        side,
        side,
        colour,
        depth,
        interlaced,
        _deflated_zeros(side * (side * channels * depth // 8 + 40)),
    )


def huge_png(random: Random) -> bytes:
    """One that declares more than it holds, or is very wide or high."""
    width, height = random.choice(
        ((8000, 8000), (65_535, 900), (900, 65_535), (2**31 - 1, 2**31 - 1))
    )
    return _png(
        width, height, random.choice((2, 6)), 16, random.randrange(2), random.randbytes(2000)
    )


def png_of_many_chunks(random: Random) -> bytes:
    """Texts and profiles that inflate to a hundred MB, many of them."""
    name = random.choice((b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"fdAT"))
    text = b"a\0\0" + (b"\0\0\0" if name == b"iTXt" else b"") + _deflated_zeros(2**26)
    count = random.choice((1, 30, 150))
    return _png(64, 64, 0, 8, 0, _deflated_zeros(65 * 64), _chunk(name, text) * count)


def _png(width, height, colour, depth, interlaced, pixels: bytes, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = _chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + palette
        + more
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@functools.cache
def _deflated_zeros(count: int) -> bytes:
    """A zlib stream of at least so many zeros: one block again and again."""
    block = zlib.compressobj(9, wbits=-15)
    megabyte = block.compress(bytes(ZEROS)) + block.flush(zlib.Z_FULL_FLUSH)
    megabytes = -(-count // ZEROS)
    adler = (megabytes * ZEROS % 65_521) << 16 | 1  # of zeros (RFC 1950)
    return b"\x78\xda" + megabyte * megabytes + b"\x03\x00" + struct.pack(">I", adler)


def flat_gif(random: Random) -> bytes:
    """64 megapixels of one colour, or so many that are declared for one that is drawn."""
    data = bytearray(_flat("GIF", random.choice(SIDES)))
    if random.random() < 0.5:
        data[6:10] = struct.pack("<HH", 65_535, random.choice((900, 65_535)))
    return bytes(data)


def run_length_bmp(random: Random) -> bytes:
    """Runs, ends of lines and moves, in 8 KB, 33 KB or 16 MB."""
    side = random.choice(SIDES)
    is_4_bits = random.randrange(2)
    steps = (b"\xff\x07", b"\0\2\xff\x00", b"\0\2\x01\x01", b"\0\0", bytes([0, 3, 1, 2, 3, 0]))
    used = random.sample(steps, random.choice((1, 2, 4)))
    some = b"".join(random.choice(used) for _ in range(4000))
    pixels = some * random.choice((1, 4, 4, 2000)) + b"\0\1"
    start = 54 + 1024
    header = struct.pack(
        "<2sIIIIiiHHIIIIII",
        b"BM",
        start + len(pixels),
        0,
        start,
        40,
        side,
        side,
        1,
        4 if is_4_bits else 8,
        2 if is_4_bits else 1,
        len(pixels),
        0,
        0,
        256,
        0,
    )
    return header + bytes(1024) + pixels


def flat_webp(random: Random) -> bytes:
    """One colour, without loss or with."""
    return _flat_webp(random.choice(SIDES[:2]), random.random() < 0.5)


@functools.cache
def _flat_webp(side: int, lossless: bool) -> bytes:
    return _encoded(
        Image.new("RGBA", (side, side), (9, 9, 9, 99)), "WEBP", lossless=lossless, method=0
    )


def huge_webp(random: Random) -> bytes:
    """40 bytes that declare as many pixels as the limit allows, or the format."""
    side = random.choice((8000, 16_383))
    rest = random.randbytes(random.choice((10, 2000)))
    if random.random() < 0.5:
        name, body = b"VP8 ", b"\x10\x02\0\x9d\1\x2a" + struct.pack("<HH", side, side) + rest
    else:
        name, body = b"VP8L", b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + rest
    chunk = name + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


# -- TIFF ----------------------------------------------------------------------------------------

_COMPRESSIONS = {1: "raw", 5: "tiff_lzw", 8: "tiff_adobe_deflate", 32_773: "packbits"}
"""By the number that stands in the file, what Pillow calls them."""


def tiff_of_strips(random: Random) -> bytes:
    """Thousands of strips that are the same bytes of the file."""
    side, rows = random.choice(SIDES), random.choice((1, 8))
    compression = random.choice(list(_COMPRESSIONS))
    return _tiff(
        side,
        side,
        {258: 8, 259: compression, 262: 1, 277: 1, 278: rows},
        273,
        279,
        _block(side, rows, compression),
        -(-side // rows),
    )


def tiff_of_tiles(random: Random) -> bytes:
    """Up to two million small tiles, in one plane or four, or one tile that is larger than the
    picture."""
    side, tile = random.choice(((1000, 1), (4000, 8), (8000, 16), (8000, 64), (1000, 16_384)))
    compression = random.choice(list(_COMPRESSIONS))
    planes = random.choice((1, 4 if tile > 1 else 2))
    tags = {
        258: [8] * planes,
        259: compression,
        262: 1 if planes < 3 else 2,
        277: planes,
        284: 2 if planes > 1 else 1,
        322: tile,
        323: tile,
        338: [2] if planes > 1 else 0,
    }
    block = _block(tile, min(tile, 64), compression)
    return _tiff(side, side, tags, 324, 325, block, planes * (-(-side // tile)) ** 2)


def tiff_of_planes(random: Random) -> bytes:
    """Three or more planes of their own, with predictors, of 8 or 16 bits."""
    side, planes, rows = random.choice(SIDES), random.choice((3, 4)), random.choice((1, 64))
    bits, compression = random.choice((8, 16)), random.choice(list(_COMPRESSIONS))
    tags = {
        258: [bits] * planes,
        259: compression,
        262: 2,
        277: planes,
        278: rows,
        284: 2,
        317: random.choice((1, 2)),
        338: [0] * (planes - 3) or 0,
    }
    block = _block(side * bits // 8, rows, compression)
    return _tiff(side, side, tags, 273, 279, block, planes * -(-side // rows))


def tiff_of_floats(random: Random) -> bytes:
    """Up to 64 megapixels of 32 bits."""
    side, rows = random.choice(SIDES), random.choice((1, 64))
    tags = {258: 32, 259: 8, 262: 1, 277: 1, 278: rows, 317: random.choice((1, 3)), 339: 3}
    return _tiff(side, side, tags, 273, 279, _block(side * 4, rows, 8), -(-side // rows))


@functools.cache
def _block(width: int, rows: int, compression: int) -> bytes:
    """A strip or a tile of zeros, of `width` bytes a row."""
    if compression == 1:
        return bytes(width * rows)
    whole = Image.new("L", (width, rows))
    data = _encoded(whole, "TIFF", compression=_COMPRESSIONS[compression], strip_size=2**30)
    with Image.open(io.BytesIO(data)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
    return data[start : start + length]


def large_tiff(random: Random) -> bytes:
    """22 MB as they are, in one strip or in many, packed or not."""
    side, rows = 4700, random.choice((1, 4700))
    packed = random.random() < 0.5
    block = b"\x00\x07" * (side * rows) if packed else bytes(side * rows)
    return _tiff(
        side,
        side,
        {258: 8, 259: 32_773 if packed else 1, 262: 1, 277: 1, 278: rows},
        273,
        279,
        block[: 22 * 2**20],
        -(-side // rows),
    )


def tiff_that_goes_round(random: Random) -> bytes:
    """Its next directory is its first, or its tags hold a million values."""
    count = random.choice((1, 1_000_000))
    return _tiff(
        64,
        64,
        {258: 8, 259: 1, 262: 1, 277: 1, 278: 64, 700: [1] * count},
        273,
        279,
        bytes(64 * 64),
        1,
        goes_round=True,
    )


def _tiff(
    width,
    height,
    tags: Mapping[int, Any],
    offsets: int,
    counts: int,
    block: bytes,
    blocks: int,
    goes_round: bool = False,
) -> bytes:
    """A picture whose strips or tiles all are `block`; offsets, counts: the tags that name them."""
    kept = {tag: value for tag, value in tags.items() if value}
    tags = {256: width, 257: height, **kept, offsets: [8] * blocks, counts: [len(block)] * blocks}
    directory = 8 + len(block) + len(block) % 2
    behind = directory + 2 + 12 * len(tags) + 4
    entries, values = [], b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, list) else [value]
        is_long = tag in (256, 257, 273, 279, 324, 325)
        packed = struct.pack(f"<{len(numbers)}{'I' if is_long else 'H'}", *numbers)
        place = (
            packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", behind + len(values))
        )
        values += b"" if len(packed) <= 4 else packed
        entries.append(struct.pack("<HHI", tag, 4 if is_long else 3, len(numbers)) + place)
    following = struct.pack("<I", directory if goes_round else 0)
    return (
        b"II*\0"
        + struct.pack("<I", directory)
        + block
        + bytes(len(block) % 2)
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + following
        + values
    )


def noise(random: Random) -> bytes:
    """Bytes behind the first ones of a format."""
    starts = (
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"%!PS",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x20ftypheic",
        b"<svg xmlns=",
    )
    return random.choice(starts) + random.randbytes(random.choice((0, 100, 100_000)))


ORDINARY: Kind = changed_picture
DEAR: tuple[Kind, ...] = (
    large_jpeg,
    jpeg_of_many_scans,
    jpeg_of_many_segments,
    flat_png,
    huge_png,
    png_of_many_chunks,
    flat_gif,
    run_length_bmp,
    flat_webp,
    huge_webp,
    tiff_of_strips,
    tiff_of_tiles,
    tiff_of_planes,
    tiff_of_floats,
    large_tiff,
    tiff_that_goes_round,
    noise,
)
