"""`efiss versions`, `verify`, `activate`, `rollback` and `remove`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from hashing.model import Model
from searcher import open_version
from searcher.index import Index
from searcher.live import Follower
from searcher.version import read_manifest, verify


@pytest.fixture
def index(publish_version, tiny_models, tmp_path, monkeypatch) -> Path:
    """The folder index/ in the current one: 1.0.0, live, of ten pictures, and 1.1.0 of three."""
    monkeypatch.chdir(tmp_path)
    paths = [f"data/abc.com/{i}_abc_com.jpg" for i in range(10)]
    Path("data/abc.com").mkdir(parents=True)
    for seed, path in enumerate(paths):
        draw(path, seed)
    model = Model.load(tiny_models[0])
    codes = model.codes(np.stack([model.pixels(Path(path).read_bytes()) for path in paths]))
    publish_version(Path("index"), "1.0.0", codes=codes, paths=paths)
    publish_version(Path("index"), "1.1.0", codes=codes[:3], paths=paths[:3])
    Index(Path("index")).activate("1.0.0")
    return Path("index")


def edit_manifest(folder, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def draw(path, seed) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def efiss(*words):
    return CliRunner().invoke(main, words)


def failed(result, *words) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    for word in words:
        assert word in result.stderr


# -- versions ------------------------------------------------------------------------------------


def test_lists_versions_and_marks_the_live_one(index):
    result = efiss("versions")
    assert result.exit_code == 0
    header, first, second = result.output.splitlines()
    assert header.split() == [
        *("version", "rows", "rejected", "MB", "created", "mode", "recall", "verified", "model")
    ]
    created = read_manifest(index / "1.0.0").created[:19]
    digest = read_manifest(index / "1.0.0").model["sha256"][:8]
    size = sum(path.stat().st_size for path in (index / "1.0.0").iterdir()) / 1e6
    assert first.split() == [
        *("*", "1.0.0", "10", "1", f"{size:.1f}", created, "default", "1.000", "–", "tiny-1"),
        f"({digest})",
    ]
    assert second.split()[:3] == ["1.1.0", "3", "1"]
    assert len({line.rindex(" tiny-1") for line in (first, second)}) == 1


def test_lists_another_folder(index):
    index.rename("elsewhere")
    assert "1.1.0" in efiss("versions", "--index_root", "elsewhere").output


def test_says_that_there_is_none(index):
    result = efiss("versions", "--index_root", "nowhere")
    assert result.exit_code == 0
    assert result.output == "no version in nowhere; build one with `efiss index`\n"


def test_lists_the_recall_of_an_approximate_index(index, publish_version):
    publish_version(index, "1.2.0", mode="ivf")
    edit_manifest(index / "1.2.0", search={"steps": 8, "recall": 0.9535})
    line = efiss("versions").output.splitlines()[3]
    assert "unnecessary fast 0.954   –        tiny-1 (" in line


def test_lists_a_version_without_a_model(index, publish_version):
    publish_version(index, "1.2.0", model=False)
    assert efiss("versions").output.splitlines()[3].split()[-3:] == ["1.000", "–", "none"]


def test_a_version_of_an_older_program_is_to_be_made_again(index):
    manifest = json.loads((index / "1.1.0/manifest.json").read_text())
    del manifest["search"]
    (index / "1.1.0/manifest.json").write_text(json.dumps(manifest))
    result = efiss("versions")
    assert result.exit_code == 0
    assert "older version of this program; index the catalogue again" in result.output
    failed(efiss("verify", "1.1.0"), "older version of this program; index the catalogue again")


@pytest.mark.parametrize("text", ["{", "{}", None])
def test_lists_a_damaged_version_as_such(index, text):
    if text is None:
        edit_manifest(index / "1.0.0", model=3)
    else:
        (index / "1.0.0/manifest.json").write_text(text)
    result = efiss("versions")
    assert result.exit_code == 0
    _, first, second = result.output.splitlines()
    assert first.startswith("* 1.0.0        damaged: ")
    assert "manifest.json" in first
    assert second.split()[:2] == ["1.1.0", "3"]


# -- verify --------------------------------------------------------------------------------------


def test_verifies_files_and_a_sample_of_rows(index):
    result = efiss("verify", "1.0.0")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "version 1.0.0: all checksums and row counts are right",
        "10 rows hashed again: 10 the same, 0 different, 0 cannot be read",
    ]


def test_the_sample_may_be_smaller(index):
    assert "4 rows hashed again: 4 the same" in efiss("verify", "1.0.0", "--sample", "4").output


def test_the_sample_may_be_none(index):
    shutil.rmtree("data")
    result = efiss("verify", "1.0.0", "--sample", "0")
    assert result.exit_code == 0
    assert "hashed again" not in result.output


def test_without_a_model_the_files_are_verified_and_no_row(index, publish_version):
    publish_version(index, "1.2.0", model=False)
    result = efiss("verify", "1.2.0")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "version 1.2.0: all checksums and row counts are right",
        "no row was hashed again: the version was imported without a model",
    ]
    path = index / "1.2.0/products.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xaa")
    failed(efiss("verify", "1.2.0"), "1.2.0 is damaged", "products.npy has another checksum")


def test_samples_differ(index):
    """A sample of 5 of 10, one of which is wrong, finds it in half of the runs."""
    draw("data/abc.com/6_abc_com.jpg", 66)
    codes = {efiss("verify", "1.0.0", "--sample", "5").exit_code for _ in range(60)}
    assert codes == {0, 1}


def test_a_damaged_version_does_not_verify(index):
    path = index / "1.0.0/paths.bin"
    data = path.read_bytes()
    path.write_bytes(data[:5] + b"X" + data[6:])
    failed(efiss("verify", "1.0.0"), "1.0.0 is damaged", "paths.bin has another checksum")


def test_a_picture_that_changed_does_not_verify(index):
    draw("data/abc.com/6_abc_com.jpg", 66)
    result = efiss("verify", "1.0.0")
    failed(result, "data/abc.com/6_abc_com.jpg has another code", "index the catalogue again")
    assert "9 the same, 1 different" in result.stdout


def test_rows_that_are_shifted_do_not_verify(index, publish_version):
    """All checksums are right, and every path names the picture of another row."""
    good = open_version(index / "1.0.0")
    publish_version(
        index,
        "1.2.0",
        codes=np.stack([good.code(row) for row in range(9)]),
        paths=[good.path(row) for row in range(1, 10)],
    )
    assert verify(index / "1.2.0") == []
    failed(efiss("verify", "1.2.0"), "has another code")


def test_a_picture_that_is_gone_is_named(index):
    Path("data/abc.com/6_abc_com.jpg").unlink()
    result = efiss("verify", "1.0.0")
    assert result.exit_code == 0
    assert "9 the same, 0 different, 1 cannot be read" in result.stdout
    assert "6_abc_com.jpg (No such file" in result.stderr


def test_in_another_folder_nothing_can_be_hashed_again(index, monkeypatch):
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    result = efiss("verify", "1.0.0", "--index_root", "../index")
    failed(result, "no picture could be hashed again", "--sample 0")
    assert "relative paths need the folder in which the catalogue was made" in result.stderr


def test_what_does_not_exist_does_not_verify(index):
    failed(efiss("verify", "3.0.0"), "no version 3.0.0 in index", "exist: 1.0.0, 1.1.0")
    failed(efiss("verify", "latest"), "'latest' is not a version number")


def test_a_setting_that_is_none(index, monkeypatch):
    monkeypatch.setenv("EFISS_MAX_PIXELS", "many")
    failed(efiss("verify", "1.0.0"), "EFISS_MAX_PIXELS must be a whole number")


# -- activate ------------------------------------------------------------------------------------


NOBODY = "  no service follows this folder now; one that is started answers from it\n"


def test_activates(index):
    result = efiss("activate", "1.1.0")
    assert (result.exit_code, result.output) == (
        0,
        "version 1.1.0 is live (before: 1.0.0)\n" + NOBODY,
    )
    assert Index(index).live() == "1.1.0"
    os.unlink(index / "CURRENT")
    assert efiss("activate", "1.0.0").output == "version 1.0.0 is live\n" + NOBODY


def test_says_how_many_workers_followed(index):
    Follower(Index(index.absolute()), None, "cpu").watch()  # and not of the next test
    assert efiss("activate", "1.1.0").output.endswith("\n  1 worker answers from it\n")


def test_goes_back(index):
    efiss("activate", "1.1.0")
    lines = efiss("versions").output.splitlines()
    assert [line[0] for line in lines[1:]] == ["<", "*"]
    assert efiss("rollback").output == "version 1.0.0 is live (before: 1.1.0)\n" + NOBODY
    failed(efiss("rollback"), "no version was live before 1.0.0")


def test_removes_what_nobody_needs(index, publish_version):
    for name in ("1.2.0", "1.3.0", "1.4.0"):
        publish_version(index, name)
    failed(efiss("remove", "1.0.0"), "version 1.0.0 is not removed: it is live")
    assert efiss("remove", "1.1.0", "1.2.0").output == "removed 1.1.0, 1.2.0\n"
    assert efiss("remove", "--keep", "1").output == "removed 1.3.0\n"
    assert efiss("remove", "--keep", "1").output == "nothing to remove\n"
    assert Index(index).versions() == ["1.0.0", "1.4.0"]
    for words in ((), ("1.4.0", "--keep", "2")):
        result = efiss("remove", *words)
        assert result.exit_code == 2 and "name the versions to remove" in result.stderr


def test_a_damaged_version_is_not_activated(index):
    path = index / "1.1.0/index.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\xaa")
    failed(efiss("activate", "1.1.0"), "1.1.0 is damaged and stays off: index.bin has another")
    assert Index(index).live() == "1.0.0"


def test_what_does_not_exist_is_not_activated(index):
    failed(efiss("activate", "3.0.0"), "no version 3.0.0 in index", "exist: 1.0.0, 1.1.0")
    assert Index(index).live() == "1.0.0"


def test_a_folder_that_cannot_be_written(index):
    (index / ".CURRENT.new").mkdir()  # fails for root too
    failed(efiss("activate", "1.1.0"), "CURRENT")
    assert Index(index).live() == "1.0.0"
