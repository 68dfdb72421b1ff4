"""Search in Milvus, hit by hit against the same version searched by FAISS; the Milvus is
milvus-lite, as a file of this process and as a server that other processes share."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from machine.settings import SettingError
from searcher import milvus, milvus_publish, open_version
from searcher.index import Index
from searcher.live import Follower
from searcher.milvus import Place, Unavailable
from searcher.milvus_version import MOST_HITS, MilvusVersion
from searcher.opened import Selection
from searcher.version import VersionError
from tests.brute_force import ranking
from tests.pictures import encoded
from tests.running import ROOT, efiss, serving, wait_for

pytestmark = pytest.mark.server

pytest.importorskip("pymilvus", reason="needs pip install 'efiss-ai[milvus]'")
pytest.importorskip("milvus_lite", reason="needs pip install 'efiss-ai[milvus]'")

ROWS = 100_000
SAME = slice(30_000, 50_000)
"""Rows that all have one code: more than Milvus returns at once (16,384)."""
ODD_SHOP = 'a"] or row >= 0 or shop in ["b\\'
ODD_PATHS = [
    f"data/{ODD_SHOP}/1_x.jpg",
    os.fsdecode(b"data/caf\xe9/1_not utf-8.jpg"),
    "data/Größe_日本.jpg",
    "100%41.jpg",
    "",
]


def place_in(folder: Path) -> Place:
    return Place(str(folder / "lite.db"))


def clustered(rng, n):
    flips = np.packbits(rng.random((n, 64)) < 0.03, axis=1)
    return rng.integers(0, 256, (50, 8), np.uint8)[rng.integers(0, 50, n)] ^ flips


@pytest.fixture(scope="module")
def both(publish_version, tmp_path_factory):
    """One large version opened twice, by FAISS and in Milvus, and its codes."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    codes = clustered(rng, ROWS)
    codes[SAME] = codes[0]
    paths = [f"data/s{row % 7}.com/{row // 28}_{row}.jpg" for row in range(ROWS)]
    paths[-len(ODD_PATHS) :] = ODD_PATHS
    publish_version(folder / "index", codes=codes, paths=paths)
    assert milvus_publish.publish(Index(folder / "index"), "1.0.0", place_in(folder)) == ROWS
    version = folder / "index" / "1.0.0"
    return open_version(version), MilvusVersion(version, place_in(folder)), codes


def outputs_of(code, rng):
    """Outputs that are packed into a code."""
    return (np.unpackbits(code) * 2.0 - 1).astype(np.float32) * rng.uniform(0.1, 1, 64).astype("f4")


def assert_same(both, code, count, outputs, selection=Selection()):  # noqa: B008 (immutable)
    faiss, in_milvus, _ = both
    wanted, found = (index.select(code, count, outputs, selection) for index in (faiss, in_milvus))
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert in_milvus.paths(found[0]) == faiss.paths(wanted[0])
    return found[0]


SELECTIONS = [
    Selection(),
    Selection(max_distance=0),
    Selection(max_distance=5),
    Selection(max_distance=63),
    Selection(shops=frozenset({"s1.com", "s2.com", "unknown.com"})),
    Selection(shops=frozenset()),
    Selection(exclude_shops=frozenset({"s1.com", "unknown.com"})),
    Selection(by_product=True),
    Selection(4, frozenset({"s1.com", "s3.com"}), frozenset({"s3.com"}), by_product=True),
    Selection(shops=frozenset({ODD_SHOP})),
    Selection(exclude_shops=frozenset({ODD_SHOP, os.fsdecode(b"caf\xe9")})),
]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_answers_as_faiss_does(both, selection, count):
    rng = np.random.default_rng(count)
    codes = both[2]
    near, uniform = codes[rng.integers(ROWS)] ^ np.uint8(1), rng.integers(0, 256, 8, np.uint8)
    assert_same(both, near, count, None, selection)
    assert_same(both, near, count, outputs_of(near, rng), selection)
    assert_same(both, uniform, count, outputs_of(uniform, rng), selection)


@pytest.mark.parametrize("selection", [Selection(), Selection(by_product=True)])
def test_finds_the_first_of_more_ties_than_milvus_returns(both, selection):
    rng = np.random.default_rng(1)
    code = both[2][0] ^ np.uint8(128)
    for query in (code, both[2][0]):
        assert len(assert_same(both, query, 10, outputs_of(query, rng), selection)) == 10


def test_finds_more_rows_than_milvus_returns(both):
    rows = assert_same(both, both[2][7], 18_000, None)
    assert len(rows) == 18_000 > MOST_HITS


@pytest.mark.slow("compares all of 100,000 rows")
def test_the_farthest_rows_are_found(both):
    """At distance 64 and just below it."""
    opposite = ~both[2][0]
    wanted = Selection(max_distance=64, shops=frozenset({"s0.com"}))
    assert len(assert_same(both, opposite, ROWS, None, wanted)) > 14_000


def test_search_answers_several_codes(both):
    codes = both[2][[5, 99_000]]
    wanted, found = (index.search(codes, 20) for index in both[:2])
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_paths_rows_and_codes(both):
    faiss, in_milvus, codes = both
    rows = np.array([ROWS - 1, 3, ROWS - 2, ROWS - 3, ROWS - 4, ROWS - 5])
    assert in_milvus.paths(rows) == [faiss.path(row) for row in rows]
    for row in rows.tolist():
        assert in_milvus.path(row) == faiss.path(row)
        assert in_milvus.row(faiss.path(row)) == row
        np.testing.assert_array_equal(in_milvus.code(row), codes[row])
    assert in_milvus.row("data/no such.jpg") is None


# -- publishing ----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from searcher import milvus, milvus_publish
from searcher.index import Index
from searcher.milvus import Place

milvus.CONNECT_SECONDS = 60  # the machine may be busy

def show(done, total):
    if done == 2 * milvus_publish.BATCH:
        os.kill(os.getpid(), signal.SIGKILL)

milvus_publish.publish(Index(Path(sys.argv[1])), "1.0.0", Place(sys.argv[2]), show=show)
"""


def test_a_killed_run_is_continued_and_is_not_live_before(publish_version, tmp_path):
    """Two processes that publish, each with a Milvus of its own."""
    root, where, rows = tmp_path / "index", place_in(tmp_path), 2 * milvus_publish.BATCH + 500
    codes = clustered(np.random.default_rng(2), rows)
    folder = publish_version(root, codes=codes)
    command = [sys.executable, "-c", KILLED, root, where.uri]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    time.sleep(3)  # milvus-lite notices that its process is gone
    for wrong in (
        lambda: activate(root, "1.0.0", where),
        lambda: MilvusVersion(folder, where),
    ):
        with pytest.raises(VersionError, match=f"holds {rows - 500} of {rows} rows"):
            eventually(wrong)
    assert Index(root).live() is None
    assert milvus_publish.publish(Index(root), "1.0.0", where) == 500
    assert milvus_publish.publish(Index(root), "1.0.0", where) == 0
    assert activate(root, "1.0.0", where) is None
    assert Index(root).live() == "1.0.0"
    index = MilvusVersion(folder, where)
    for row in (0, milvus_publish.BATCH, rows - 1):
        np.testing.assert_array_equal(index.code(row), codes[row])


def test_another_build_is_neither_answered_from_nor_replaced_unasked(publish_version, tmp_path):
    root, where = tmp_path / "index", place_in(tmp_path)
    publish_version(root)
    assert milvus_publish.publish(Index(root), "1.0.0", where) == 3
    codes = np.full((4, 8), 7, np.uint8)
    folder = publish_version(root, codes=codes, replace=True)
    with pytest.raises(VersionError, match="made from another build"):
        MilvusVersion(folder, where)
    with pytest.raises(VersionError, match="--force"):
        milvus_publish.publish(Index(root), "1.0.0", where)
    assert milvus_publish.publish(Index(root), "1.0.0", where, replace=True) == 4
    np.testing.assert_array_equal(MilvusVersion(folder, where).code(3), codes[3])


def test_a_damaged_version_is_not_published(publish_version, tmp_path):
    folder = publish_version(tmp_path / "index")
    (folder / "index.bin").write_bytes(b"")
    with pytest.raises(VersionError, match="damaged"):
        milvus_publish.publish(Index(tmp_path / "index"), "1.0.0", place_in(tmp_path))


def test_the_follower_answers_from_milvus_and_refuses_what_is_not_there(publish_version, tmp_path):
    root, where = tmp_path / "index", place_in(tmp_path)
    folder = publish_version(root, "1.0.0")
    publish_version(root, "1.1.0")
    milvus_publish.publish(Index(root), "1.0.0", where)
    activate(root, "1.0.0", where)
    # A service needs no more of the folder than this.
    kept = {"manifest.json", "model.pt", "model.json"}
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()
    follower = Follower(Index(root), None, "cpu", where)
    index = follower.serving.opened
    assert type(index) is MilvusVersion
    codes = follower.serving.model.codes(np.zeros((1, 8, 8, 3), np.uint8))
    assert sorted(index.search(codes, 3)[0][0]) == [0, 1, 2]
    with pytest.raises(VersionError, match="has no collection efiss_1_1_0"):
        activate(root, "1.1.0", where)
    Index(root).activate("1.1.0")  # as without --backend milvus
    follower.check()
    assert follower.serving.version == "1.0.0"
    milvus_publish.publish(Index(root), "1.1.0", where)
    activate(root, "1.1.0", where)
    follower.check()
    assert follower.serving.version == "1.1.0"


def activate(root: Path, version: str, where: Place) -> str | None:
    """As `searcher.switch.activate`, without waiting for workers."""
    milvus.check(Index(root).folder(version), where)
    before = Index(root).activate(version)
    milvus_publish.point_alias(where, version)
    return before


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "milvus:19530",
        "lite.db",
        "/data/lite",
        "http://",
        "ftp://milvus",
        "http://a b",
        "http://a/b/c",
    ],
)
def test_a_wrong_uri_is_refused(uri):
    with pytest.raises(SettingError, match=r"EFISS_MILVUS_URI .* must be http://HOST:PORT"):
        Place(uri)


def test_settings_of_the_environment(monkeypatch):
    for name in ("EFISS_BACKEND", "EFISS_MILVUS_URI", "EFISS_MILVUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert milvus.place() is None
    monkeypatch.setenv("EFISS_BACKEND", "elastic")
    with pytest.raises(SettingError, match="EFISS_BACKEND must be faiss or milvus, not 'elastic'"):
        milvus.place()
    monkeypatch.setenv("EFISS_BACKEND", "milvus")
    with pytest.raises(SettingError, match="EFISS_MILVUS_URI"):
        milvus.place()
    monkeypatch.setenv("EFISS_MILVUS_URI", "https://milvus.example:443/shop")
    monkeypatch.setenv("EFISS_MILVUS_TOKEN", "user:secret")
    assert milvus.place() == Place("https://milvus.example:443/shop", "user:secret")
    assert "secret" not in repr(milvus.place())
    assert milvus.place("faiss") is None
    assert milvus.place("milvus", "http://other:1").uri == "http://other:1"


@pytest.mark.parametrize("name", ["pymilvus", "milvus_lite"])
def test_a_missing_package_is_named(publish_version, tmp_path, monkeypatch, name):
    publish_version(tmp_path / "index")
    monkeypatch.setitem(sys.modules, name, None)  # how Python marks what cannot be imported
    with pytest.raises(VersionError, match=r"pip install 'efiss-ai\[milvus\]'"):
        milvus_publish.publish(Index(tmp_path / "index"), "1.0.0", place_in(tmp_path))


# -- a server that goes away ---------------------------------------------------------------------


class Lite:
    """milvus-lite as a server of its own, which several processes can ask."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._file = folder / "server.db"
        self.uri = f"http://{self._address}"
        self.start()

    def start(self):
        from milvus_lite.server import Server

        self._server = Server(str(self._file), self._address)
        assert self._server.init() and self._server.start()

    def kill(self):
        self._server._p.kill()
        self._server.stop()


@pytest.fixture
def lite(tmp_path):
    server = Lite(tmp_path)
    yield server
    server.kill()


def test_a_server_that_went_away_is_found_again(publish_version, tmp_path, lite):
    folder = publish_version(tmp_path / "index")
    where = Place(lite.uri)
    milvus_publish.publish(Index(tmp_path / "index"), "1.0.0", where)
    index, code = MilvusVersion(folder, where), np.zeros(8, np.uint8)
    before = index.select(code, 3)
    lite.kill()
    for ask in (
        lambda: index.select(code, 3),
        lambda: index.row("x"),
        lambda: index.paths(before[0]),
    ):
        with pytest.raises(Unavailable, match=lite.uri):
            ask()
    with pytest.raises(Unavailable):
        MilvusVersion(folder, where)
    lite.start()
    np.testing.assert_array_equal(eventually(lambda: index.select(code, 3)), before)


def eventually(ask, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (Unavailable, urllib.error.HTTPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.mark.server
def test_the_service_answers_from_milvus_and_survives_its_absence(publish_version, tmp_path, lite):
    """Starts TorchServe and Milvus, and Milvus again."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (200, 8), np.uint8)
    folder = publish_version(tmp_path / "index", codes=codes)
    options = ("--backend", "milvus", "--uri", lite.uri)
    refused = efiss("activate", "1.0.0", *options, folder=tmp_path)
    assert refused.returncode == 1
    assert (
        "Error: Milvus has no collection efiss_1_0_0; run `efiss publish 1.0.0`" in refused.stderr
    )
    for command in (["publish", "1.0.0", *options], ["activate", "1.0.0", *options]):
        done = efiss(*command, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert efiss("archive", "--index_version", "1.0.0", folder=tmp_path).returncode == 0
    # What FAISS would need is gone: only Milvus can answer.
    os.truncate(folder / "index.bin", 0)
    image = encoded(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)), "PNG")
    queries = [
        {"image": base64.b64encode(image).decode(), "debug": True, "top_k": 20},
        {"code": codes[5].tobytes().hex(), "debug": True, "top_k": 1},
        {"like": "data/abc.com/5_abc_com.jpg", "top_k": 1, "shops": ["abc.com"]},
    ]
    with serving(
        tmp_path, EFISS_BACKEND="milvus", EFISS_MILVUS_URI=lite.uri, EFISS_WORKERS="2"
    ) as service:
        whole, one, like = (ask(service.url, query) for query in queries)
        assert len(whole["relevant"]) == 20 and whole["distances"] == sorted(whole["distances"])
        code = np.frombuffer(bytes.fromhex(whole["code"]), np.uint8)
        nearest = np.sort(np.bitwise_count(codes ^ code).sum(1))[:20]
        assert whole["distances"] == nearest.tolist()
        assert (one["relevant"], one["distances"]) == (["data/abc.com/5_abc_com.jpg"], [0])
        assert like["relevant"] == ["data/abc.com/5_abc_com.jpg"]
        # A worker that starts while Milvus is away ends, and is started again.
        wait_for(lambda: len(service.acknowledgements()) == 2)
        workers = service.workers()
        lite.kill()
        for query in queries:
            with pytest.raises(urllib.error.HTTPError) as error:
                ask(service.url, query)
            body = json.load(error.value)
            assert (error.value.code, body["type"]) == (503, "search_unavailable")
            assert lite.uri not in body["message"]
        lite.start()
        again = eventually(lambda: ask(service.url, queries[1]))
        assert again["relevant"] == one["relevant"]
        assert service.workers() == workers


def ask(url: str, query: dict) -> dict:
    request = urllib.request.Request(
        url + "/predictions/image-retrieval-v1.0",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


# -- longer codes, which stay on this machine ---------------------------------------------------


@pytest.fixture
def longer(publish_version, tmp_path):
    """A version with longer codes in Milvus, and what it holds."""
    rng = np.random.default_rng(4)
    codes, fine_codes = clustered(rng, 300), rng.integers(0, 256, (300, 32), np.uint8)
    folder = publish_version(tmp_path / "index", codes=codes, fine_codes=fine_codes)
    milvus_publish.publish(Index(tmp_path / "index"), "1.0.0", place_in(tmp_path))
    return folder, codes, rng.normal(size=320).astype(np.float32)


def test_without_its_local_column_a_service_orders_by_distance(longer, tmp_path):
    folder, codes, outputs = longer
    code = np.packbits(outputs[:64] > 0)
    whole = MilvusVersion(folder, place_in(tmp_path))
    (folder / "fine_codes.npy").unlink()
    bare = MilvusVersion(folder, place_in(tmp_path))
    assert whole.has_fine_codes and not bare.has_fine_codes and bare.outputs(3) is None
    wanted, _ = ranking(codes, code, 40, outputs[:64])
    for weight in (None, 1.0):
        np.testing.assert_array_equal(bare.select(code, 40, outputs, weight=weight)[0], wanted)
    assert (whole.select(code, 40, outputs, weight=1.0)[0] != wanted).any()


def test_a_column_that_is_not_the_version_s_is_refused(longer, tmp_path):
    folder = longer[0]
    np.save(folder / "fine_codes.npy", np.zeros((299, 32), np.uint8))
    with pytest.raises(VersionError, match=r"fine_codes.npy holds uint8 \[299, 32\]"):
        MilvusVersion(folder, place_in(tmp_path))
    os.truncate(folder / "fine_codes.npy", 1000)
    with pytest.raises(VersionError, match=r"fine_codes.npy cannot be opened \(.*; copy it again"):
        MilvusVersion(folder, place_in(tmp_path))
