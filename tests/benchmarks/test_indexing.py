"""The benchmark of indexing, small: that its figures are there and make sense, not how large."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import indexing
from tests.drawing import draw
from tests.pictures import encoded
from tests.running import ROOT


@pytest.fixture
def run(tmp_path, tiny_models):
    def run(*arguments) -> tuple[str, dict]:
        given = ["--model_path", str(tiny_models[0]), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(indexing.indexing, [*given, "--rounds", "2", *arguments])
        assert done.exit_code == 0, done.output
        (result,) = (tmp_path / "out").glob("*.json")
        return done.output, json.loads(result.read_text())

    return run


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data/abc.com"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"{i}.jpg").write_bytes(encoded(draw(seed=1, index=i)))
    (folder / "labels.csv").touch()
    return folder


def test_measures_three_ways_on_the_same_pictures(run, data):
    output, result = run("--data", str(data))
    throughput = result["throughput"]
    rates = throughput["pictures_a_second"]
    assert list(rates) == [indexing.DECODE, indexing.MODEL, indexing.BOTH]
    assert (throughput["pictures"], throughput["rounds"]) == (5, 2)
    assert all(len(own) == 2 for own in throughput["seconds"].values())
    slower = min(rates[indexing.DECODE], rates[indexing.MODEL])
    assert throughput["of_the_slower"] == pytest.approx(rates[indexing.BOTH] / slower, abs=0.01)
    assert throughput["of_the_slower"] < throughput["of_the_cores_time"]
    assert "nothing_new" not in result
    assert "of the slower" in output


def test_takes_the_demo_s_photographs_and_indexes_a_list_again(run):
    output, result = run("--pictures", "3", "--lines", "1500")
    assert result["throughput"]["pictures"] == 3
    assert result["nothing_new"]["lines"] == 1500
    assert result["nothing_new"]["stat_seconds"] > 0
    assert result["nothing_new"]["again_seconds"] > 0
    assert "1,500 lines" in output


def test_two_checkouts_take_turns(run, data):
    output, result = run("--data", str(data), "--against", str(ROOT))
    assert np.array(result["seconds_and_cpu_seconds"]).shape == (2, 2, 2)
    assert result["pictures"] == 5 and result["times_as_fast"] > 0
    assert "this one is" in output


def test_a_folder_without_pictures(tmp_path, tiny_models):
    done = CliRunner().invoke(
        indexing.indexing, ["--data", str(tmp_path), "--model_path", str(tiny_models[0])]
    )
    assert done.exit_code == 1
    assert "holds no picture" in done.output
