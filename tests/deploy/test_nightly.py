"""deploy/nightly.sh: reindexing at a time of the day."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.running import ROOT, wait_for


@pytest.fixture
def nightly(tmp_path):
    """nightly("exit 3", REINDEX_AT="04:30") -> the process, in a folder with index/ where `efiss`
    leaves a line in `calls` and does that."""
    started = []

    def start(does: str, **environment: str) -> subprocess.Popen:
        (tmp_path / "index").mkdir(exist_ok=True)
        program = tmp_path / "efiss"
        program.write_text(f'#!/bin/bash\necho "$@" >> calls\n{does}\n')
        program.chmod(0o755)
        process = subprocess.Popen(
            ["bash", ROOT / "deploy" / "nightly.sh"],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it waits for
        process.communicate()


def children(process: subprocess.Popen) -> str:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return "".join(
        Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        for child in path.read_text().split()
    )


def test_where_nothing_is_live_it_begins_at_once_and_then_waits(nightly, tmp_path):
    process = nightly("exit 3")
    wait_for(lambda: "sleep" in children(process))
    assert (tmp_path / "calls").read_text() == "reindex\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_where_a_version_is_live_it_waits_for_the_night(nightly, tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "CURRENT").write_text("1.0.0")
    process = nightly("exit 0", TZ="UTC")
    wait_for(lambda: "sleep" in children(process))
    assert not (tmp_path / "calls").exists()
    assert 0 < int(children(process).split()[1]) <= 24 * 3600


def test_a_failure_is_said_and_the_next_night_comes(nightly):
    process = nightly("exit 4", REINDEX_AT="04:30")
    wait_for(lambda: "sleep" in children(process))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stderr.read() == (
        "reindexing ended with exit code 4; the next try is at 04:30\n"
    )


def test_a_reindex_that_runs_is_stopped_as_well(nightly, tmp_path):
    process = nightly("trap 'echo stopped >> calls; exit 1' TERM\nsleep 60 & wait")
    wait_for(lambda: (tmp_path / "calls").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert (tmp_path / "calls").read_text() == "reindex\nstopped\n"


@pytest.mark.parametrize("time", ["3", "24:00", "tomorrow"])
def test_a_time_that_is_none_is_refused(nightly, time):
    process = nightly("exit 0", REINDEX_AT=time)
    assert process.wait(60) == 2
    assert f"not '{time}'" in process.stderr.read()
