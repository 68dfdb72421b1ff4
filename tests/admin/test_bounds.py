"""What strangers may cost the admin service: budgets, counted on its real process."""

import asyncio
import contextlib
import http.client
import json
import socket
import statistics
import threading
import time

import httpx
import psutil
import pytest
import uvicorn

from admin import bounds
from admin.bounds import LARGEST_BODY, LARGEST_QUERY, MOST_CONNECTIONS, Bodies, Bounded
from tests.admin.conftest import Admin, administering, set_up_shop
from tests.running import free_block, wait_for

MB = 2**20


@pytest.fixture(scope="module")
def admin(tmp_path_factory):
    """Nothing answers searches beside it."""
    folder = set_up_shop(tmp_path_factory.mktemp("shop"))
    with administering(folder, EFISS_SERVICE_URL="http://127.0.0.1:1") as admin:
        yield admin


class Strangers:
    """Connections that nothing is known of."""

    def __init__(self, admin: Admin):
        self._port = int(admin.url.rpartition(":")[2])
        self.sockets: list[socket.socket] = []

    def connect(self, sent: bytes = b"") -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self.sockets.append(connected)
        with contextlib.suppress(OSError):  # it may be refused before it has sent all
            connected.sendall(sent)
        return connected


@pytest.fixture
def strangers(admin):
    strangers = Strangers(admin)
    yield strangers
    for one in strangers.sockets:
        one.close()


def head(path: str, length: int, more: str = "") -> bytes:
    start = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return f"{start}Content-Length: {length}\r\n{more}\r\n".encode()


def answer(connected: socket.socket) -> tuple[int, dict]:
    """Status and body of what comes before the service closes the connection."""
    told = http.client.HTTPResponse(connected)
    told.begin()
    return told.status, json.loads(told.read())


def resident(admin: Admin) -> int:
    return psutil.Process(admin.process.pid).memory_info().rss


def seconds(ask) -> float:
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start


# -- bodies --------------------------------------------------------------------------------------


@pytest.mark.server
def test_sixty_large_bodies_that_are_held_open_take_little_and_others_are_answered(
    admin, strangers
):
    """Sends up to 1.9 GB."""
    before = resident(admin)
    body = bytes(31 * MB)

    def hold() -> None:
        strangers.connect(head("/api/search", len(body) + 1) + body)

    holding = [threading.Thread(target=hold) for _ in range(60)]
    for thread in holding:
        thread.start()
    took, most = [], 0
    while any(thread.is_alive() for thread in holding):
        took.append(seconds(lambda: admin.get("/health/live")))
        most = max(most, resident(admin))
    assert max(took) < 10 and statistics.median(took) < 3
    assert most - before < bounds.MOST_HELD + 100 * MB
    photo = b'{"image": "%s"}' % bytes(MB)

    def asks() -> bool:  # what is held makes room for it
        return admin.post("/api/search", content=photo).json()["type"] == "search_unreachable"

    wait_for(asks, bounds.SAFE_SECONDS + 60)
    for one in strangers.sockets:
        one.close()
    wait_for(lambda: resident(admin) - before < 50 * MB)


@pytest.mark.server
@pytest.mark.parametrize("path", ["/api/reindex", "/api/rollback", "/api/versions/1.0.0/activate"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_is_too_long_is_refused(admin, path, is_chunked):
    body = b" " * (LARGEST_BODY + 1)
    sent = iter([body]) if is_chunked else body
    refused = httpx.post(admin.url + path, content=sent)
    assert (refused.status_code, refused.json()["type"]) == (413, "too_large")


@pytest.mark.server
def test_a_refusal_reaches_who_closes_after_it(admin, strangers):
    too_long = head("/api/search", LARGEST_QUERY + 1, "Connection: close\r\n")
    told = answer(strangers.connect(too_long + bytes(LARGEST_QUERY + 1)))
    assert (told[0], told[1]["type"]) == (413, "too_large")


@pytest.mark.server
def test_a_body_of_tiny_chunks_costs_little(admin, strangers):
    start = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    process = psutil.Process(admin.process.pid)
    before = process.cpu_times().user
    told = answer(strangers.connect(start + b"1\r\nx\r\n" * 1_000_000))
    assert (told[0], told[1]["type"]) == (413, "too_many_chunks")
    assert process.cpu_times().user - before < 2


def bodies(sent: list[bytes], pause: float) -> list[dict]:
    """What is answered to a search whose body comes in such pieces."""

    async def app(scope, receive, send) -> None:
        raise AssertionError("it is not whole")

    async def ask() -> list[dict]:
        pieces, answered = iter(sent), []

        async def receive() -> dict:
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": next(pieces), "more_body": True}

        async def send(message: dict) -> None:
            answered.append(message)

        scope = {"type": "http", "path": "/api/search", "headers": []}
        await Bodies(app)(scope, receive, send)
        return answered

    return asyncio.run(ask())


def test_a_body_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(bounds, "BODY_SECONDS", 0.2)
    told, body = bodies([b"x"] * 1000, 0.01)
    assert told["status"] == 408 and b'"too_slow"' in body["body"]


def test_bodies_that_have_just_begun_make_no_room(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_HELD", 2 * LARGEST_BODY)
    told, body = bodies([bytes(LARGEST_BODY)] * 4, 0)
    assert told["status"] == 429 and b'"busy"' in body["body"]
    assert (b"retry-after", b"1") in told["headers"]


@pytest.mark.server
def test_a_search_ends_with_its_client(tmp_path):
    """The search service takes it and does not answer; it sees the connection closed at once."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as service:
        url = f"http://127.0.0.1:{service.getsockname()[1]}"
        with administering(set_up_shop(tmp_path), EFISS_SERVICE_URL=url) as admin:
            client = Strangers(admin).connect(head("/api/search", 2) + b"{}")
            passed_on, _ = service.accept()
            passed_on.settimeout(10)
            received = b""
            while not received.endswith(b"{}"):
                received += passed_on.recv(2**16)
            client.close()
            assert passed_on.recv(1) == b""
            assert admin.get("/health/live").status_code == 200


# -- connections ---------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", head("/api/search", 10)])
def test_connections_that_are_held_open_keep_nobody_out(admin, strangers, sent):
    """Opens 1,500."""
    for _ in range(3 * MOST_CONNECTIONS):
        strangers.connect(sent)
    assert max(seconds(lambda: admin.get("/health/live")) for _ in range(5)) < 10
    assert psutil.Process(admin.process.pid).num_fds() < 2 * MOST_CONNECTIONS


@pytest.mark.server
@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n", head("/api/reindex", LARGEST_BODY + 1)])
def test_a_connection_on_which_little_comes_is_cut(admin, strangers, sent):
    """It waits as long as the service does."""
    dripping = strangers.connect(sent)

    def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                dripping.sendall(b"a")
                time.sleep(0.1)

    assert seconds(drip) < 40


@pytest.mark.server
@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\na: " + b"x" * 2 * bounds.LARGEST_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a:\r\n" * 60_000 + b"\r\n",
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(admin, strangers, sent):
    told = answer(strangers.connect(sent))
    assert told[0] == 400 and "headers are too long" in told[1]["message"]


@pytest.mark.server
def test_a_kept_connection_answers_at_once(admin):
    """Nagle's algorithm would hold the end of each answer back for 40 ms."""
    with httpx.Client() as client:
        took = [seconds(lambda: client.get(f"{admin.url}/health/live")) for _ in range(50)]
    assert min(took) < 0.03


@pytest.mark.server
def test_hang_ups_and_nonsense_leave_no_word_in_the_log(tmp_path):
    """Waits for the body that never comes as long as a service does that is stopped."""
    with administering(set_up_shop(tmp_path)) as admin:
        strangers = Strangers(admin)
        for sent in (b"", b"nonsense\r\n\r\n", head("/api/search", 9), head("/", 9) + b"x" * 9):
            for _ in range(50):
                strangers.connect(sent).close()
        refused = (
            b"Transfer-Encoding: chunked\r\n\r\n11180\r\n" + bytes(70_016) + b"\r\nno chunk\r\n"
        )
        strangers.connect(b"POST /api/reindex HTTP/1.1\r\nHost: 127.0.0.1\r\n" + refused)
        late = strangers.connect(head("/api/search", 9))  # which comes never, until the end
        assert admin.get("/health/live").status_code == 200
        admin.process.terminate()
        status, told = answer(late)
        assert (status, told["type"]) == (503, "stopping")
        said = admin.process.stderr.read().splitlines()
        assert [line for line in said if "graceful shutdown" not in line] == []


@contextlib.contextmanager
def hanging(most: int):
    """A server with so many connections that answers no request."""

    async def app(scope, receive, send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    config = bounds.configured(app)
    config.lifespan, config.port = "off", free_block()
    Bounded.most = most
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join()


def test_where_all_connections_await_an_answer_another_one_is_refused(monkeypatch):
    monkeypatch.setattr(Bounded, "most", 3)
    with hanging(3) as server, contextlib.ExitStack() as held:
        port, tasks = server.config.port, server.server_state.tasks
        for _ in range(3):
            one = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        wait_for(lambda: len(tasks) == 3)
        refused = httpx.get(f"http://127.0.0.1:{port}")
        assert (refused.status_code, refused.json()["type"]) == (429, "busy")
        assert refused.headers["retry-after"] == "1"
