"""What a stranger's connection may cost: how many there are, how long each is waited for, and how
many bytes are held of what they send.

A connection is waited for while the next move is its client's: no request has come whole, or the
answer is not being read.  Where there is no room for another one, the one that is waited for
longest makes room; only where every connection awaits an answer is a new one refused.
"""

import asyncio
import contextlib
import resource
from http import HTTPStatus
from typing import ClassVar

import h11
import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from admin.errors import Refusal, busy
from machine.processes import reuse_freed_memory

MOST_CONNECTIONS = 500
MOST_REFUSED = 100
"""Connections that are being told that there are too many; those beyond are cut at once."""
LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
MOST_CHUNKS = 20_000
"""Of a chunked body: h11 takes some 10 µs for each, however small it is."""

HEAD, BODY, REST, UNREAD = "head", "body", "rest", "unread"
_SECONDS = {HEAD: 10, REST: 5, UNREAD: 30}
"""How long a connection is waited for, whether some bytes come or none: for a request's head, for
the rest of a body that was refused, for the answer to be read.  `Bodies` times the others."""

LARGEST_BODY = 64 * 1024
LARGEST_QUERY = 32 * 1024 * 1024
"""Bytes of a request's body: of all requests, and of a search, which carries a picture."""
MOST_HELD = 96 * 1024 * 1024
"""Bytes of all bodies together above which none may grow beyond LARGEST_BODY."""
BODY_SECONDS = 60
SAFE_SECONDS = 5
"""How long a body may take, and how long at least before it makes room for others."""
_PIECE = 256 * 1024

STOP_SECONDS = 5
"""How long requests under way have to end when the service is stopped."""


def configured(app: ASGIApp) -> uvicorn.Config:
    """How the application is served.  This process may open as many files as the machine allows;
    of these a connection needs one, and another one for what it is answered with.  What large
    bodies took goes back to the machine."""
    reuse_freed_memory()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if files != resource.RLIM_INFINITY:
        Bounded.most = min(MOST_CONNECTIONS, files // 3)
    return uvicorn.Config(
        app,
        http=Bounded,
        ws="none",
        loop="asyncio",
        log_level="error",  # warnings are of what strangers send
        access_log=False,
        # So many are accepted in one go, before any of them is counted.
        backlog=max(1, Bounded.most // 4),
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


# -- connections ---------------------------------------------------------------------------------


class Bounded(H11Protocol):
    """uvicorn's connection, of which there are at most `most`, each waited for with an end."""

    most: ClassVar[int] = MOST_CONNECTIONS
    _waited_for: ClassVar[dict["Bounded", None]] = {}  # in the order since when
    _refused: ClassVar[set["Bounded"]] = set()

    _awaited: str | None = None
    _timer: asyncio.TimerHandle | None = None
    _is_unread = False
    _lines = 0  # that ended in the body's chunks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.most and not self._make_room():
            return self._turn_away(transport)
        super().connection_made(transport)
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused.discard(self)
        self._wait_for(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # In pieces: h11 bounds only a head that is not whole yet.
        for start in range(0, len(data), LARGEST_HEAD):
            if self in self._refused or self.transport.is_closing():
                return
            piece = data[start : start + LARGEST_HEAD]
            if self._is_chunked():
                self._lines += piece.count(b"\r\n")
            if self._lines > 2 * MOST_CHUNKS:
                return self._end(413, "too_many_chunks", "send the body in larger chunks")
            super().data_received(piece)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_unread = True
        self._follow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_unread = False
        self._follow()

    def send_400_response(self, msg: str) -> None:
        self._end(400, "bad_http", "this is no request of HTTP/1.1, or its headers are too long")

    def _follow(self) -> None:
        awaited = self._next_of_client()
        if awaited == self._awaited:
            return  # and the time goes on
        if awaited not in (BODY, REST):
            self._lines = 0
        self._wait_for(awaited)

    def _next_of_client(self) -> str | None:
        """What is awaited of the client, None while it awaits its answer."""
        if self._is_unread or self.transport.is_closing():
            return UNREAD
        if self.conn.their_state is h11.SEND_BODY:
            return REST if self.cycle.response_complete else BODY
        return HEAD if self.conn.their_state is h11.IDLE else None

    def _wait_for(self, awaited: str | None) -> None:
        self._awaited = awaited
        self._waited_for.pop(self, None)
        if self._timer:
            self._timer.cancel()
        if awaited is None:
            return
        self._waited_for[self] = None
        if seconds := _SECONDS.get(awaited):
            self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _is_chunked(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and any(
            name == b"transfer-encoding" for name, _ in self.headers
        )

    def _make_room(self) -> bool:
        """Whether one that was waited for is gone."""
        longest = next(iter(self._waited_for), None)
        if longest is None:
            return False
        longest._wait_for(None)
        longest.transport.abort()
        return True

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        if len(self._refused) >= MOST_REFUSED:
            return transport.abort()
        self._refused.add(self)
        transport.write(_in_full(busy("too many requests are being answered")))
        transport.write_eof()
        self.loop.call_later(1, transport.abort)  # by then the client has read it

    def _end(self, status: int, kind: str, message: str) -> None:
        """Answer so, unless an answer has begun, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_in_full(Refusal(status, kind, message)))
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self._follow()


def _in_full(refusal: Refusal) -> bytes:
    """The refusal as it goes over a connection that it is the last answer of."""
    answer = refusal.response()
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(answer.body)


# -- bodies --------------------------------------------------------------------------------------


class Bodies:
    """ASGI middleware: a body is read here, counted as it comes, and handed on when it is whole."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._held = 0  # bytes
        self._growing: dict[asyncio.Timeout, tuple[float, bytearray]] = {}
        # When those beyond LARGEST_BODY began, and what they are so far.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = bytearray()
        try:
            if not await self._is_whole(scope, receive, body):
                return  # the client has hung up
        except Refusal as refusal:
            if _is_last(Headers(scope=scope)):
                await _drain(receive)
            return await refusal.response()(scope, receive, send)
        else:
            await self._app(_with_length(scope, len(body)), _handed_on(body, receive), send)
        finally:
            self._held -= len(body)

    async def _is_whole(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Whether all of it is in `body`.  Raises Refusal."""
        most = LARGEST_QUERY if scope["path"] == "/api/search" else LARGEST_BODY
        announced = Headers(scope=scope).get("content-length", "0")
        if int(announced) > most:  # a whole number, or h11 had refused it
            raise _too_large(most)
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(BODY_SECONDS) as limit:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    body += message["body"]
                    self._held += len(message["body"])
                    if len(body) > most:
                        raise _too_large(most)
                    if len(body) > LARGEST_BODY:
                        self._growing[limit] = (begun, body)
                        self._make_room()
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            raise Refusal(
                408, "too_slow", "the body did not come in time; ask again over a faster line"
            ) from None
        except asyncio.CancelledError:
            raise Refusal(
                503, "stopping", "the service is being stopped; ask again in a moment"
            ) from None
        finally:
            self._growing.pop(limit, None)

    def _make_room(self) -> None:
        """Bodies that take longest go first, so that what is sent fast gets through beside those
        that are held open.  Raises Refusal where all have just begun."""
        now = asyncio.get_running_loop().time()
        while self._held > MOST_HELD and self._growing:
            limit, (begun, body) = next(iter(self._growing.items()))
            if now - begun < SAFE_SECONDS:
                raise busy("too many large requests at once")
            del self._growing[limit]
            self._held -= len(body)
            body.clear()
            if not limit.expired():
                limit.reschedule(now)


def _too_large(most: int) -> Refusal:
    return Refusal(413, "too_large", f"the request may have {most} bytes")


def _is_last(headers: Headers) -> bool:
    """Whether the client sends its body without a word of ours, and has the connection closed."""
    return "expect" not in headers and "close" in headers.get("connection", "").lower()


async def _drain(receive: Receive) -> None:
    """Take what still comes of a body: a connection that is closed with bytes unread is reset, and
    the client does not see the answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS[REST]):
            while (await receive()).get("more_body"):
                pass


def _with_length(scope: Scope, length: int) -> Scope:
    """The scope of a request whose body has come whole, with its length among the headers."""
    lengths = (b"content-length", b"transfer-encoding")
    headers = [header for header in scope["headers"] if header[0] not in lengths]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _handed_on(body: bytearray, receive: Receive) -> Receive:
    """As `receive`, for a body that is here: no more than a piece of it is in memory twice."""
    position = 0

    async def receiving() -> Message:
        nonlocal position
        if position and position >= len(body):
            return await receive()
        piece = bytes(memoryview(body)[position : position + _PIECE])
        position += _PIECE
        return {"type": "http.request", "body": piece, "more_body": position < len(body)}

    return receiving
