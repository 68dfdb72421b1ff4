"""A shop's folder with an admin service of its own."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.conftest import write_tiny_model
from tests.running import ROOT, wait_for

PICTURES = 30


class Busy(torch.nn.Module):
    """Changes nothing, and takes a few tenths of a second for that."""

    def forward(self, x):
        square = torch.eye(700) * (x[0, 0] * 0 + 1)  # not a constant, which would be folded
        for _ in range(40):
            square = square @ square
        return x * square[0, 0]


@dataclasses.dataclass
class Admin:
    """A running `efiss admin`: where it listens, the folder it works in, its process."""

    url: str
    folder: Path
    process: subprocess.Popen

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **options)

    def post(self, path: str, body=None, **options) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, **options)

    def job(self, id: int) -> dict:
        return self.get(f"/api/jobs/{id}").json()

    def reindexing(self) -> list[psutil.Process]:
        """The processes that hash."""
        return psutil.Process(self.process.pid).children()


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def shop(tmp_path) -> Path:
    return set_up_shop(tmp_path)


def set_up_shop(folder: Path) -> Path:
    """A folder with pictures in data/ and models in models/: tiny-1.pt, slow/tiny-2.pt, and a link
    that leads out of it."""
    for number in range(PICTURES):
        draw(folder / f"data/abc.com/{number}_abc_com.png", number)
    (folder / "models" / "slow").mkdir(parents=True)
    (folder / "models" / "link").symlink_to("/etc")
    write_tiny_model(folder / "models", 1)
    write_tiny_model(folder / "models" / "slow", 2, Busy())
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, port: int, **environment: str) -> subprocess.Popen:
    own = {"EFISS_ADMIN_PORT": str(port), "EFISS_DATALAKE": "data", "EFISS_MODELS": "models"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EFISS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "efiss", "admin"],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT)} | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def administering(folder: Path, **environment: str):
    """`efiss admin` in `folder`; ended by SIGTERM."""
    port = free_port()
    process = start(folder, port, **environment)
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: "), process.stderr.read()
        admin = Admin(f"http://127.0.0.1:{port}", folder, process)
        wait_for(lambda: _listens(admin))
        yield admin
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _listens(admin: Admin) -> bool:
    try:
        return admin.get("/health/live").status_code == 200
    except httpx.TransportError:
        time.sleep(0.05)
        return False


@pytest.fixture
def admin(shop):
    with administering(shop) as admin:
        yield admin


@pytest.fixture(scope="module")
def idle_admin(tmp_path_factory):
    """For tests that change nothing: one for all of a file."""
    with administering(set_up_shop(tmp_path_factory.mktemp("shop"))) as admin:
        yield admin
