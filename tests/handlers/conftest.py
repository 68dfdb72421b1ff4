"""A real service, started once: a drawn catalogue, its version, the archive, TorchServe."""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from efiss.demo_catalogue import write_catalogue

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 48
ODD_NAMES = [b"7 7_north.jpg", "Größe_日本.jpg".encode(), b"caf\xe9_not utf-8.jpg", b'"\\_.jpg']
START_SECONDS = 180


@dataclasses.dataclass
class Running:
    """A service under test: where it listens, its folder (index/, model_store/, data/), its
    process and its log."""

    url: str
    port: int
    folder: Path
    process: subprocess.Popen
    log: Path

    def workers(self) -> set[int]:
        """Process ids of TorchServe's Python workers."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return {p.pid for p in children if "model_service_worker" in " ".join(p.cmdline())}

    @property
    def management(self) -> Path:
        """The Unix socket of TorchServe's management API."""
        return next((self.folder / "tmp").glob("efiss-*/management.sock"))


def free_block() -> int:
    """The first of six ports in a row that are free now."""
    for port in range(20_000 + os.getpid() % 10_000, 60_000, 6):
        with contextlib.ExitStack() as held:
            try:
                for offset in range(6):
                    probe = held.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + offset))
                return port
            except OSError:
                continue
    raise RuntimeError("no six free ports in a row")


def efiss(*arguments: str, folder: Path, **options) -> subprocess.CompletedProcess:
    """Run `efiss` in a folder as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "efiss", *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


@contextlib.contextmanager
def serving(folder: Path, **environment: str):
    """`efiss serve` in `folder`; ended by SIGTERM."""
    port, log = free_block(), folder / "service.log"
    (folder / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {
        "EFISS_PORT": str(port),
        "EFISS_HOST": "127.0.0.1",
        "TMPDIR": str(folder / "tmp"),
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
    running = Running(f"http://127.0.0.1:{port}", port, folder, process, log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "ready: " not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture(scope="session")
def catalogue(model_path):
    """A folder with data/ (drawn pictures in four shops), database_info.txt, two versions of the
    index of which 1.0.0 is live, and the archive of 1.0.0."""
    # Short, since Unix sockets lie below it and their paths may have 107 letters.
    folder = Path(tempfile.mkdtemp(prefix="efiss-test-"))
    try:
        write_catalogue(folder / "data", IMAGES, 4, seed=1)
        for shop, name in zip(sorted((folder / "data").glob("*/")), ODD_NAMES, strict=False):
            os.rename(sorted(shop.iterdir())[0], os.fsencode(shop) + b"/" + name)
        script = ROOT / "indexer" / "extract_datalake.sh"
        subprocess.run(["bash", script, "data"], cwd=folder, check=True, capture_output=True)
        for version in ("1.0.0", "1.1.0"):
            done = efiss("index", "--model_path", str(model_path), "--new_index_database_version",
                         version, folder=folder)  # fmt: skip
            assert done.returncode == 0, done.stderr
        for command in (["activate", "1.0.0"], ["archive", "--index_version", "1.0.0"]):
            done = efiss(*command, folder=folder)
            assert done.returncode == 0, done.stderr
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def service(catalogue):
    """A running service with two workers that answer in batches, so that requests meet in one."""
    with serving(
        catalogue, EFISS_WORKERS="2", EFISS_BATCH_SIZE="4", EFISS_BATCH_DELAY_MS="20"
    ) as s:
        yield s
