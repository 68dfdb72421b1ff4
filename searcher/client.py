"""Asking a running service."""

import base64
import json
import urllib.error
import urllib.request

PATH = "/predictions/image-retrieval-v1.0"


class ServiceError(RuntimeError):
    """The service did not answer with results; `status` is the HTTP status, None when it could not
    be reached at all."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


def search(
    url: str, image: bytes | None = None, top_k: int | None = 10, timeout: float = 30, **fields
) -> dict:
    """Send an encoded picture, or another query, to the service at `url`
    (`http://127.0.0.1:5000`).

    fields: others of the request, `code` or `like` among them when there is no image.  top_k: None
    for the service's own default.  timeout in seconds.  Returns the answer of the contract with
    what `debug` adds: index_database_version, relevant, distances.  Raises ServiceError.
    """
    body = {"debug": True, **fields}
    if top_k is not None:
        body["top_k"] = top_k
    if image is not None:
        body["image"] = base64.b64encode(image).decode("ascii")
    request = urllib.request.Request(
        url.rstrip("/") + PATH, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ServiceError(_message(error), error.code) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceError(f"{url} does not answer: {reason}; is `efiss serve` running?") from error


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return json.load(error)["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return f"the service answered {error.code} {error.reason}"
