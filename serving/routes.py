"""What of the requests for an address passes to TorchServe, and what is refused before it.

TorchServe parses forms with a library of 2020 that bounds neither their fields nor the headers of
their parts, and offers more addresses than clients need.
"""

import re
from collections.abc import Callable

from handlers import HOW_TO_SEND, MODEL_NAME
from serving.message import Answer, Request, refusal

LONGEST_TARGET = 4000
"""Bytes of path and query; TorchServe reads a first line of 4,096."""

_PREDICTIONS = f"/predictions/{MODEL_NAME}"
_STRAY_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")
_NOT_PRINTED = re.compile(rb"[^!-~]")
_FORM = b"application/x-www-form-urlencoded"

Check = Callable[[Request], Answer | None]
"""Of a request's head; None lets it pass."""


def refused_search(request: Request) -> Answer | None:
    """Why a request to the search's port is refused by its head; None when it passes."""
    return _refused(request, _methods_of_search) or _refused_type(request)


def refused_metrics(request: Request) -> Answer | None:
    """The same at the port of the metrics."""
    return _refused(request, _methods_of_metrics)


def _refused(request: Request, methods_of: Callable[[bytes], tuple[bytes, ...]]) -> Answer | None:
    target = request.target
    if len(target) > LONGEST_TARGET:
        return refusal(414, "long_address", f"the address is over {LONGEST_TARGET} bytes long")
    if _STRAY_PERCENT.search(target) or _NOT_PRINTED.search(target):
        return refusal(
            400, "bad_address", "the address has a % or another character that must be written %XX"
        )
    methods = methods_of(target.partition(b"?")[0])
    if not methods:
        return refusal(404, "not_found", f"there is nothing here; queries go to {_PREDICTIONS}")
    if request.method not in methods:
        wanted = " or ".join(method.decode() for method in methods)
        return refusal(405, "bad_method", f"this address takes {wanted}")
    return None


def _methods_of_search(path: bytes) -> tuple[bytes, ...]:
    if path == b"/ping":
        return (b"GET", b"HEAD", b"OPTIONS")
    if path.startswith(b"/predictions/"):
        return (b"POST", b"PUT", b"GET", b"OPTIONS")
    return (b"OPTIONS",) if path == b"/" else ()


def _methods_of_metrics(path: bytes) -> tuple[bytes, ...]:
    return (b"GET", b"HEAD") if path == b"/metrics" else ()


def _refused_type(request: Request) -> Answer | None:
    types = [value for name, value in request.headers if name.lower() == b"content-type"]
    if len(types) > 1:
        return refusal(400, "bad_content_type", "the request has more than one Content-Type")
    if types and types[0].partition(b";")[0].strip().lower() == _FORM:
        return refusal(400, "form", f"the request is a url-encoded form; {HOW_TO_SEND}")
    return None
