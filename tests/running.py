"""Running `efiss` and its service for tests, as a user does: real processes, free ports."""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from click.testing import CliRunner

from efiss.cli import main

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 180

IMAGES = 48
ODD_NAMES = [b"7 7_north.jpg", "Größe_日本.jpg".encode(), b"caf\xe9_not utf-8.jpg", b'"\\_.jpg']
SECOND_OF_PRODUCT_5 = "5_another.jpg"
"""Of the catalogue under test: how many pictures, names that some of them have, one in each shop,
and the name of another picture of a product, in each shop as well."""


@dataclasses.dataclass
class Running:
    """A service under test: where it listens, its folder (index/, model_store/, data/), its
    process and its log, and what it is told is the temporary folder."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen
    log: Path
    temporary: Path

    def workers(self) -> set[int]:
        """Process ids of TorchServe's Python workers."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return {p.pid for p in children if "model_service_worker" in " ".join(p.cmdline())}

    def acknowledgements(self) -> list[Path]:
        """What the workers that opened a version left word in, a file each."""
        return list((self.folder / "index" / ".workers").glob("*.json"))

    @property
    def management(self) -> Path:
        """The Unix socket of TorchServe's management API."""
        return next(self.temporary.glob("efiss-*/management.sock"))


def wait_for(happened: Callable[[], T], seconds: float = 60) -> T:
    """What it gives, once that is true."""
    deadline = time.monotonic() + seconds
    while not (given := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return given


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A new folder that is a disk of this size (`260k`, `4m`); the test is skipped where that may
    not be."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def free_block() -> int:
    """The first of six ports in a row that are free now.  Processes that run beside one another do
    not look in the same place; beyond these ports are those of connections."""
    for port in range(20_000 + os.getpid() % 200 * 60, 32_000, 6):
        with contextlib.ExitStack() as held:
            try:
                for offset in range(6):
                    probe = held.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + offset))
                return port
            except OSError:
                continue
    raise RuntimeError("no six free ports in a row")


NOT_OURS = ("__editable__", "efiss", "_virtualenv", "__pycache__")


def make_environment(folder: Path) -> Path:
    """A Python environment that has the packages of this one, without this project."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.check_output([folder / "bin/python", "-c", code], text=True).strip())
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(NOT_OURS):
            (site / entry.name).symlink_to(entry)
    return folder


def efiss(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None, **options
) -> subprocess.CompletedProcess:
    """Run `efiss` in a folder as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "efiss", *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        **options,
    )


def efiss_here(*arguments: str, folder: Path) -> str:
    """As `efiss`, in this process: for what is not about processes.  It has to succeed; returns
    what it said."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@contextlib.contextmanager
def serving(folder: Path, **environment: str):
    """`efiss serve` in `folder`; ended by SIGTERM."""
    port, log = free_block(), folder / "service.log"
    # Short, wherever `folder` is: Unix sockets lie below it, and their paths may have 107 letters.
    temporary = Path(tempfile.mkdtemp(prefix="efiss-test-"))
    environment = os.environ | {
        "EFISS_PORT": str(port),
        "EFISS_HOST": "127.0.0.1",
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "efiss", "serve", "--config", str(ROOT / "config.properties")],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Running(f"http://127.0.0.1:{port}", port, folder, process, log, temporary)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "ready: " not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)
