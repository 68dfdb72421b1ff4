"""The Python client against a real HTTP server that answers as it is told."""

import base64
import dataclasses
import email.utils
import functools
import http.server
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import efiss_client as client
from efiss_client import Answer, Client, Result, ServiceError
from handlers import QUERY_HEADER
from handlers.request import Query, parse
from hashing import picture
from searcher.opened import Selection
from tests.running import ROOT

ANSWER = {
    "index_database_version": "1.0.0",
    "relevant": ["data/a.com/1_a.jpg", "data/b.com/caf\udce9.jpg"],
    "distances": [2, 50],
    "code": "5b0f3e8c27d41a96",
    "ms": {"parse": 0.3, "search": 0.2},
}


@dataclasses.dataclass
class Said:
    """What the server does: answers with status, body and headers, seconds after each byte of the
    body, or instead of it `hangs` or `resets` the connection."""

    status: int = 200
    body: bytes = json.dumps(ANSWER).encode()
    headers: dict = dataclasses.field(default_factory=dict)
    seconds_a_byte: float = 0
    instead: str = ""


class Server(http.server.ThreadingHTTPServer):
    """Says one thing after the other, the last of them from then on.  Notes requests and from which
    connection they came."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.says: list[Said] = [Said()]
        self.bodies: list[dict] = []
        self.connections: set[tuple] = set()
        self.over = threading.Event()

    def handle_error(self, request, address):
        pass  # of connections that a client closed


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        server: Server = self.server
        server.bodies.append(self.fields())
        server.connections.add(self.client_address)
        said = server.says.pop(0) if len(server.says) > 1 else server.says[0]
        if said.instead == "hangs":
            server.over.wait(60)
        if said.instead == "resets":
            linger_not = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        if said.instead:
            self.close_connection = True
            return
        self.send_response(said.status)
        for header in {"Content-Length": str(len(said.body)), **said.headers}.items():
            self.send_header(*header)
        self.end_headers()
        for byte in said.body if said.seconds_a_byte else ():
            self.wfile.write(bytes([byte]))
            server.over.wait(said.seconds_a_byte)
        if not said.seconds_a_byte:
            self.wfile.write(said.body)

    def fields(self) -> dict:
        """Of the request; a photo that is the body itself as bytes, and the texts beside it."""
        path, _, query = self.path.partition("?")
        assert path == client.PATH
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] == "application/json":
            assert not query
            return json.loads(body)
        assert self.headers["Content-Type"] == "application/octet-stream"
        return {"image": body, **dict(urllib.parse.parse_qsl(query, strict_parsing=True))}

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """What the client pauses, in seconds, of a clock that nothing else moves."""
    pauses = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses), time=time.time)
    monkeypatch.setattr(client, "time", clock)
    return pauses


def refused(server, **options) -> ServiceError:
    with Client(server.url, **options) as asking, pytest.raises(ServiceError) as error:
        asking.search(code="0" * 16)
    return error.value


BUSY = Said(503, json.dumps({"code": 503, "type": "version_opening", "message": "busy"}).encode())


# -- what it imports -----------------------------------------------------------------------------


def test_it_imports_the_standard_library_and_httpx_alone():
    code = (
        "import sys, httpx; before = set(sys.modules); import efiss_client\n"
        "print(*{name for name in set(sys.modules) - before})"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    new = set(done.stdout.split())
    ours = {"efiss_client"}
    assert ours <= new
    assert {name.partition(".")[0] for name in new - ours} <= sys.stdlib_module_names


# -- answers -------------------------------------------------------------------------------------


def test_an_answer_is_typed(server):
    raw = ANSWER | {"cropped_image": base64.b64encode(b"jpeg").decode()}
    server.says = [Said(body=json.dumps(raw).encode(), headers={"x-request-id": "an-id"})]
    with Client(server.url + "/") as asking:
        answer = asking.search(b"photo", box=(0, 0, 0.5, 1))
    assert answer == Answer(
        version="1.0.0",
        results=[Result("data/a.com/1_a.jpg", 2), Result("data/b.com/caf\udce9.jpg", 50)],
        code="5b0f3e8c27d41a96",
        ms={"parse": 0.3, "search": 0.2},
        cropped_image=b"jpeg",
        request_id="an-id",
        raw=raw,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.results[0].path = ""


def test_it_asks_for_what_was_said_and_nothing_else(server, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    everything = {
        "code": "0" * 16, "box": [0.1, 0.1, 0.7, 0.9], "top_k": 3, "offset": 0, "diversity": 2,
        "max_distance": 0, "shops": ["Größe.de"], "exclude_shops": [], "group_by": "product",
        "index_database_version": "1.0.0", "rank": "distance",
    }  # fmt: skip
    odd = os.fsdecode("data/é/".encode() + b"caf\xe9.jpg")
    with Client(server.url) as asking:
        asking.search(**everything)
        for given in (b"photo", bytearray(b"photo"), tmp_path / "photo.jpg"):
            asking.search(given)
        asking.search(str(tmp_path / "photo.jpg"), top_k=None)
        for given in (odd, os.fsencode(odd)):
            assert asking.search(like=given).results[1].path == "data/b.com/caf\udce9.jpg"
        with pytest.raises(FileNotFoundError):
            asking.search(tmp_path / "none.jpg")
    assert server.bodies[0] == everything | {"debug": True}
    assert server.bodies[1:5] == [{"image": b"photo", "rank": "fine", "debug": "true"}] * 4
    assert server.bodies[5:] == [{"like": odd, "rank": "fine", "debug": True}] * 2


def test_a_connection_is_kept_and_threads_share_a_client(server):
    with Client(server.url) as asking:
        for _ in range(3):
            asking.search(code="0" * 16)
        assert len(server.connections) == 1
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: asking.search(code="0" * 16), range(20)))
    assert all(answer == answers[0] for answer in answers)


# -- PIL images ----------------------------------------------------------------------------------


def sent(server, image: Image.Image) -> bytes:
    with Client(server.url) as asking:
        asking.search(image)
    return server.bodies[-1]["image"]


@pytest.fixture
def drawn() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8))


def test_a_pil_image_is_sent_without_loss(server, drawn):
    data = sent(server, drawn)
    assert data.startswith(b"\x89PNG") and picture.decode(data, 8).tobytes() == drawn.tobytes()


@pytest.mark.parametrize("mode", ["P", "PA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_an_image_of_any_mode_has_its_colours(server, mode):
    image = Image.new("RGB", (8, 6), (204, 102, 51)).convert(mode)
    seen = picture.decode(sent(server, image), 8).getpixel((3, 3))
    assert np.abs(np.subtract(seen, (204, 102, 51))).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "I;16", "F"])
def test_an_image_of_any_mode_has_its_greys(server, mode):
    shade = 255 if mode == "1" else 120
    image = Image.new("L", (8, 6), shade).convert(mode)
    assert picture.decode(sent(server, image), 8).getpixel((3, 3)) == (shade,) * 3


def test_transparency_is_sent_too(server):
    assert picture.decode(sent(server, Image.new("RGBA", (8, 6))), 8).getpixel((0, 0)) == (255,) * 3
    palette = Image.new("P", (8, 6))
    palette.info["transparency"] = 0
    assert picture.decode(sent(server, palette), 8).getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize("large", [False, True])
def test_an_image_that_was_opened_is_turned_as_its_file_is(server, drawn, large, monkeypatch):
    if large:
        monkeypatch.setattr(client, "LARGE_PIXELS", 1)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    drawn.save(file, "PNG", exif=exif)
    data = sent(server, Image.open(file))
    assert data.startswith(b"\xff\xd8" if large else b"\x89PNG")
    pixels = np.asarray(picture.decode(data, 8), int)
    upright = np.asarray(picture.decode(file.getvalue(), 8), int)
    assert pixels.shape == upright.shape == (6, 8, 3)
    assert np.abs(pixels - upright).max() <= (30 if large else 0)


# -- the photo itself ----------------------------------------------------------------------------

NO_JSON = {"code": 400, "type": "not_json", "message": "the body is not JSON: 'utf-8' codec"}


def test_fields_go_beside_the_photo_as_texts(server):
    fields = {
        "box": (0.1, 0.1, 0.7, 1), "top_k": 3, "offset": 0, "shops": ["Größe,de", "b"],
        "exclude_shops": [], "group_by": "product", "index_database_version": "1.0.0",
    }  # fmt: skip
    with Client(server.url) as asking:
        asking.search(b"photo", **fields, rank=None)
    texts = {
        "box": "[0.1, 0.1, 0.7, 1]", "top_k": "3", "offset": "0",
        "shops": json.dumps(["Größe,de", "b"]), "exclude_shops": "[]", "group_by": "product",
        "index_database_version": "1.0.0", "debug": "true",
    }  # fmt: skip
    assert server.bodies == [{"image": b"photo", **texts}]


def test_the_service_reads_those_texts_as_the_fields():
    fields = {"box": (0.1, 0.1, 0.7, 1), "top_k": 3, "shops": ["Größe,de", "b"], "debug": True}
    question = client._photo_question(b"\xff\xd8photo", fields)
    query = parse({"body": question.body}, headers={QUERY_HEADER: question.query[1:]})
    assert query == Query(
        image=b"\xff\xd8photo", box=(0.1, 0.1, 0.7, 1), top_k=3, debug=True,
        selection=Selection(shops=frozenset(["Größe,de", "b"])),
    )  # fmt: skip


def test_fields_too_long_for_an_address_go_with_the_photo_as_json(server):
    shops = [f"shop-{i}.example" for i in range(300)]
    with Client(server.url) as asking:
        asking.search(b"photo", shops=shops)
        asking.search(b"photo", shops=shops[:2])
    image = base64.b64encode(b"photo").decode()
    assert [body["image"] for body in server.bodies] == [image, b"photo"]
    assert server.bodies[0]["shops"] == shops


@pytest.mark.parametrize(
    "said",
    [
        Said(400, json.dumps(NO_JSON).encode()),
        Said(body=json.dumps({"index_database_version": "1.0.0", "relevant": ["a"]}).encode()),
    ],
)
def test_a_service_that_takes_no_photo_is_asked_by_json_from_then_on(server, said):
    server.says = [said, Said()]
    image = base64.b64encode(b"photo").decode()
    with Client(server.url) as asking:
        assert asking.search(b"photo", top_k=2).version == "1.0.0"
        asking.search(b"photo")
    assert [body["image"] for body in server.bodies] == [b"photo", image, image]
    assert server.bodies[1] == {"image": image, "top_k": 2, "rank": "fine", "debug": True}


def test_one_that_takes_neither_photo_nor_rank(server):
    server.says = [
        Said(400, json.dumps(NO_JSON).encode()), Said(400, json.dumps(UNKNOWN).encode()), Said()
    ]  # fmt: skip
    with Client(server.url) as asking:
        assert asking.search(b"photo").version == "1.0.0"
    assert "rank" not in server.bodies[2] and len(server.bodies) == 3


def test_what_is_no_photo_does_not_make_it_a_service_that_takes_none(server):
    refused = {"code": 400, "type": "not_an_image", "message": "the bytes are not a picture"}
    server.says = [
        Said(400, json.dumps(NO_JSON).encode()), Said(400, json.dumps(refused).encode()), Said()
    ]  # fmt: skip
    with Client(server.url) as asking:
        with pytest.raises(ServiceError, match="not a picture"):
            asking.search(b"text")
        asking.search(b"photo")
    assert server.bodies[2]["image"] == b"photo"


# -- again ---------------------------------------------------------------------------------------


def test_a_503_is_asked_again_with_growing_pauses(server, pauses):
    server.says = [BUSY, BUSY, Said()]
    with Client(server.url) as asking:
        assert asking.search(b"photo").version == "1.0.0"
    assert len(server.bodies) == 3 and server.bodies[0] == server.bodies[2]
    assert 0.1 <= pauses[0] <= 0.2 <= pauses[1] <= 0.4 and len(pauses) == 2


def test_in_the_end_the_last_refusal_is_told(server, pauses):
    server.says = [BUSY]
    error = refused(server)
    assert (error.status, error.kind, str(error)) == (503, "version_opening", "busy")
    assert len(server.bodies) == 4


def test_how_often_and_what_for_is_told(server, pauses):
    server.says = [BUSY]
    assert refused(server, retries=0).status == 503 and len(server.bodies) == 1
    assert refused(server, retry_statuses=(502,)).status == 503 and len(server.bodies) == 2
    server.says = [Said(502), Said(502), Said()]
    with Client(server.url, retry_statuses=(502, 503)) as asking:
        assert asking.search(code="0" * 16).version == "1.0.0"


@pytest.mark.parametrize("status", [429, 500, 507])
def test_a_busy_service_and_a_dying_worker_are_asked_again(server, pauses, status):
    server.says = [Said(status, b"", {"Retry-After": "2"}), Said()]
    with Client(server.url) as asking:
        assert asking.search(b"photo").version == "1.0.0"
    assert len(server.bodies) == 2 and pauses == [2]


@pytest.mark.parametrize("status", [301, 400, 404, 409, 413, 501, 504])
def test_nothing_else_is_asked_again(server, pauses, status):
    server.says = [Said(status, b"", {"Location": "/"})]
    error = refused(server)
    assert (error.status, error.kind) == (status, None)
    assert str(error).startswith(f"the service answered {status} ")
    assert len(server.bodies) == 1 and not pauses


@pytest.mark.parametrize("told", ["7", "date"])
def test_the_service_may_say_when(server, pauses, told):
    if told == "date":
        told = email.utils.formatdate(time.time() + 8, usegmt=True)
    server.says = [dataclasses.replace(BUSY, headers={"Retry-After": told}), Said()]
    with Client(server.url) as asking:
        asking.search(code="0" * 16)
    assert len(pauses) == 1 and 1 < pauses[0] <= 8


def test_a_pause_that_would_be_too_long_is_not_made(server, pauses):
    server.says = [dataclasses.replace(BUSY, headers={"Retry-After": "40"})]
    error = refused(server)
    assert (error.status, error.retry_after) == (503, 40)
    assert len(server.bodies) == 1 and not pauses


@pytest.mark.parametrize("told", ["soon", "-1", "nan", ""])
def test_a_retry_after_that_says_nothing_does_no_harm(server, pauses, told):
    server.says = [dataclasses.replace(BUSY, headers={"Retry-After": told}), Said()]
    with Client(server.url) as asking:
        asking.search(code="0" * 16)
    assert len(pauses) == 1 and pauses[0] <= 0.2


def test_a_connection_that_breaks_is_made_again(server, pauses):
    with Client(server.url) as asking:
        asking.search(code="0" * 16)
        server.says = [Said(instead="resets"), Said(instead="closes"), Said()]
        assert asking.search(code="0" * 16).version == "1.0.0"
    assert len(server.bodies) == 4 and len(pauses) == 2


def test_half_an_answer_is_none(server, pauses):
    server.says = [Said(headers={"Content-Length": "1000", "Connection": "close"}), Said()]
    with Client(server.url) as asking:
        assert asking.search(code="0" * 16).version == "1.0.0"
    assert len(server.bodies) == 2


def test_nobody_there(pauses):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{holder.getsockname()[1]}"
        with Client(url) as asking, pytest.raises(ServiceError, match="is `efiss serve`") as error:
            asking.search(code="0" * 16)
    assert (error.value.status, error.value.kind) == (None, "unreachable")
    assert str(error.value).startswith(f"{url} does not answer: ") and len(pauses) == 3


# -- time-outs -----------------------------------------------------------------------------------


def test_a_service_that_hangs_is_left_and_not_asked_again(server):
    server.says = [Said(instead="hangs")]
    error = refused(server, timeout=0.2)
    assert (error.status, error.kind) == (None, "timeout")
    assert "within 0.2 s" in str(error) and len(server.bodies) == 1


def test_an_answer_byte_by_byte_is_not_waited_for(server):
    server.says = [Said(seconds_a_byte=0.1)]
    assert refused(server, timeout=0.3).kind == "timeout"


def test_pauses_do_not_go_beyond_the_time_out(server, pauses):
    server.says = [BUSY]
    assert refused(server, timeout=100, retries=10**6).kind == "version_opening"
    assert 90 < sum(pauses) < 100 and max(pauses) < 7


# -- what is not an answer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[]", b"null", b'{"hello": "world"}',
             json.dumps(ANSWER | {"distances": [1]}).encode()],
)  # fmt: skip
def test_another_service_at_the_address(server, pauses, body):
    server.says = [Said(body=body)]
    error = refused(server)
    assert (error.status, error.kind) == (None, "bad_answer")
    assert "not as the image retrieval does" in str(error) and len(server.bodies) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"no"', b'{"code": 400}'])
def test_a_refusal_without_a_message(server, body):
    server.says = [Said(400, body, {"x-request-id": "an-id"})]
    error = refused(server)
    assert str(error) == "the service answered 400 Bad Request"
    assert (error.status, error.kind, error.request_id) == (400, None, "an-id")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:5000", "localhost", "ftp://a", "http://", "http://a:b", "", None]
)
def test_an_address_that_is_none(url):
    with pytest.raises(ServiceError, match="must be http://HOST:PORT") as error:
        Client(url)
    assert error.value.kind == "bad_url"


# Ranks


RANKED = ANSWER | {"rank": "fine", "similarities": [0.91, -0.2], "match": ["same", "far"]}
UNKNOWN = {
    "code": 400,
    "type": "unknown_field",
    "message": "unknown field \"rank\", did you mean 'image'? The fields are image, code, like",
}


def test_fine_is_asked_for_unless_another_rank_is_named(server):
    with Client(server.url) as asking:
        asking.search(code=ANSWER["code"])
        asking.search(code=ANSWER["code"], rank="distance")
        asking.search(code=ANSWER["code"], rank=None)
    assert [body.get("rank") for body in server.bodies] == ["fine", "distance", None]
    assert "rank" not in server.bodies[2]


def test_an_answer_says_its_rank_and_how_near_its_results_are(server):
    server.says = [Said(body=json.dumps(RANKED).encode()), Said()]
    with Client(server.url) as asking:
        answer, older = asking.search(code=ANSWER["code"]), asking.search(code=ANSWER["code"])
    assert answer.rank == "fine"
    assert [(one.similarity, one.match) for one in answer.results] == [
        (0.91, "same"),
        (-0.2, "far"),
    ]
    assert older.rank is None
    pairs = zip(ANSWER["relevant"], ANSWER["distances"], strict=True)
    assert older.results == [Result(*pair) for pair in pairs]


def test_a_service_that_knows_no_rank_is_asked_once_more_without(server):
    server.says = [Said(400, json.dumps(UNKNOWN).encode()), Said()]
    with Client(server.url) as asking:
        answer = asking.search(code=ANSWER["code"], top_k=2)
    assert answer.version == "1.0.0" and answer.rank is None
    first, second = server.bodies
    assert first == second | {"rank": "fine"} and "rank" not in second


@pytest.mark.parametrize(
    ("kind", "message"),
    [("unknown_field", 'unknown field "ranks"'), ("bad_rank", 'rank must be "distance" or "fine"')],
)
def test_another_refusal_is_told_at_once(server, kind, message):
    said = {"code": 400, "type": kind, "message": message}
    server.says = [Said(400, json.dumps(said).encode()), Said()]
    with Client(server.url) as asking, pytest.raises(ServiceError, match=message):
        asking.search(code=ANSWER["code"])
    assert len(server.bodies) == 1


def test_a_service_that_refuses_both_is_asked_twice_and_no_more(server):
    server.says = [Said(400, json.dumps(UNKNOWN).encode())]
    with Client(server.url) as asking, pytest.raises(ServiceError, match="unknown field"):
        asking.search(code=ANSWER["code"])
    assert len(server.bodies) == 2


def test_its_former_name_goes_on_for_a_release():
    sys.modules.pop("searcher.client", None)
    with pytest.warns(DeprecationWarning, match="efiss_client"):
        from searcher.client import Client as former
    assert former is Client
