"""The benchmark of the running service, small: that every figure is there, not how large."""

import json
import os
import subprocess
import sys

import pytest

from tests.running import ROOT, free_block


@pytest.mark.server
def test_measures_the_running_service(tmp_path):
    """Starts TorchServe and asks it hundreds of times."""
    done = subprocess.run(
        [sys.executable, "benchmarks/service.py", "--rows", "1000", "--queries", "10",
         "--clients", "1", "--clients", "2", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"EFISS_PORT": str(free_block()), "EFISS_HOST": "127.0.0.1"},
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "service.json").read_text())
    assert result["rows"] == 1000
    assert [(one["request"], one["clients"]) for one in result["figures"]] == [
        (kind, clients) for kind in ("ping", "code", "image") for clients in (1, 2)
    ]
    for one in result["figures"]:
        assert one["rate"] > 0 and one["p99_ms"] >= one["median_ms"] > 0
        assert f"{one['median_ms']:.2f}" in done.stdout
