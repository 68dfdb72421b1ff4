"""The front before a real TorchServe: what HTTP allows is answered, what costs too much refused."""

import contextlib
import http.client
import io
import json
import select
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from efiss_client import PATH, Client
from serving import bounds, front, handing
from serving.front import Front, Limits
from serving.log import Log
from tests.running import free_block, wait_for

CODE = {"code": "0123456789abcdef"}
JSON = b"Content-Type: application/json\r\n"


def request(
    body: bytes | None = None, head: bytes = JSON, version: bytes = b"1.1", **fields
) -> bytes:
    """A whole request as bytes, for a code unless another body is given."""
    body = json.dumps(CODE | fields).encode() if body is None else body
    return (
        f"POST {PATH} HTTP/".encode() + version + b"\r\nHost: here\r\n" + head
        + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )  # fmt: skip


@contextlib.contextmanager
def connected(port: int, timeout: float = 30) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        yield sock


def answers(sock: socket.socket, count: int = 1, method: str = "POST") -> list[tuple[int, dict]]:
    """The next answers on a connection: (status, JSON)."""
    read = []
    for _ in range(count):
        response = http.client.HTTPResponse(sock, method=method)
        # By single bytes, so that nothing of the next answer is taken.
        response.fp = sock.makefile("rb", buffering=0)
        response.begin()
        text = response.read()
        read.append((response.status, json.loads(text) if text else {}))
    return read


def asked(port: int, sent: bytes) -> tuple[int, dict]:
    with connected(port) as sock:
        sock.sendall(sent)
        return answers(sock)[0]


# -- what HTTP allows ----------------------------------------------------------------------------


def test_a_client_that_closes_its_sending_side_gets_its_answer(service):
    with connected(service.port) as sock:
        sock.sendall(request(top_k=3))
        sock.shutdown(socket.SHUT_WR)
        ((status, answer),) = answers(sock)
        assert status == 200 and len(answer["relevant"]) == 3
        assert sock.recv(1) == b""


def test_pipelined_requests_are_answered_in_their_order(service):
    counts = [1, 9, 2, 8, 0, 3, 7, 4, 6, 5]  # none may be asked for: one is refused by a worker
    with connected(service.port) as sock:
        sock.sendall(b"".join(request(top_k=count) for count in counts))
        sock.shutdown(socket.SHUT_WR)
        got = answers(sock, len(counts))
    assert [len(answer.get("relevant", ())) for _, answer in got] == counts
    assert [status for status, _ in got] == [400 if count == 0 else 200 for count in counts]


def test_more_pipelined_requests_than_fit_are_refused_after_their_answers(service):
    count = bounds.MOST_AHEAD + 20
    with connected(service.port) as sock:
        sock.sendall(request(top_k=1) * count)
        got = [status for status, _ in answers(sock, bounds.MOST_AHEAD + 1)]
        assert sock.recv(1) == b""
    assert got == [200] * bounds.MOST_AHEAD + [429]


def test_what_stands_behind_the_address_comes_to_the_worker(service):
    """And a caller cannot write it elsewhere."""
    head = JSON + b"x-efiss-query: top_k=9\r\n"
    sent = request(b"", head).replace(PATH.encode(), f"{PATH}?top_k=2&code={CODE['code']}".encode())
    status, answer = asked(service.port, sent)
    assert status == 200 and len(answer["relevant"]) == 2


def test_a_chunked_body(service):
    body = json.dumps(CODE | {"top_k": 2}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7])
                      for i in range(0, len(body), 7))  # fmt: skip
    head = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    status, answer = asked(service.port, head + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")
    assert status == 200 and len(answer["relevant"]) == 2


def test_http_1_0_closes_unless_it_asks_to_keep(service):
    with connected(service.port) as sock:
        keep = JSON + b"Connection: keep-alive\r\n"
        sock.sendall(request(head=keep, version=b"1.0"))
        assert answers(sock)[0][0] == 200
        sock.sendall(request(version=b"1.0"))
        assert answers(sock)[0][0] == 200
        assert sock.recv(1) == b""


def test_head_has_no_body_and_the_connection_goes_on(service):
    with connected(service.port) as sock:
        sock.sendall(b"HEAD /ping HTTP/1.1\r\nHost: here\r\n\r\n")
        assert answers(sock, method="HEAD") == [(200, {})]
        sock.sendall(request())
        assert answers(sock)[0][0] == 200


def test_expect_100_continue(service):
    body = json.dumps(CODE).encode()
    with connected(service.port) as sock:
        sock.sendall(request(head=JSON + b"Expect: 100-continue\r\n")[: -len(body)])
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert answers(sock)[0][0] == 200


def test_what_is_too_large_is_refused_before_it_is_sent(service):
    head = JSON + b"Expect: 100-continue\r\nContent-Length: 33554433\r\n\r\n"
    with connected(service.port) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nHost: here\r\n".encode() + head)
        ((status, answer),) = answers(sock)
    assert (status, answer["code"], answer["type"]) == (413, 413, "too_large")


def test_an_upgrade_to_http_2_is_passed_over(service):
    head = JSON + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    with connected(service.port) as sock:
        sock.sendall(request(head=head) * 3)
        assert [status for status, _ in answers(sock, 3)] == [200] * 3


def test_a_kept_connection_answers_at_once(service):
    """Nagle's algorithm would add 40 ms to each."""
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as client:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            assert client.get("/ping").status_code == 200
            times.append(time.perf_counter() - start)
    assert min(times) < 0.03


# -- what is refused before TorchServe parses it -------------------------------------------------


def form(
    parts: int, headers: bytes = b"", boundary: bytes = b"xyz", name: bytes = b"data%d"
) -> bytes:
    """name: of each part; %d stands for its number."""
    start = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="'
    names = [name % i if b"%d" in name else name for i in range(parts)]
    body = b"".join(start + one + b'"\r\n' + headers + b"\r\n{}\r\n" for one in names)
    body += b"--" + boundary + b"--\r\n"
    return request(body, b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n")


def line(target: str, method: str = "POST") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n".encode()


REFUSED = {
    "a form": (request(b"a&" * 1000, b"Content-Type: application/x-www-form-urlencoded\r\n"),
               400, "form"),
    "a form that says its letters": (request(b"a&", b"Content-Type: application/x-www-form-urlencod"
                                             b"ed ;charset=utf-8\r\n"), 400, "form"),
    "two parts of one name": (form(2, name=b"shops"), 400, "bad_form"),
    "a form of many parts": (form(33), 400, "bad_form"),
    "a form of parts without names": (request(b"\n--b" * 40, b"content-type: Multipart/Form-Data;"
                                              b" charset=utf-8; boundary=b\r\n"), 400, "bad_form"),
    "a part with long headers": (form(1, b"X: " + b"y" * 5000 + b"\r\n"), 400, "bad_form"),
    "a part that has no end": (request(b"--b\r\nX: y", b"Content-Type: multipart/form-data;"
                                       b"boundary=b\r\n"), 400, "bad_form"),
    "a form in a form": (form(2, b"Content-Type: multipart/mixed; boundary=b\r\n"),
                         400, "bad_form"),
    "a part without a name": (request(
        b"--b\r\nContent-Disposition: file; name=a\r\n\r\n--b--\r\n",
        b"Content-Type: multipart/form-data;boundary=b\r\n"), 400, "bad_form"),
    "a part with half a parameter": (form(1, name=b'data"; fi; filename="b'), 400, "bad_form"),
    "a part in base64": (form(1, b"Content-Transfer-Encoding: base64\r\n"), 400, "bad_form"),
    "a part in another alphabet": (form(1, b"Content-Type: text/plain; charset=nonsense\r\n"),
                                   400, "bad_form"),
    "a file's name with a stray percent": (form(1, name=b"data\"; filename*=utf-8''%zz; a=\"b"),
                                           400, "bad_form"),
    "a file's name in another alphabet": (form(1, name=b"data\"; filename*=nonsense''a; a=\"b"),
                                          400, "bad_form"),
    "the whole server": (line("*", "OPTIONS"), 404, "not_found"),
    "no boundary": (request(b"x", b"Content-Type: multipart/form-data\r\n"), 400, "bad_form"),
    "two content types": (request(head=JSON * 2), 400, "bad_content_type"),
    "a stray percent": (line(f"{PATH}?a=%zz"), 400, "bad_address"),
    "a letter beyond ASCII": (line(f"{PATH}?a=\xe9"), 400, "not_http"),
    "a long address": (line(PATH + "?" + "a" * 5000), 414, "long_address"),
    "many headers": (request(head=b"".join(b"X-%d: y\r\n" % i for i in range(2000))),
                     431, "long_headers"),
    "a long header": (request(head=b"X: " + b"y" * 200_000), 431, "long_headers"),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello \r\n\r\n", 400, "not_http"),
    "two lengths": (request(head=b"Content-Length: 5\r\n"), 400, "not_http"),
    "length and chunks": (request(head=b"Transfer-Encoding: chunked\r\n"), 400, "not_http"),
    "a large declared body": (request(b"", b"")[:-5] + b"999999999\r\n\r\n", 413, "too_large"),
    "long JSON": (request(b'\n[' + b"{}," * 400_000), 413, "too_long"),
    "long JSON beside a short image": (request(b'{"image": "aGk=", "a": "%b"}' % bytes(2**21)),
                                       413, "too_long"),
    "TorchServe's models": (line("/models", "GET"), 404, "not_found"),
    "its workflows": (line("/workflows?url=x"), 404, "not_found"),
    "its other ways to predict": (line("/v1/models/image-retrieval-v1.0:predict"),
                                  404, "not_found"),
    "another method": (line(PATH, "DELETE"), 405, "bad_method"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_answered_with_a_sentence(service, name):
    sent, status, kind = REFUSED[name]
    got, answer = asked(service.port, sent)
    assert (got, answer["code"], answer["type"]) == (status, status, kind)
    assert list(answer) == ["code", "type", "message"] and len(answer["message"]) > 20


def test_a_form_in_32_parts_comes_to_the_worker(service):
    status, answer = asked(service.port, form(32))
    assert status == 400 and answer["type"] not in ("bad_form", "not_http")


@pytest.mark.parametrize(
    "name", [b"filename*=UTF-8''Gr%C3%B6%C3%9Fe.json", b'filename="100%*=.json"']
)
def test_a_file_s_name_in_a_form_may_have_any_letters(service, name):
    part = b'--b\r\nContent-Disposition: form-data; name="data"; ' + name
    body = part + b"\r\n\r\n" + json.dumps(CODE).encode() + b"\r\n--b--\r\n"
    sent = request(body, b"Content-Type: multipart/form-data; boundary=b\r\n")
    assert asked(service.port, sent)[0] == 200


def test_a_refusal_is_read_by_a_client_that_goes_on_sending(service):
    with httpx.Client() as client:
        response = client.post(f"{service.url}/nowhere", content=b"x" * 20_000_000)
    assert response.status_code == 404


# -- what comes slowly, and too much of it -------------------------------------------------------


@pytest.fixture
def quick(service, monkeypatch):
    """quick(name=limit, …): a front of its own before the service's TorchServe, whose patience is
    short; its port."""
    (search,) = service.temporary.glob("efiss-*/search.sock")
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "IDLE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(bounds, name, 1)
    monkeypatch.setattr(front, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(front, "FAST_SECONDS", 0.3)
    with contextlib.ExitStack() as stack:

        def start(**limits: int) -> int:
            port = free_block()
            chosen = {"body": 2**20, "bodies": 2**22, "passed_on": 2**22, "requests": 100} | limits
            log = Log(io.StringIO())
            one = Front("127.0.0.1", port, Limits(**chosen), log)
            stack.callback(log.close)
            stack.callback(one.close)
            one.start(search, search.with_name("metrics.sock"))
            return port

        yield start


def test_a_silent_connection_is_closed(quick):
    port = quick()
    with connected(port) as sock:
        assert sock.recv(1) == b""
    with connected(port) as sock:  # kept after an answer
        sock.sendall(request())
        assert answers(sock)[0][0] == 200
        assert sock.recv(1) == b""


@pytest.mark.parametrize("sent", [request()[:30], request(b"x" * 1000)[:-500]])
def test_a_request_that_stops_midway_is_408(quick, sent):
    with connected(quick()) as sock:
        sock.sendall(sent)
        ((status, answer),) = answers(sock)
        assert (status, answer["type"]) == (408, "slow") and sock.recv(1) == b""


def test_a_body_that_drips_is_408(quick):
    with connected(quick()) as sock:
        sock.sendall(request(b"x" * 100_000)[:-100_000])
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 10:
                sock.sendall(b"x" * 10)
                time.sleep(0.05)
                if time.monotonic() - start > 4:
                    break
        assert answers(sock)[0][0] == 408


def test_a_body_in_tiny_chunks_is_refused(quick):
    with connected(quick()) as sock:
        head = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head.encode() + b"1\r\nx\r\n" * 50_000)
        ((status, answer),) = answers(sock)
    assert (status, answer["type"]) == (400, "small_chunks")


def test_slow_bodies_make_room_for_those_that_come_fast(quick):
    port = quick(bodies=2**20)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(port)) for _ in range(20)]
        for sock in held:
            sock.sendall(request(b" " * 100_000)[:-10])
        time.sleep(0.4)
        large = json.dumps(CODE).encode() + b" " * 300_000
        status, answer = asked(port, request(large))
        assert status == 200 and answer["relevant"]
        refused = [answers(sock)[0] for sock in held]  # all of them end: for others, or as slow
    assert {status for status, _ in refused} <= {408, 429}


def test_more_requests_than_may_wait_are_429(quick):
    port = quick(requests=2)
    url = f"http://127.0.0.1:{port}{PATH}"
    seen = []

    def ask() -> None:
        seen.append(httpx.post(url, json=CODE, timeout=30))

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_status = {response.status_code: response for response in seen}
    assert set(by_status) == {200, 429}
    assert by_status[429].headers["retry-after"] == "1"
    assert by_status[429].json()["type"] == "busy"


def test_more_requests_than_torchserve_queues_are_429(service, quick, monkeypatch):
    """The front itself lets them all pass."""
    port = quick(requests=1000)
    monkeypatch.setattr(bounds, "HEAD_SECONDS", 60)
    workers = [psutil.Process(pid) for pid in service.workers()]
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(connected(port)) for _ in range(300)]
        for worker in workers:
            worker.suspend()
        try:
            for sock in asking:
                sock.sendall(request())
            refused = select.select(asking, [], [], 30)[0]
        finally:
            for worker in workers:
                worker.resume()
        assert refused
        for sock in refused:
            answer = sock.recv(1000)
            assert answer.startswith(b"HTTP/1.1 429 ") and b"\r\nretry-after: 1\r\n" in answer
            assert b'"busy"' in answer
        assert {answers(sock)[0][0] for sock in asking if sock not in refused} <= {200, 429}


def test_bodies_wait_for_their_turn_at_torchserve(quick):
    """One at a time passes, and all are answered."""
    port = quick(passed_on=1, body=2**22, bodies=2**25)
    large = request(b'{"image": "' + b"A" * 2_000_000 + b'"}')
    with connected(port) as first, connected(port) as second, connected(port) as third:
        for sock in (first, second, third):
            sock.sendall(large * 2)
        for sock in (first, second, third):
            assert [kind["type"] for _, kind in answers(sock, 2)] == ["not_an_image"] * 2


@pytest.mark.parametrize("can_hand", [True, False])
def test_bodies_come_to_the_worker_beside_torchserve_and_through_it(quick, monkeypatch, can_hand):
    monkeypatch.setattr(handing, "can_hand", lambda: can_hand)
    padded = json.dumps(CODE | {"top_k": 3}).encode() + b" " * 10 * handing.LEAST_BYTES
    port = quick()
    for _ in range(3):
        status, answer = asked(port, request(padded))
        assert status == 200 and len(answer["relevant"]) == 3


def test_silent_connections_make_room_when_there_are_too_many(quick, monkeypatch):
    monkeypatch.setattr(front, "MOST_CONNECTIONS", 20)
    monkeypatch.setattr(bounds, "HEAD_SECONDS", 60)
    port = quick()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(port)) for _ in range(60)]
        assert asked(port, request())[0] == 200
        closed = 0
        for sock in silent:
            sock.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                closed += sock.recv(1) == b""
    assert 40 <= closed <= 42


def test_a_thousand_silent_connections_keep_nobody_out(service):
    """Opens 1,500 connections."""
    log_size = service.log.stat().st_size
    with contextlib.ExitStack() as stack, Client(service.url, retries=0) as client:
        for _ in range(1500):
            with contextlib.suppress(OSError):
                stack.enter_context(connected(service.port))
        assert client.search(code=CODE["code"]).results
    assert service.log.stat().st_size - log_size < 20_000


def test_prometheus_reads_what_the_front_refused(service):
    def refused() -> float:
        text = httpx.get(f"http://127.0.0.1:{service.port + 5}/metrics").text
        lines = [line for line in text.splitlines() if 'refused_total{Type="form"}' in line]
        return float(lines[0].split()[-1]) if lines else 0

    before = refused()
    asked(service.port, REFUSED["a form"][0])
    assert refused() == before + 1


def test_what_the_front_refuses_stands_in_the_log(service):
    with connected(service.port) as sock:
        peer = "{}:{}".format(*sock.getsockname())
        sock.sendall(line(f"{PATH}?a=%"))
        answers(sock)
    wanted = f'ACCESS_LOG - {peer} "POST {PATH}?a=%" 400 '
    wait_for(lambda: wanted in service.log.read_text())
