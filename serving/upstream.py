"""Connections to TorchServe on a Unix socket, kept and used again."""

import asyncio
import collections
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httptools

from serving import handing
from serving.message import OF_THE_CONNECTION, Answer, Headers, Request, refusal

ANSWER_SECONDS = 90
"""Until TorchServe must have answered; it replaces a worker that hangs for 20, and `watch` replaces
TorchServe itself sooner than this."""
SMALL_BYTES = 2**20
"""A body up to this size waits for no other one."""

STARTING = refusal(
    503, "starting", "the search service starts; ask again in a few seconds", retry_after=2
)
_LOST = refusal(
    503, "connection_lost", "the search broke off while it answered; ask again", retry_after=1
)
_SLOW = refusal(504, "no_answer", f"the search gave no answer within {ANSWER_SECONDS} s")

Answered = Callable[[Answer], None]


class Upstream:
    """One address of TorchServe.  To be used in the event loop's thread."""

    def __init__(self, socket: Path, most_bytes: int):
        """most_bytes: of large bodies that TorchServe has at once, unless it is a single one; the
        next ones wait for their turn."""
        self._socket, self._most_bytes = socket, most_bytes
        self._idle: list[_Exchange] = []
        self._waiting: collections.deque[tuple[Request, Answered]] = collections.deque()
        self._bytes = 0
        self._tasks: set[asyncio.Task] = set()

    def ask(self, request: Request, answered: Answered) -> None:
        """Send a request; `answered` is called once, later, with the answer or a refusal."""
        if len(request.body) <= SMALL_BYTES:
            self._send(request, answered)
            return
        self._waiting.append((request, answered))
        self._send_what_fits()

    def _send_what_fits(self) -> None:
        while self._waiting:
            request, answered = self._waiting[0]
            size = len(request.body)
            if self._bytes and self._bytes + size > self._most_bytes:
                return
            self._waiting.popleft()
            self._bytes += size
            self._send(request, self._counted(size, answered))

    def _counted(self, size: int, answered: Answered) -> Answered:
        def done(answer: Answer) -> None:
            self._bytes -= size
            answered(answer)
            self._send_what_fits()

        return done

    def _send(self, request: Request, done: Answered) -> None:
        while self._idle:
            exchange = self._idle.pop()
            if exchange.is_open():
                exchange.send(request, done)
                return
        task = asyncio.get_running_loop().create_task(self._connect_and_send(request, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_and_send(self, request: Request, done: Answered) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, exchange = await loop.create_unix_connection(
                lambda: _Exchange(self._idle), str(self._socket)
            )
        except OSError:
            done(STARTING)
        else:
            exchange.send(request, done)


class _Exchange(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, idle: list["_Exchange"]):
        """idle: where it puts itself when it may be used again."""
        self._idle = idle
        self._transport: asyncio.Transport
        self._done: Answered | None = None
        self._handed: handing.Body | None = None
        self._timer: asyncio.TimerHandle

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def send(self, request: Request, done: Answered) -> None:
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._body = bytearray()
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._give_up, _SLOW)
        self._handed = handing.body_of(request)
        if self._handed:
            self._transport.write(request.head([self._handed.header], 0))
            return
        head = request.head([], len(request.body))
        if len(request.body) < handing.LEAST_BYTES:
            self._transport.write(head + request.body)
        else:
            self._transport.write(head)
            self._transport.write(request.body)

    # -- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._done is None:  # nothing was asked
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._give_up(_LOST)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        self._give_up(_LOST)

    # -- what the parser calls -------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in OF_THE_CONNECTION:
            self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._parser.should_keep_alive():
            self._idle.append(self)
        else:
            self._transport.close()
        self._finish(Answer(status, self._headers, bytes(self._body)))

    def _give_up(self, answer: Answer) -> None:
        self._transport.abort()
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        self._timer.cancel()
        if self._handed:
            self._handed.close()
        done(answer)
