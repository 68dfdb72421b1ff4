"""`efiss check`."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from hashing import remote
from hashing.model import Model
from searcher import report
from searcher.index import Index


def efiss(*words):
    return CliRunner().invoke(main, words)


def failed(result, *words) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    for word in words:
        assert word in result.stderr


@pytest.fixture
def index(publish_version, tiny_models, tmp_path, monkeypatch) -> Path:
    """The folder index/ in the current one: 1.0.0, live, of twenty pictures, and 1.1.0 of
    nineteen; each has one rejected line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFISS_MODELS", str(tiny_models[0]))
    paths = [f"data/abc.com/{i}_abc_com.png" for i in range(20)]
    Path("data/abc.com").mkdir(parents=True)
    for seed, path in enumerate(paths):
        draw(path, seed)
    model = Model.load(tiny_models[0])
    codes = model.codes(np.stack([model.pixels(Path(path).read_bytes()) for path in paths]))
    publish_version(Path("index"), "1.0.0", codes=codes, paths=paths)
    publish_version(Path("index"), "1.1.0", codes=codes[:19], paths=paths[:19])
    Index(Path("index")).activate("1.0.0")
    return Path("index")


def draw(path, seed) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def allow(**thresholds) -> None:
    lines = [f"{name} = {value}" for name, value in thresholds.items()]
    Path("efiss.toml").write_text("\n".join(["[check]", *lines]))


def columns(line: str) -> list[str]:
    """The words of a line of the table behind its name."""
    return line[28:].split()


def test_a_table_says_what_was_measured_beside_the_live_version(index):
    result = efiss("check", "1.1.0")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert columns(lines[0]) == ["1.1.0", "1.0.0", "limit"]
    table = {line[:28].rstrip(): columns(line) for line in lines[1:-1]}
    assert table["rows"] == ["19", "20"]
    assert table["lines rejected"] == ["5", "%", "4.76", "%", "at", "most", "5", "%"]
    assert table["rows added"] == ["0", "–"]
    assert table["rows removed"] == ["1", "–"]
    assert table["catalogue shrunk by"] == ["5", "%", "–", "at", "most", "20", "%"]
    assert table["sampled pictures unreadable"] == ["0", "%", "–", "at", "most", "5", "%"]
    assert table["self-retrieval"] == ["100", "%", "–", "at", "least", "99.9", "%"]
    assert table["distinct codes"] == ["100", "%", "100", "%"]
    assert table["largest bucket"] == ["1", "1"]
    assert table["most uneven bit"][1::2] == ["%", "%"]
    assert table["top-10 changed by"][1:] == ["%", "–"]
    assert table["nearest is one of five hubs"][1::2] == ["%", "%"]
    assert table["changed pictures found first"][1:] == ["%", "–"]
    assert table["model, a picture"][1:] == ["ms", "–"]
    for name in ("query, median", "query, 99th percentile"):
        assert table[name][1::2] == ["ms", "ms"]
    assert lines[-1] == "version 1.1.0: passed"


def test_a_refused_version_ends_with_4_and_the_reasons(index):
    for i in range(2):
        draw(f"data/abc.com/{i}_abc_com.png", 100)
    result = efiss("check", "1.1.0")
    assert result.exit_code == 4
    assert result.stdout.splitlines()[-2:] == [
        "version 1.1.0: refused",
        "  self-retrieval 89.47 % (at least 99.9 % is allowed)",
    ]
    (line,) = [line for line in result.stdout.splitlines() if line.endswith(" REFUSED")]
    assert line.startswith("self-retrieval ")


def test_what_was_refused_is_not_activated_but_by_force(index):
    allow(most_rejected=1)
    assert efiss("check", "1.1.0").exit_code == 4
    failed(
        efiss("activate", "1.1.0"),
        "version 1.1.0 was judged unfit and stays off: lines rejected 5 % (at most 1 % is allowed)",
        "--force takes it all the same",
    )
    assert Index(index).live() == "1.0.0"
    assert efiss("activate", "1.1.0", "--force").exit_code == 0
    assert Index(index).live() == "1.1.0"
    assert json.loads((index / "1.1.0/check.json").read_text())["verdict"] == "forced"


def test_force_is_recorded_and_shown(index):
    allow(most_rejected=1)
    result = efiss("check", "1.1.0", "--force")
    assert result.exit_code == 0
    stored = json.loads((index / "1.1.0/check.json").read_text())
    assert stored["verdict"] == "forced"
    assert result.stdout.splitlines()[-2:] == [
        f"version 1.1.0: forced on {stored['forced']}",
        "  lines rejected 5 % (at most 1 % is allowed)",
    ]
    assert efiss("activate", "1.1.0").exit_code == 0


def test_the_versions_are_listed_with_what_was_said_of_them(index):
    allow(most_rejected=5)
    efiss("check", "1.0.0")
    allow(most_rejected=1)
    efiss("check", "1.1.0")

    def verified() -> list[str]:
        return [line.split()[-3] for line in efiss("versions").output.splitlines()[1:]]

    assert verified() == ["passed", "refused"]
    efiss("check", "1.1.0", "--force")
    assert verified() == ["passed", "forced"]


def test_a_checked_version_still_verifies(index):
    efiss("check", "1.1.0")
    assert efiss("verify", "1.1.0").exit_code == 0


def test_the_thresholds_may_stand_in_another_file(index):
    Path("strict.toml").write_text("[check]\nmost_rejected = 1\n")
    assert efiss("check", "1.1.0", "--config", "strict.toml").exit_code == 4


def test_thresholds_that_cannot_be_used(index):
    allow(most_shrunken=20)
    failed(efiss("check", "1.1.0"), "efiss.toml: [check] has no most_shrunken; it may have most_")
    assert report.stored(index / "1.1.0") is None


def test_what_does_not_exist_is_not_checked(index):
    failed(efiss("check", "3.0.0"), "no version 3.0.0 in index", "exist: 1.0.0, 1.1.0")
    failed(efiss("check", "latest"), "'latest' is not a version number")


def test_a_damaged_version_is_no_version_to_check(index):
    (index / "1.1.0/index.bin").write_bytes(b"")
    failed(efiss("check", "1.1.0"), "version 1.1.0 is damaged: index.bin has 0 bytes")


def test_a_damaged_report_is_named_by_those_who_read_it(index):
    (index / "1.1.0/check.json").write_text("{}")
    failed(efiss("activate", "1.1.0"), "the report of index/1.1.0 is damaged")
    assert "damaged: the report of index/1.1.0" in efiss("versions").output
    assert efiss("check", "1.1.0").exit_code == 0
    assert efiss("activate", "1.1.0").exit_code == 0


def test_a_device_and_a_setting_that_are_none(index, monkeypatch):
    failed(efiss("check", "1.1.0", "--device", "cuda:99"), "--device cpu")
    monkeypatch.setenv("EFISS_MAX_PIXELS", "many")
    failed(efiss("check", "1.1.0"), "EFISS_MAX_PIXELS must be a whole number")


def test_pictures_at_urls_need_what_reads_them(index, publish_version, monkeypatch):
    def fail(paths):
        raise remote.RemoteError("https:// needs a package: pip install 'efiss-ai[remote]'")

    monkeypatch.setattr(remote, "check", fail)
    failed(efiss("check", "1.1.0"), "pip install 'efiss-ai[remote]'")
