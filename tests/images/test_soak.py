"""A minute of the soak against a container that has 2 GB of memory."""

import json
import subprocess
import sys

import pytest

from tests.images.conftest import HARDENED, docker
from tests.running import ROOT


@pytest.mark.slow("sends hostile requests for a minute, and rests before and after")
def test_a_container_of_2_gb_keeps_to_its_budgets(running, tmp_path):
    """Its processes are seen from here where the engine runs on this machine."""
    with running(*HARDENED, "--memory", "2g", "--memory-swap", "2g") as container:
        pid = docker("inspect", "--format", "{{.State.Pid}}", container.name).stdout.strip()
        done = subprocess.run(
            [sys.executable, "benchmarks/soak.py", "--url", container.url, "--pid", pid,
             "--minutes", "1", "--within", "10", "--out", tmp_path],
            cwd=ROOT, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + container.log()[-3000:]
        state = json.loads(docker("inspect", "--format", "{{json .State}}", container.name).stdout)
        assert state["Running"] and not state["OOMKilled"]
    assert json.loads((tmp_path / "soak.json").read_text())["sent"] > 100
