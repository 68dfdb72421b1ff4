"""Bytes of a file or of a request -> upright RGB picture -> the pixels a model looks at.

Indexer, service, training and evaluation all come through here, so that a picture is seen the same
way wherever it is hashed.
"""

import binascii
import io
import re

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are read.  Named, because Pillow's own list includes interpreters (EPS, WMF)."""

MAX_PIXELS = 64_000_000
"""Default limit on width x height as the file declares it."""

MAX_PIXELS_CEILING = 178_000_000
"""The highest limit that can be set: above it Pillow itself refuses a picture."""

RESAMPLINGS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}

_DATA_URL = re.compile(rb"\s*data:[^,]{0,200},", re.IGNORECASE)
_URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\v\f"

_ORIENTATION_TAG = 0x0112
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """The bytes are not a picture that can be searched by.

    The message is a sentence for the person who sent them; `kind` is for programs: `not_base64`,
    `not_an_image`, `damaged_image` or `too_many_pixels`.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


def from_base64(text: str | bytes) -> bytes:
    """Bytes behind a base64 text: standard or URL-safe alphabet, padded or not, white space allowed
    anywhere, with or without a `data:image/...;base64,` prefix.  Raises PictureError."""
    try:
        data = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raise PictureError(
            "not_base64", "the image is not base64: it has non-ASCII letters"
        ) from None
    if prefix := _DATA_URL.match(data):
        data = data[prefix.end() :]
    data = data.translate(_URL_SAFE_TO_STANDARD, delete=_WHITESPACE).rstrip(b"=")
    if not data:
        raise PictureError("not_base64", "the image is empty; send the file's bytes as base64")
    try:
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except binascii.Error as error:
        raise PictureError("not_base64", f"the image is not base64 ({error})") from None


def decode(data: bytes, edge: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data`, upright, mode RGB, transparency on white, first frame of many.

    edge: the side in pixels of the model input this is for.  A JPEG far larger than that is decoded
    at 1/2, 1/4 or 1/8 of its size (never below twice `edge`), so the size of the result is not the
    file's.  max_pixels: refuse pictures that declare more, before anything is decoded.
    Raises PictureError, and nothing else, for whatever is wrong with the bytes.
    """
    if not data:
        raise PictureError("not_an_image", "the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels("more than 178", max_pixels) from None
    except Exception as error:  # Pillow's parsers raise nearly anything on hostile headers
        raise _not_an_image(error) from error
    if image.width * image.height > max_pixels:
        megapixels = f"{image.width}x{image.height} = {image.width * image.height / 1e6:.0f}"
        raise _too_many_pixels(megapixels, max_pixels)
    try:
        image.draft(None, (2 * edge, 2 * edge))
        image.load()
        return _to_rgb(_upright(image))
    except Image.DecompressionBombError:
        raise _too_many_pixels("more than 178", max_pixels) from None
    except Exception as error:  # as above, now from the decoders; MemoryError included
        raise _damaged(image.format, error) from error


def pixels(image: Image.Image, edge: int, resampling: str = "bilinear") -> np.ndarray:
    """The picture squashed to a square, as uint8 [edge, edge, 3].

    Squashed rather than cropped or padded: nothing of a product is cut off, and no pixel is spent
    on borders.  Pillow's filters widen with the reduction, so small details do not alias.
    """
    return np.asarray(image.resize((edge, edge), RESAMPLINGS[resampling]))


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # a broken EXIF block does not spoil the photo: shown as it is stored
        return image
    turn = _UPRIGHT_BY.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits, or floating point, as 8 bits (Pillow's own conversion clips)."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F" and values.min() >= 0 and values.max() <= 1:
        values = values * 255
    elif values.max() > 255:
        values = values * (255 / max(values.max(), 65535))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _too_many_pixels(megapixels: str, max_pixels: int) -> PictureError:
    limit = f"{max_pixels / 1e6:g}"
    return PictureError(
        "too_many_pixels",
        f"the picture has {megapixels} megapixels, the limit is {limit}; send a smaller one",
    )


def _not_an_image(error: Exception) -> PictureError:
    detail = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({_first_line(error)})"
    names = ", ".join(FORMATS[:-1])
    return PictureError(
        "not_an_image", f"the bytes are not a picture in {names} or {FORMATS[-1]} format{detail}"
    )


def _damaged(file_format: str | None, error: Exception) -> PictureError:
    return PictureError(
        "damaged_image",
        f"the {file_format} picture is damaged or of a kind that cannot be read "
        f"({_first_line(error)})",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
