"""The benchmark of memory, small: that its figures are there and make sense, not how large."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import memory

pytestmark = pytest.mark.slow("a benchmark, small")


def test_reports_every_step_of_every_process_with_the_model_and_without(tmp_path, model_path):
    arguments = ["--rows", "2000", "--queries", "4", "--model_path", str(model_path)]
    done = CliRunner().invoke(memory.memory, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "memory.json").read_text())
    assert result["rows"] == [2000, 2000]
    without, with_model = result["runs"]
    assert (without["model"], with_model["model"]) == (False, True)
    for run in (without, with_model):
        assert [one["step"] for one in run["steps"]] == list(memory.STEPS)
        for one in run["steps"]:
            assert len(one["processes"]) == 2
            for process in one["processes"]:
                assert process["private_mb"] > process["private_cache_mb"] >= 0
                assert process["shared_mb"] > 0 and process["seconds"] >= 0
    assert all(step in done.output for step in memory.STEPS)
    first = [run["steps"][0]["processes"][0]["private_mb"] for run in (without, with_model)]
    assert first[1] > first[0]  # torch and the model


def test_opens_the_versions_that_are_given(tmp_path, publish_version, model_path):
    folders = [publish_version(tmp_path, version) for version in ("1.0.0", "1.1.0")]
    arguments = ["--version", *map(str, folders), "--queries", "2", "--processes", "1"]
    done = CliRunner().invoke(
        memory.memory, [*arguments, "--model_path", str(model_path), "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("two versions of 3 and 3 rows, 2 queries of each")
