"""One real query, by which a service shows that it works."""

import base64
import io
from pathlib import Path

import httpx
from PIL import Image

from efiss_client import PATH, Answer, Client, ServiceError
from handlers import WATCH_HEADER

OF_A_WORKER = "x-index-version"
"""A header of all answers of a worker, and of none that TorchServe gives in its place."""


def ask(client: Client) -> Answer:
    """The answer to a picture, or to a code where the live version was imported without a model.

    Raises ServiceError.
    """
    try:
        # For the second hit: the question is then not counted among the first ones.
        return client.search(_smallest_picture(), top_k=1, offset=1)
    except ServiceError as error:
        if error.kind != "no_model":
            raise
        return client.search(code="0" * 16, top_k=1, offset=1)


def worker_answers(torchserve: Path, seconds: float) -> str | None:
    """Ask TorchServe on its Unix socket, as nobody's request; why no worker answers within so many
    seconds, None when one does."""
    picture = base64.b64encode(_smallest_picture()).decode()
    transport = httpx.HTTPTransport(uds=str(torchserve))
    try:
        with httpx.Client(transport=transport, timeout=seconds) as client:
            response = client.post(
                f"http://torchserve{PATH}",
                json={"image": picture, "top_k": 1},
                headers={WATCH_HEADER: "1"},
            )
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    # A version without a model refuses the picture, but a worker said so.
    return None if response.status_code < 500 and OF_A_WORKER in response.headers else response.text


def _smallest_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "white").save(buffer, "PNG")
    return buffer.getvalue()
