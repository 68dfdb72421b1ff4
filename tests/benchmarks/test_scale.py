"""The benchmark of very many rows, small: that its figures are there and nothing is wrong."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import scale

pytestmark = pytest.mark.slow("a benchmark, small")

TAKEN = {"seconds", "processor_seconds", "peak_mb", "peak_bytes_a_row"}


def run(name: str, tmp_path, *options: str) -> dict:
    arguments = [name, "--folder", str(tmp_path / "made"), "--out", str(tmp_path), *options]
    done = CliRunner().invoke(scale.scale, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / f"scale_{name}.json").read_text())
    assert all(set(step) == TAKEN for step in result["steps"].values())
    return result


def test_codes_that_are_known(tmp_path):
    result = run("import", tmp_path, "--rows", "3000", "--queries", "20")
    assert list(result["steps"]) == ["import", "verify", "activate", "check"]
    assert (result["rows"], result["queries"], result["wrong"]) == (3000, 20, 0)


def test_nights(tmp_path, tiny_models, monkeypatch):
    monkeypatch.setattr(scale, "PICTURES", 40)
    monkeypatch.chdir(tmp_path)
    result = run("nightly", tmp_path, "--rows", "10000", "--model_path", str(tiny_models[0]))
    assert list(result["steps"]) == ["all codes known", "one new picture", "1 % new, codes known"]
    live = (tmp_path / "made/index/CURRENT").read_text().strip()
    manifest = json.loads((tmp_path / "made/index" / live / "manifest.json").read_text())
    assert manifest["rows"] == 250 * 40 + 1 + 2 * 40
