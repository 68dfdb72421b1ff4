"""The wheel, installed into an environment of its own and run outside the checkout."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.running import ROOT, free_block, make_environment, wait_for

pytestmark = pytest.mark.server

NOT_IN_IT = (".*", "build", "demo", "index", "model_store", "data", "runs", "tests", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, which no earlier build has left anything in."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = shutil.copytree(
        ROOT, folder / "copy", symlinks=True, ignore=shutil.ignore_patterns(*NOT_IN_IT)
    )
    command = [sys.executable, "-m", "pip", "wheel", copy, "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--quiet", "-w", folder], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory) -> Path:
    """`efiss` where the wheel is installed."""
    environment = make_environment(tmp_path_factory.mktemp("environment"))
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet"]
    subprocess.run([*command, wheel], check=True)
    return environment / "bin" / "efiss"


def test_it_holds_what_the_program_reads_and_under_which_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        packed = archive.read("machine/shipped/config.properties")
    assert packed == (ROOT / "config.properties").read_bytes()
    assert "License-Expression: Apache-2.0\n" in metadata
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    rooms = {name.split("/")[0] for name in names if name.endswith("/__init__.py")}
    assert {name.split("/")[0] for name in names if name.endswith("/py.typed")} == rooms
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@contextlib.contextmanager
def running(program: Path, command: str, folder: Path, **environment: str):
    """A command that runs until SIGTERM: where its log is, once it has said `ready:`."""
    log = folder / f"{command}.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EFISS_")}
    clean.pop("PYTHONPATH", None)
    with log.open("w") as output:
        process = subprocess.Popen(
            [program, command], cwd=folder, env=clean | environment, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: "\nready: " in f"\n{log.read_text()}" or process.poll() is not None, 180)
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_demo_serve_and_admin_run_in_an_empty_folder(program, tmp_path):
    """Twenty seconds or so: it starts TorchServe twice and hashes the demo's pictures, since only a
    run shows that no file is missing."""
    port = free_block()
    own = {"EFISS_PORT": str(port), "EFISS_WORKERS": "1"}
    with running(program, "demo", tmp_path, **own, EFISS_WORKER="2") as log:
        first = next(line for line in log.read_text().splitlines() if line.startswith("   1 "))
        assert (tmp_path / first.split()[-1]).is_file()
        assert f"\n  {program} search PHOTO " in log.read_text()
        assert log.read_text().count("Warning: EFISS_WORKER ") == 1  # it starts an admin service
        page = httpx.get(f"http://127.0.0.1:{port + 1}/")
        assert page.status_code == 200 and "Search by photo" in page.text
    with running(program, "serve", tmp_path, **own), running(program, "admin", tmp_path, **own):
        asked = {
            "new_index_database_version": "1.2.0",
            "mode": "unnecessary fast",
            "model_path": "torchscripts_models/relahash-medium-64bits.pt",
        }
        url = f"http://127.0.0.1:{port + 1}/api/reindex"
        answer = httpx.post(url, json=asked, timeout=120).raise_for_status().json()
        assert (answer["result"], answer["index_database_version"]) == ("success", "1.2.0")
