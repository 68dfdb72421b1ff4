"""`efiss demo` up to what it serves; .ci/run and test_wheel.py run all of it."""

from pathlib import Path

import pytest

from efiss.commands.demo import Steps, prepare
from efiss.commands.index import index
from searcher import open_version
from searcher.index import Index
from tests.drawing import draw

INDEX = Index(Path("index"))
DRAWN = "demo/datalake/north.example/1_north_example.jpg"


@pytest.fixture(autouse=True)
def folder(tmp_path, tiny_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFISS_MODELS", str(tiny_models[0]))


def live_paths() -> list[str]:
    version = open_version(INDEX.folder(INDEX.live()))
    return [version.path(row) for row in range(version.manifest.rows)]


def serve_the_only(path: str) -> None:
    """A live version of one picture."""
    Path(path).parent.mkdir(parents=True)
    draw(1, 1).save(path)
    Path("database_info.txt").write_text(f"{path}\n")
    index.main(["--new_index_database_version", "1.0.0"], standalone_mode=False)
    INDEX.activate("1.0.0")


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
    own = "data/abc.com/1_abc_com.jpg"
    serve_the_only(own)
    prepare(Steps())
    assert INDEX.live() == "1.0.0" and live_paths() == [own]
    assert Path("database_info.txt").read_text() == f"{own}\n"
