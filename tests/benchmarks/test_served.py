"""The benchmark of the served path, small: that every figure is there, not how large."""

import json
import subprocess
import sys

import pytest

from tests.running import ROOT


@pytest.mark.server
def test_measures_the_served_path(tmp_path):
    """Starts this checkout's service and TorchServe with the original's steps."""
    done = subprocess.run(
        [sys.executable, "benchmarks/served.py", "--rounds", "1", "--seconds", "0.3",
         "--warm-up", "0.1", "--clients", "1", "--clients", "2", "--out", str(tmp_path)],
        cwd=ROOT, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "served.json").read_text())
    figures = {(one["form"], one["server"], one["clients"]): one for one in result["figures"]}
    ways = [("json", "this"), ("json", "original"), ("bytes", "this")]
    for one in (figures[*way, clients] for way in ways for clients in (1, 2)):
        assert one["rate"] > 0 and one["p99_ms"] >= one["median_ms"] > 0 and one["cpu_ms"] > 0
        assert f"{one['median_ms']:.1f}" in done.stdout
    without = [one for one in result["figures"] if one["server"] == "in process"]
    assert [one["form"] for one in without] == ["bytes", "json"]
    assert all(one["rate"] > 0 for one in without)
    assert (tmp_path / "served.png").read_bytes().startswith(b"\x89PNG")
