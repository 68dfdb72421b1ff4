"""Pictures as files, for tests."""

import io

from PIL import Image


def encoded(image: Image.Image, name: str = "JPEG", **options) -> bytes:
    """The picture as bytes of a file of the format `name`."""
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()
