"""`efiss demo` up to what it serves; .ci/run and test_wheel.py run all of it."""

import contextlib
from pathlib import Path

import httpx
import pytest

from efiss.commands import demo
from efiss.commands.demo import Steps, prepare
from efiss.commands.index import index
from indexer.reindex import extract
from searcher import open_version
from searcher.index import Index
from tests.drawing import draw
from tests.running import free_block, wait_for

INDEX = Index(Path("index"))
OWN = "data/abc.com/1_abc_com.jpg"
DRAWN = "demo/datalake/north.example/1_north_example.jpg"


@pytest.fixture(autouse=True)
def folder(tmp_path, tiny_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFISS_MODELS", str(tiny_models[0]))


def live_paths() -> list[str]:
    version = open_version(INDEX.folder(INDEX.live()))
    return [version.path(row) for row in range(version.manifest.rows)]


def serve_the_only(path: str, version: str = "1.0.0") -> None:
    """A live version of one picture."""
    Path(path).parent.mkdir(parents=True)
    draw(1, 1).save(path)
    extract(Path(path).parents[1], Path("database_info.txt"))
    index.main(["--new_index_database_version", version], standalone_mode=False)
    INDEX.activate(version)


def lists() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().glob("database_info.txt*")}


def test_the_photographs_are_copied_indexed_made_live_and_packed_once():
    first, second = Steps(), Steps()
    prepare(first)
    assert INDEX.live() == "1.0.0" and len(live_paths()) == 302
    assert Path("model_store/image-retrieval-v1.0.mar").is_file()
    prepare(second)
    assert all(seconds is not None for _, seconds in first.seconds)
    assert all(seconds is None for _, seconds in second.seconds)


def test_the_drawn_demo_of_an_earlier_release_is_replaced():
    serve_the_only(DRAWN)
    Path("demo/datalake/labels.csv").write_text(
        "path,shop,product,article_type,colour,pattern\n"
        "north.example/1_north_example.jpg,north.example,0-0,Ties,Red,Dots\n"
    )
    prepare(Steps())
    assert INDEX.live() == "1.1.0" and not Path(DRAWN).exists()
    assert len(live_paths()) == 302 and DRAWN not in live_paths()
    prepare(Steps())
    assert INDEX.live() == "1.1.0"


def test_a_catalogue_of_one_s_own_is_kept():
    serve_the_only(OWN)
    prepare(Steps())
    assert INDEX.live() == "1.0.0" and live_paths() == [OWN]
    assert Path("database_info.txt").read_text() == f"{OWN}\n"


@pytest.fixture
def page(monkeypatch):
    """page() runs the page that `efiss demo` starts, for the time of a block."""
    monkeypatch.setenv("EFISS_ADMIN_PORT", str(free_block()))

    @contextlib.contextmanager
    def running():
        with demo._admin("http://127.0.0.1:9") as url:
            wait_for(lambda: listens(url))
            yield url

    return running


def listens(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.server
def test_its_page_brings_nothing_of_it_into_a_catalogue_of_one_s_own(page):
    """Jobs in processes that load torch."""
    prepare(Steps())
    with page() as url:
        told = httpx.get(f"{url}/api/reindex").json()
        assert told == {"datalake": "demo/datalake", "database": "demo/database_info.txt"}
        own = {"database_info.txt": f"{OWN}\n".encode(), "database_info.txt.datalake": b"data\n"}
        serve_the_only(OWN, "1.5.0")
        assert lists() == own
        done = httpx.post(f"{url}/api/reindex", json={"force": True}, timeout=60)
        assert (done.status_code, done.json()["type"]) == (409, "another_catalogue")
        INDEX.activate("1.0.0")
        done = httpx.post(f"{url}/api/reindex", timeout=60)
        assert done.json()["result"] == "nothing new"
    assert lists() == own
    assert len(Path("demo/database_info.txt").read_text().splitlines()) == 302
    assert INDEX.versions() == ["1.0.0", "1.5.0"]


@pytest.mark.server
@pytest.mark.parametrize("datalake", [None, "data"])
def test_its_page_works_on_one_s_own_catalogue_where_that_is_live(page, monkeypatch, datalake):
    if datalake:
        monkeypatch.setenv("EFISS_DATALAKE", datalake)
    serve_the_only(OWN)
    with page() as url:
        told = httpx.get(f"{url}/api/reindex").json()
    assert told == {"datalake": datalake, "database": "database_info.txt"}
