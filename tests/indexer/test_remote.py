"""Lists with lines `https://…` and the like: a real server on this machine, and fsspec's memory."""

import dataclasses
import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from hashing import remote
from hashing.codes import split
from hashing.model import Model
from indexer.pipeline import Order, index_catalogue
from searcher import open_version
from tests.drawing import draw
from tests.pictures import encoded

PICTURES = [encoded(draw(seed=5, index=index)) for index in range(8)]


class Server(http.server.ThreadingHTTPServer):
    """Serves files: path -> bytes.  Notes requests.  failures: path -> how often it answers 503."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, int] = {}
        self.headers = lambda data: {"ETag": hashlib.md5(data).hexdigest()}
        self.requests: list[tuple[str, str]] = []
        self.hanging = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def fetched(self) -> list[str]:
        return sorted(path for method, path in self.requests if method == "GET")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server: Server = self.server
        server.requests.append((self.command, self.path))
        if self.path.startswith("/hangs"):
            server.hanging.wait(30)
            return
        if server.failures.get(self.path, 0) > 0:
            server.failures[self.path] -= 1
            self.send_error(503)
        elif self.path.startswith("/forbidden"):
            self.send_error(403)
        elif (data := server.files.get(self.path)) is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            for header in server.headers(data).items():
                self.send_header(*header)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.01)
    remote._file_system.cache_clear()
    with Server() as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True).start()
        yield server
        server.hanging.set()
        server.shutdown()


@pytest.fixture
def index(tmp_path, monkeypatch, tiny_models):
    """index(version, lines) -> its Summary."""
    monkeypatch.chdir(tmp_path)

    def run(version: str, lines, **fields):
        Path("database_info.txt").write_text("".join(f"{line}\n" for line in lines))
        order = Order(
            database=Path("database_info.txt"),
            model_path=tiny_models[0],
            device="cpu",
            version=version,
            index_root=Path("index"),
            workers=2,
            batch_size=4,
            max_pixels=10_000_000,
            max_rejected=0.9,
        )
        return index_catalogue(dataclasses.replace(order, **fields))

    return run


def counts(summary) -> tuple[int, int, int, int]:
    """Hashed now, unchanged, known by content, duplicates."""
    return summary.computed, summary.unchanged, summary.by_content, summary.duplicates


def codes_of(folder: str) -> dict[str, bytes]:
    index = open_version(folder)
    return {index.path(row): index.code(row).tobytes() for row in range(index.manifest.rows)}


@pytest.fixture
def urls(server) -> list[str]:
    for i, data in enumerate(PICTURES):
        server.files[f"/shop/{i}.jpg"] = data
    return [server.url(f"/shop/{i}.jpg") for i in range(len(PICTURES))]


def test_urls_are_indexed_beside_local_files(index, urls, tiny_models):
    Path("local.jpg").write_bytes(PICTURES[0])
    lines = [*urls[:4], "local.jpg", *urls[4:]]
    assert counts(index("1.0.0", lines)) == (8, 0, 0, 1)
    model = Model.load(tiny_models[0])
    wanted = [split(model.codes(model.pixels(data)[None]))[0].tobytes() for data in PICTURES]
    wanted.insert(4, wanted[0])
    assert list(codes_of("index/1.0.0").items()) == list(zip(lines, wanted, strict=True))


def test_what_has_its_etag_is_not_fetched_again(index, urls, server):
    index("1.0.0", urls)
    assert server.fetched() == [f"/shop/{i}.jpg" for i in range(8)]
    server.requests.clear()
    server.files["/shop/3.jpg"] = encoded(draw(seed=6, index=0))
    assert counts(index("1.1.0", urls)) == (1, 7, 0, 0)
    assert server.fetched() == ["/shop/3.jpg"]
    server.requests.clear()
    assert counts(index("1.2.0", urls, trust_content=True)) == (0, 0, 8, 0)
    assert len(server.fetched()) == 8


def test_without_an_etag_the_time_of_the_last_change_tells(index, urls, server):
    server.headers = lambda data: {"Last-Modified": "Tue, 01 Oct 2024 10:00:00 GMT"}
    index("1.0.0", urls)
    server.requests.clear()
    assert counts(index("1.1.0", urls)) == (0, 8, 0, 0)
    assert server.fetched() == []
    server.headers = lambda data: {"Last-Modified": "Tue, 01 Oct 2024 10:00:01 GMT"}
    assert counts(index("1.2.0", urls)) == (0, 0, 8, 0)


@pytest.mark.parametrize(
    "headers", [{}, {"Last-Modified": "Tue, 01 Oct 2999 10:00:00 GMT"}, {"Last-Modified": "today"}]
)
def test_where_nothing_tells_the_content_does(index, urls, server, headers):
    server.headers = lambda data: headers
    index("1.0.0", urls)
    server.requests.clear()
    assert counts(index("1.1.0", urls)) == (0, 0, 8, 0)
    assert len(server.fetched()) == 8


def test_a_failure_that_passes_is_tried_again(index, urls, server):
    server.failures = {"/shop/2.jpg": 2}
    index("1.0.0", urls, trust_content=True)
    server.failures = {"/shop/2.jpg": 2}
    assert index("1.1.0", urls, trust_content=True).rejected == []


def test_what_cannot_be_fetched_is_rejected_with_its_reason(index, urls, server, monkeypatch):
    monkeypatch.setattr(remote, "SILENCE_SECONDS", 0.3)
    server.failures = {"/shop/2.jpg": 100}
    server.files["/page.jpg"] = b"<html>"
    bad = {
        urls[2]: "503",
        server.url("/missing.jpg"): "No such file",
        server.url("/forbidden.jpg"): "403",
        server.url("/hangs.jpg"): "imeout",
        server.url("/page.jpg"): "not a picture",
        "http://127.0.0.1:1/closed.jpg": "Cannot connect",
    }
    good = [url for url in urls if url not in bad]
    summary = index("1.0.0", [*bad, *good])
    assert list(codes_of("index/1.0.0")) == good
    assert [path for path, _ in summary.rejected] == list(bad)
    for (_, reason), words in zip(summary.rejected, bad.values(), strict=True):
        assert words in reason
    # Fetched three times where it may help, and once where it does not; and twice before by fsspec,
    # which gets what it cannot ask for by HEAD.
    assert server.fetched().count("/shop/2.jpg") == 2 + remote.ATTEMPTS
    assert server.fetched().count("/forbidden.jpg") == 2 + 1


def test_a_file_that_is_too_large_is_not_fetched(index, urls, server, monkeypatch):
    monkeypatch.setattr(remote, "MOST_FILE_BYTES", 100_000)
    server.files["/large.jpg"] = bytes(100_001)
    summary = index("1.0.0", [*urls, server.url("/large.jpg")])
    reason = "Too large: 0.1 MB, the limit is 0.1"
    assert summary.rejected == [(server.url("/large.jpg"), reason)]
    assert "/large.jpg" not in server.fetched()


def test_names_with_spaces_and_other_letters(index, server):
    server.files["/a%20b/%C3%BC.jpg"] = PICTURES[0]
    server.files["/c%23d.jpg"] = PICTURES[1]
    lines = [server.url("/a b/ü.jpg"), server.url("/c%23d.jpg")]
    assert index("1.0.0", lines).rejected == []
    assert list(codes_of("index/1.0.0")) == lines


def test_other_file_systems_of_fsspec(index):
    memory = fsspec.filesystem("memory")
    for i, data in enumerate(PICTURES):
        memory.pipe(f"/shop/{i}.jpg", data)
    lines = [f"memory://shop/{i}.jpg" for i in range(8)]
    assert counts(index("1.0.0", [*lines, "memory://shop/none.jpg"])) == (8, 0, 0, 0)
    assert list(codes_of("index/1.0.0")) == lines


def test_a_file_system_nobody_knows(index):
    with pytest.raises(remote.RemoteError, match="nobody:// cannot be opened"):
        index("1.0.0", ["a.jpg", "nobody://shop/1.jpg"])


def test_a_package_that_is_missing_is_named_before_anything_is_hashed(tmp_path, tiny_models):
    """Where aiohttp cannot be imported, as on a machine without the extra."""
    (tmp_path / "aiohttp.py").write_text("raise ImportError('no aiohttp here')\n")
    (tmp_path / "database_info.txt").write_text("local.jpg\nhttps://shop.example/1.jpg\n")
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "indexer/main.py"), "--new_index_database_version"]
    done = subprocess.run(
        [*command, "1.0.0", "--model_path", str(tiny_models[0])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1
    assert "https:// needs a package that is not installed" in done.stderr
    assert "pip install 'efiss-ai[remote]'" in done.stderr
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("path", "is_url"),
    [
        ("https://shop.example/1.jpg", True),
        ("s3://bucket/1.jpg", True),
        ("GS://bucket/1.jpg", True),
        ("data/abc.com/1_abc_com.jpg", False),
        ("/data/http://x.jpg", False),
        ("a b://c.jpg", False),
        ("://c.jpg", False),
    ],
)
def test_what_is_a_url(path, is_url):
    assert remote.is_remote(path) == is_url
