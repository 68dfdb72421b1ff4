"""Who may ask for what, how much, and how often."""

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from fastapi import Request
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin.errors import Refusal, busy
from admin.settings import Settings

WRONG_TOKENS = "10/minute"
"""Of all callers together: what a proxy of this machine says of them need not be true, and the
right token is always taken."""
_LONGEST_ADDRESS = 64

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]

_limiter = MovingWindowRateLimiter(MemoryStorage())


def limited(rate: str, what: str):
    """A dependency: each caller may ask for `what` so often, for example 600/minute."""

    def check(request: Request) -> None:
        caller = request.client.host if request.client else "?"
        message = f"more than {rate} requests; ask again in a moment"
        _count(rate, request, message, what, caller[:_LONGEST_ADDRESS])

    return check


def at_most(count: int, what: str) -> Callable[[], AsyncIterator[None]]:
    """A dependency: so many requests, of all callers together, are answered at once."""
    rooms = asyncio.Semaphore(count)

    async def enter() -> AsyncIterator[None]:
        if rooms.locked():
            raise busy(f"too many {what} at once")
        async with rooms:
            yield

    return enter


def _count(rate: str, request: Request, message: str, *what: str) -> None:
    if not _limiter.hit(parse(rate), str(id(request.app)), *what):
        raise Refusal(429, "too_many_requests", message, {"Retry-After": "10"})


def authorised(request: Request) -> None:
    """A dependency: the caller shows the token, where one is configured."""
    if _shows_token(request):
        return
    scheme = {"WWW-Authenticate": "Bearer"}
    if "authorization" not in request.headers:
        message = "this needs the admin token: send the header Authorization: Bearer TOKEN"
        raise Refusal(401, "no_token", message, scheme)
    _count(WRONG_TOKENS, request, "too many wrong tokens; wait a minute", "token")
    message = "this is not the admin token: send the header Authorization: Bearer TOKEN"
    raise Refusal(401, "wrong_token", message, scheme)


def is_told_why(request: Request) -> bool:
    """Whether a caller of what everybody may ask for is told reasons that name files or addresses
    of this machine: one who shows the token, while nobody guesses at it, or where there is none."""
    known = parse(WRONG_TOKENS), str(id(request.app)), "token"
    if _shows_token(request):
        return request.app.state.settings.token is None or _limiter.test(*known)
    if "authorization" in request.headers:
        _limiter.hit(*known)
    return False


def _shows_token(request: Request) -> bool:
    """Whether the caller shows the token, or none is configured."""
    token = request.app.state.settings.token
    if token is None:
        return True
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    # Of equal length and in constant time: nothing of the token can be read from how long it takes.
    wanted, given = (hashlib.sha256(text.encode()).digest() for text in (token, shown.strip()))
    return scheme.lower() == "bearer" and hmac.compare_digest(wanted, given)


class Guard:
    """ASGI middleware: without a token only this machine's own callers and this service's own page
    are listened to, before any of a body is read.

    A page of another site that is open in the operator's browser can send requests to loopback
    addresses, under a name of its own if it likes (DNS rebinding): its Origin or Host tell.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        answer = refusal.response() if refusal else self._app
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Refusal | None:
        if self._settings.token is not None:
            return None  # no browser adds the token by itself
        headers = Headers(scope=scope)
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


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sending
