"""A client's connection: HTTP/1 requests in, answers out, in their order and each within bounds."""

import asyncio
import collections
import time
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from serving import bounds
from serving.form import refused_form
from serving.long_json import refused_json
from serving.message import Answer, Request

_BUFFER = memoryview(bytearray(2**18))
"""What is read from any connection, until it is parsed at once."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Port(Protocol):
    """What a connection asks of the front."""

    longest_body: int
    too_large: Answer
    is_stopping: bool

    def joined(self, connection: "Connection") -> None: ...
    def left(self, connection: "Connection") -> None: ...
    def refused(self, request: Request) -> Answer | None: ...
    def refused_now(self) -> Answer | None: ...
    def hold(self, connection: "Connection", size: int) -> None: ...
    def came(self, connection: "Connection") -> None: ...
    def drop(self, connection: "Connection", size: int) -> None: ...
    def release(self, size: int) -> None: ...
    def ask(self, request: Request, answered: Callable[[Answer], None]) -> None: ...
    def tell(self, connection: "Connection", request: Request, answer: Answer) -> None: ...
    def dressed(self, request: Request, answer: Answer) -> Answer: ...


class Connection(asyncio.BufferedProtocol):
    """Reads requests by `httptools`, and answers one after the other."""

    def __init__(self, port: Port):
        self._port = port
        self._transport: asyncio.Transport
        self.peer = ""
        """The client's address, for the log."""
        self._parser = httptools.HttpRequestParser(self)
        self._reading: Request | None = None
        self._whole: collections.deque[Request] = collections.deque()
        """Requests that have come, whose first is the one that is asked."""
        self._is_asking = False
        self._refused: Answer | None = None
        """What the request that is being read is answered, which is then the last one."""
        self._is_deaf = False
        """What still comes is thrown away."""
        self._is_full = False
        """The client does not take what it is sent."""
        self._ended = False
        """The client sends no more."""
        self._fed = self._began_in_feed = self._head_bytes = 0
        self._has_head = False
        self.quiet_since = time.monotonic()
        """When it last began to wait for a request."""
        self._deadline = self.quiet_since + bounds.HEAD_SECONDS
        self._at_last_look = 0
        """Bytes of the body at the last look at its rate."""

    @property
    def is_quiet(self) -> bool:
        """Whether it waits for a request to begin."""
        return self._reading is None and not self._whole

    @property
    def body_since(self) -> float:
        """When the request that is being read began, by `time.monotonic`."""
        return self._reading.began if self._reading else self.quiet_since

    def look(self, now: float) -> None:
        """End what takes too long; to be called once a second or so."""
        if now < self._deadline or self._is_asking:
            return
        if self._is_full or self._is_deaf or self.is_quiet:
            self._transport.abort()
            return
        if self._reading is not None:
            size = len(self._reading.body)
            if (
                not self._has_head
                or size - self._at_last_look < bounds.LEAST_RATE * bounds.BODY_SECONDS
            ):
                self.refuse(bounds.SLOW)
                return
            self._at_last_look = size
            self._deadline = now + bounds.BODY_SECONDS

    def refuse(self, answer: Answer) -> None:
        """Answer the request that is being read so, and read no more."""
        if self._is_deaf:
            return
        if self._reading is None:
            self._reading = Request()
        self._refused, self._is_deaf = answer, True
        self._port.drop(self, len(self._reading.body))
        self._reading.body = bytearray()
        self._deadline = time.monotonic() + bounds.LINGER_SECONDS
        self._go_on()

    def stop(self) -> None:
        """Keep it no longer than for the answers that are due."""
        if self.is_quiet:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # -- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else ""
        self._port.joined(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, size: int) -> None:
        self._read(_BUFFER[:size])

    def _read(self, data: memoryview) -> None:
        if self._is_deaf:
            return
        self._began_in_feed = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._go_on_in_http_1(bytes(data[stopped.args[0] :]))
            return
        except httptools.HttpParserError:
            self.refuse(bounds.NOT_HTTP)
            return
        self._fed = 0 if self._began_in_feed else self._fed + len(data)
        if self._is_deaf or self._reading is None:
            return
        if self._fed > bounds.WIRE_SPARE + 2 * len(self._reading.body):
            self.refuse(bounds.WASTEFUL if self._has_head else bounds.LONG_HEAD)

    def _go_on_in_http_1(self, rest: bytes) -> None:
        """Read a request that asks for another protocol as if it did not: that is allowed, and some
        clients always ask.  rest: what came behind its headers."""
        request = self._reading
        if request is None or request.method == b"CONNECT":
            self.refuse(bounds.NOT_HTTP)
            return
        self._parser = httptools.HttpRequestParser(self)
        self._read(memoryview(request.head_as_sent(without=b"upgrade") + rest))

    def eof_received(self) -> bool:
        self._ended = True
        is_refusing = self._refused is not None and self._reading is not None
        return bool(self._whole) or is_refusing  # else it is closed

    def pause_writing(self) -> None:
        self._is_full = True
        self._deadline = time.monotonic() + bounds.TAKE_SECONDS

    def resume_writing(self) -> None:
        self._is_full = False
        self._wait_for_more()
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_deaf = True
        if self._reading is not None:
            self._port.drop(self, len(self._reading.body))
            self._reading = None  # the parser and this hold one another; its body is freed now
        self._forget_waiting()
        self._port.left(self)

    # -- what the parser calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_deaf:
            return
        self._reading = Request()
        self._has_head, self._head_bytes = False, 0
        self._began_in_feed, self._at_last_look = True, 0
        if not self._is_asking and not self._is_full:
            self._deadline = time.monotonic() + bounds.HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        if self._reading is not None and not self._is_deaf:
            self._reading.target += url
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None or self._is_deaf:
            return
        if not self._has_head:  # else it stands behind the body
            self._reading.headers.append((name, value))
        self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        request = self._reading
        if request is None or self._is_deaf:
            return
        self._has_head = True
        request.method = self._parser.get_method()
        if self._parser.should_upgrade():
            return  # it is read again without that
        request.keeps_alive = self._parser.should_keep_alive()
        if refused := self._port.refused(request):
            self.refuse(refused)
            return
        if not self._is_asking and not self._is_full:
            self._deadline = time.monotonic() + bounds.BODY_SECONDS
        if (request.header(b"expect") or b"").lower() == b"100-continue" and not self._whole:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        request = self._reading
        if request is None or self._is_deaf:
            return
        request.body += body
        self._port.hold(self, len(body))  # which may refuse it
        if len(request.body) > self._port.longest_body:
            self.refuse(self._port.too_large)

    def on_message_complete(self) -> None:
        request = self._reading
        if request is None or self._is_deaf or self._parser.should_upgrade():
            return
        self._port.came(self)
        refused = refused_form(request) or refused_json(request) or self._port.refused_now()
        if refused:
            self.refuse(refused)
            return
        if len(self._whole) >= bounds.MOST_AHEAD:
            self.refuse(bounds.TOO_MANY)
            return
        self._reading = None
        self._whole.append(request)
        if len(self._whole) > 1:
            self._transport.pause_reading()
        self._go_on()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > bounds.LONGEST_HEAD:
            self.refuse(bounds.LONG_HEAD)

    # -- answers ---------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Ask for the next answer, or give the last one, when it is its turn."""
        if self._is_asking or self._is_full or self._transport.is_closing():
            return
        if self._whole:
            self._is_asking = True
            self._port.ask(self._whole[0], self._answered)
        elif self._refused is not None and self._reading is not None:
            request, self._reading = self._reading, None
            self._write(request, self._refused, keeps_alive=False)

    def _answered(self, answer: Answer) -> None:
        request = self._whole.popleft()
        self._is_asking = False
        self._port.release(len(request.body))
        if self._transport.is_closing():
            return
        is_last = self.is_quiet and (self._ended or self._port.is_stopping)
        keeps_alive = request.keeps_alive and not answer.closes and not is_last
        self._write(request, answer, keeps_alive)
        if not keeps_alive:
            return
        self._wait_for_more()
        if not self._whole and not self._ended:
            self._transport.resume_reading()
        self._go_on()

    def _wait_for_more(self) -> None:
        if self._is_full or self._is_deaf:
            return
        now = time.monotonic()
        self.quiet_since = now
        self._deadline = now + (bounds.IDLE_SECONDS if self.is_quiet else bounds.BODY_SECONDS)

    def _write(self, request: Request, answer: Answer, keeps_alive: bool) -> None:
        self._port.tell(self, request, answer)
        self._transport.write(self._port.dressed(request, answer).whole(request, keeps_alive))
        if keeps_alive:
            return
        self._is_deaf = True
        self._forget_waiting()
        self._deadline = time.monotonic() + bounds.LINGER_SECONDS
        if self._ended:
            self._transport.close()
        else:
            self._transport.resume_reading()
            # The client reads the answer before it sees the connection closed under what it sends.
            self._transport.write_eof()

    def _forget_waiting(self) -> None:
        while len(self._whole) > self._is_asking:
            self._port.release(len(self._whole.pop().body))
