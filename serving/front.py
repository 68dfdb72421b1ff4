"""The front: takes clients' connections in TorchServe's place and hands whole requests on to it.

It bounds what TorchServe's own front leaves open: connections, slow ones, bytes of bodies.
"""

import asyncio
import collections
import contextlib
import dataclasses
import resource
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from machine.processes import reuse_freed_memory
from serving.connection import Connection
from serving.handing import can_hand
from serving.log import Log
from serving.message import Answer, Request, refusal
from serving.probe import OF_A_WORKER
from serving.routes import Check, refused_metrics, refused_search
from serving.upstream import Upstream

MOST_CONNECTIONS = 1000
BACKLOG = 1024
LOOK_SECONDS = 1
FLUSH_SECONDS = 0.05
"""That the last bytes of answers have to leave in at the end."""
FAST_SECONDS = 2
"""A body that has been coming for longer makes room for others."""

_OF_A_WORKER = OF_A_WORKER.encode()
_BUSY = refusal(429, "busy", "the search service has too much to do; ask again", retry_after=1)
_CROWDED = refusal(429, "busy", "the search service has too many connections", retry_after=1)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What clients may ask of the front."""

    body: int
    """Bytes of a request's body."""
    bodies: int
    """Bytes of all bodies, while they come and until they are answered."""
    passed_on: int
    """Bytes of the large bodies that TorchServe has at once."""
    requests: int
    """Requests that wait for an answer."""
    origin: str = ""
    """Of the web pages that may read what they are refused, `*` for all of them."""


class Front:
    """Listens on two ports, the search's and the metrics'.  Runs in a thread of its own."""

    def __init__(self, host: str, port: int, limits: Limits, log: Log):
        """port: the search's; the metrics' is five above.  Raises OSError."""
        self.limits, self.log = limits, log
        self.asked = self.answered = 0
        """Requests that wait for TorchServe, and searches that a worker answered until now."""
        self.refusals: collections.Counter[str] = collections.Counter()
        self.connections: dict[Connection, None] = {}
        self.restarts = 0
        self._coming: dict[Connection, None] = {}
        """Those with a body under way, the one first that has been so longest."""
        self._bytes = 0
        self._most_connections = _room_for_connections()
        self._sockets: list[socket.socket] = []
        try:
            for number in (port, port + 5):
                self._sockets.append(socket.create_server((host, number), backlog=BACKLOG))
        except OSError:
            self._close_sockets()
            raise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    def start(self, search: Path, metrics: Path) -> None:
        """Pass requests to TorchServe's Unix sockets; they may be absent as yet."""
        can_hand()  # tried here: it takes longer than the loop may wait
        self._ports = [
            SearchPort(self, refused_search, Upstream(search, self.limits.passed_on)),
            MetricsPort(self, refused_metrics, Upstream(metrics, self.limits.passed_on)),
        ]
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def drain(self, seconds: float) -> None:
        """Take no more connections, and wait for the answers that are due."""
        deadline = time.monotonic() + seconds
        self._in_loop(self._stop_listening())
        while time.monotonic() < deadline and not all(
            one.is_quiet for one in list(self.connections)
        ):
            time.sleep(0.02)

    def close(self) -> None:
        """End every connection, and the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)
        self._close_sockets()

    # -- what its ports ask ----------------------------------------------------------------------

    def joined(self, connection: Connection) -> bool:
        """Whether there is room for it, if need be in the place of the one quiet longest."""
        if len(self.connections) >= self._most_connections:
            quiet = [one for one in self.connections if one.is_quiet]
            if not quiet:
                return False
            longest = min(quiet, key=lambda one: one.quiet_since)
            del self.connections[longest]
            longest.abort()
        self.connections[connection] = None
        return True

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes of its body; where they are too many, refuse the body that comes slowest."""
        self._bytes += size
        self._coming.setdefault(connection, None)
        while self._bytes > self.limits.bodies and self._coming:
            slowest = next(iter(self._coming))
            is_slow = time.monotonic() - slowest.body_since > FAST_SECONDS
            (slowest if is_slow else connection).refuse(_BUSY)
            if connection not in self._coming:
                return

    def release(self, size: int) -> None:
        """Bytes of a body are needed no more."""
        self._bytes -= size

    def came(self, connection: Connection) -> None:
        """Its body has come as a whole."""
        self._coming.pop(connection, None)

    def own_metrics(self) -> bytes:
        """What the front itself has to tell Prometheus."""
        lines = ["# TYPE image_retrieval_refused_total counter"]
        lines += [
            f'image_retrieval_refused_total{{Type="{kind}"}} {count}'
            for kind, count in sorted(self.refusals.items())
        ]
        lines += [
            "# TYPE image_retrieval_connections gauge",
            f"image_retrieval_connections {len(self.connections)}",
            "# TYPE image_retrieval_restarts_total counter",
            f"image_retrieval_restarts_total {self.restarts}",
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    # -- its thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        reuse_freed_memory()
        self._loop.run_until_complete(self._listen())
        self._loop.call_later(LOOK_SECONDS, self._look)
        self._loop.run_forever()
        for connection in list(self.connections):
            connection.stop()
        self._loop.run_until_complete(asyncio.sleep(FLUSH_SECONDS))
        for connection in list(self.connections):
            connection.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        self._servers = [
            await self._loop.create_server(lambda port=port: Connection(port), sock=sock)  # type: ignore[misc]
            for port, sock in zip(self._ports, self._sockets, strict=True)
        ]

    async def _stop_listening(self) -> None:
        for port, server in zip(self._ports, self._servers, strict=True):
            port.is_stopping = True
            server.close()
        for connection in list(self.connections):
            connection.stop()

    def _look(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            connection.look(now)
        self._loop.call_later(LOOK_SECONDS, self._look)

    def _in_loop(self, work: Coroutine[None, None, None]) -> None:
        if not self._thread.is_alive():
            work.close()
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=1)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()


class SearchPort:
    """What the connections to one address share."""

    def __init__(self, front: Front, check: Check, upstream: Upstream):
        self._front, self._check, self._upstream = front, check, upstream
        limit = front.limits.body
        self.longest_body = limit
        self.too_large = refusal(413, "too_large", f"the body is over {limit} bytes")
        self.is_stopping = False
        self.hold, self.release, self.came = front.hold, front.release, front.came

    def joined(self, connection: Connection) -> None:
        if not self._front.joined(connection):
            connection.refuse(_CROWDED)

    def left(self, connection: Connection) -> None:
        self._front.connections.pop(connection, None)
        self._front.came(connection)

    def drop(self, connection: Connection, size: int) -> None:
        """Its body is not read on."""
        self._front.came(connection)
        self._front.release(size)

    def refused(self, request: Request) -> Answer | None:
        """Why a request is refused by its head; None when it is read on."""
        length = request.header(b"content-length") or b"0"  # a number, or the parser refused it
        return self._check(request) or (self.too_large if int(length) > self.longest_body else None)

    def refused_now(self) -> Answer | None:
        """Why a request that has come cannot wait for an answer; None when it can."""
        return _BUSY if self._front.asked >= self._front.limits.requests else None

    def ask(self, request: Request, answered: Callable[[Answer], None]) -> None:
        """Have a request answered by TorchServe."""

        def count(answer: Answer) -> None:
            self._front.asked -= 1
            answered(self._seen(answer))

        self._front.asked += 1
        self._upstream.ask(request, count)

    def tell(self, connection: Connection, request: Request, answer: Answer) -> None:
        """Log and count what is refused."""
        if answer.kind is not None:
            self._front.refusals[answer.kind] += 1
        if answer.status < 400:
            return
        line = (request.method + b" " + request.target[:200]).decode("ascii", "backslashreplace")
        ms = (time.monotonic() - request.began) * 1000
        self._front.log.refusal(f'{connection.peer} "{line}" {answer.status} {ms:.0f}')

    def dressed(self, request: Request, answer: Answer) -> Answer:
        """A refusal as web pages of the origin that may read answers can read it."""
        origin = self._front.limits.origin
        if answer.kind is None or origin not in ("*", _text(request.header(b"origin"))):
            return answer
        cors = [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]
        return dataclasses.replace(answer, headers=answer.headers + cors)

    def _seen(self, answer: Answer) -> Answer:
        is_of_a_worker = any(name == _OF_A_WORKER for name, _ in answer.headers)
        self._front.answered += is_of_a_worker
        # TorchServe's own 503 says that its queue is full.
        is_full = answer.status == 503 and answer.kind is None and not is_of_a_worker
        return _BUSY if is_full else answer


class MetricsPort(SearchPort):
    """The metrics', which are TorchServe's and the front's own."""

    def _seen(self, answer: Answer) -> Answer:
        own = self._front.own_metrics()
        if answer.kind is not None:  # TorchServe starts
            return Answer(200, [(b"content-type", b"text/plain; version=0.0.4")], own)
        return dataclasses.replace(answer, body=answer.body + own)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _room_for_connections() -> int:
    """As many as the limit on open files has room for beside TorchServe's connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 3)
