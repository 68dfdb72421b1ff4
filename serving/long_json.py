"""JSON that is longer than any request, looked at before TorchServe and a worker copy it."""

import json

from machine import bounded_json
from serving.message import Answer, Request, refusal


def refused_json(request: Request) -> Answer | None:
    """Why a request whose body has come is refused, where that is JSON which the worker would
    refuse for its length; else None, and the worker has the last word."""
    begins = bytes(request.body[:64])
    is_json = begins.lstrip().startswith((b"{", b"["))
    if not is_json or not json.detect_encoding(begins).startswith("utf-8"):
        return None
    try:
        bounded_json.refuse_long(request.body, apart="image")
    except bounded_json.JsonError as error:
        return refusal(413, error.kind, str(error))
    return None
