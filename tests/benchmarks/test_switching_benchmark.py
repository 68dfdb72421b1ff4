"""The benchmark of switching, small: that nothing fails and no answer is of the wrong version, not
how long it takes."""

import json
import os
import subprocess
import sys

import pytest

from tests.running import ROOT, free_block


@pytest.mark.server
def test_nobody_notices_that_versions_change(tmp_path):
    """Seconds of load, five activations and TorchServe's start: its smallest size."""
    done = subprocess.run(
        [sys.executable, "benchmarks/switching.py", "--rows", "1000", "--seconds", "7",
         "--clients", "2", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"EFISS_PORT": str(free_block()), "EFISS_HOST": "127.0.0.1"},
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "switching.json").read_text())
    assert result["failed"] == 0 and result["wrong_version"] == 0
    answers = result["answers_by_version"]
    assert answers.pop("1.3.0") == 0  # the damaged one
    assert all(answers.values())
    assert result["switching"]["max_ms"] > result["calm"]["median_ms"] > 0
    assert result["memory_mb"].keys() == {"first", "fifth"}
