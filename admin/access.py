"""Who may ask for what, how much, and how often."""

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from fastapi import Request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.errors import Refusal
from admin.settings import Settings

LARGEST_BODY = 64 * 1024
LARGEST_QUERY = 32 * 1024 * 1024
"""Bytes of a request's body: of all requests, and of a search, which carries a picture."""

WRONG_TOKENS = "10/minute"

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]

_limiter = MovingWindowRateLimiter(MemoryStorage())


def limited(rate: str, what: str):
    """A dependency: each caller may ask for `what` so often, for example 600/minute."""
    item = parse(rate)

    def check(request: Request) -> None:
        _count(item, what, request, f"more than {rate} requests; ask again in a moment")

    return check


def _count(item, what: str, request: Request, message: str) -> None:
    caller = request.client.host if request.client else "?"
    if not _limiter.hit(item, str(id(request.app)), what, caller):
        raise Refusal(429, "too_many_requests", message, {"Retry-After": "10"})


def authorised(request: Request) -> None:
    """A dependency: the caller shows the token, where one is configured."""
    token = request.app.state.settings.token
    if token is None:
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    # Of equal length and in constant time: nothing of the token can be read from how long it takes.
    wanted, given = (hashlib.sha256(text.encode()).digest() for text in (token, shown.strip()))
    if scheme.lower() == "bearer" and hmac.compare_digest(wanted, given):
        return
    if shown:
        _count(parse(WRONG_TOKENS), "token", request, "too many wrong tokens; wait a minute")
    raise Refusal(
        401,
        "no_token",
        "this needs the admin token: send the header Authorization: Bearer TOKEN",
        {"WWW-Authenticate": "Bearer"},
    )


class Guard:
    """ASGI middleware: bodies that are too long are refused before they are read, and without a
    token only this machine's own callers and this service's own page are listened to.

    A page of another site that is open in the operator's browser can send requests to loopback
    addresses, under a name of its own if it likes (DNS rebinding): its Origin or Host tell.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers, most = Headers(scope=scope), _largest(scope["path"])
        refusal = self._refusal(scope, headers) or _too_long(headers.get("content-length"), most)
        if refusal:
            return await refusal.response()(scope, receive, _with_headers(send))
        await self._app(scope, _counted(receive, most), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        if self._settings.token is not None:
            return None  # no browser adds the token by itself
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _is_loopback(host):
            return Refusal(
                403,
                "foreign_host",
                "without a token this service answers under the names of this machine's loopback "
                "address only: http://127.0.0.1 or http://localhost",
            )
        own = (None, "", f"http://{host}", f"https://{host}")
        if scope["method"] not in ("GET", "HEAD") and origin not in own:
            return Refusal(403, "foreign_origin", "pages of other sites may not ask for this")
        return None


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _largest(path: str) -> int:
    return LARGEST_QUERY if path == "/api/search" else LARGEST_BODY


def _too_long(length: str | None, most: int) -> Refusal | None:
    if length is None or (length.isascii() and length.isdigit() and int(length) <= most):
        return None
    return Refusal(413, "too_large", f"the request may have {most} bytes")


def _counted(receive: Receive, most: int) -> Receive:
    """As `receive`, for bodies that do not say how long they are."""
    read = 0

    async def counting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise Refusal(413, "too_large", f"the request may have {most} bytes")
        return message

    return counting


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sending
