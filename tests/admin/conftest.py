"""A shop's folder with an admin service of its own."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from selenium import webdriver

from tests.conftest import Busy, write_tiny_model
from tests.running import ROOT, Running, efiss_here, free_block, wait_for

PICTURES = 30
MANY = 600
"""So many that hashing them with the slow model takes seconds."""

PLAIN = {"timeout": 60, "verify": False}
"""Options of requests to this machine: reading certificates would take longer than the answer."""


@dataclasses.dataclass
class Admin:
    """A running `efiss admin`: where it listens, the folder it works in, its process."""

    url: str
    folder: Path
    process: subprocess.Popen

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, **PLAIN, **options)

    def post(self, path: str, body=None, **options) -> httpx.Response:
        return httpx.post(self.url + path, json=body, **PLAIN, **options)

    def job(self, id: int) -> dict:
        return self.get(f"/api/jobs/{id}").json()

    def reindexing(self) -> list[psutil.Process]:
        """The processes that hash."""
        return psutil.Process(self.process.pid).children()

    def is_at_work(self) -> bool:
        """Whether some pictures are hashed, and some not."""
        job = self.get("/api/jobs").json()["jobs"][0]
        return job["step"] == "index" and 0 < job["done"] < job["total"]

    @contextlib.contextmanager
    def halted(self):
        """The reindex that runs stands still, so that it does not end meanwhile."""
        (process,) = wait_for(self.reindexing)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def draw_many(folder: Path) -> None:
    for number in range(MANY):
        draw(folder / f"data/xyz.vn/{number}_xyz_vn.png", 1000 + number)


def reindex_here(folder: Path) -> None:
    """In this process, for what is not about jobs."""
    efiss_here("reindex", "--datalake", "data", "--model_path", "models/tiny-1.pt", folder=folder)


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
    write_tiny_model(folder / "models" / "slow", 2, Busy(350))
    return folder


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
    port = free_block()
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
        process.communicate(timeout=60)


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


# -- the search beside it ------------------------------------------------------------------------


@dataclasses.dataclass
class Served:
    """A drawn catalogue with a search service and an admin service over it: version 1.0.0."""

    admin: Admin
    service: Running
    folder: Path
    paths: list[str]


@pytest.fixture(scope="session")
def served(deployed, service):
    """The service that other tests ask too, with an admin service beside it."""
    with administering(deployed, EFISS_SERVICE_URL=service.url) as admin:
        names = (deployed / "database_info.txt").read_bytes().splitlines()
        yield Served(admin, service, deployed, [os.fsdecode(name) for name in names])


# -- a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Chromium without a window, driven by selenium; nothing is downloaded."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("the page is tested in Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("disable-dev-shm-usage", "force-prefers-reduced-motion"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def browser(chromium):
    """A new tab, wide; fails the test when the page left an error in the console that is more than
    a request that was refused."""
    chromium.switch_to.new_window("tab")
    resize(chromium, 1280, 900)
    chromium.get_log("browser")
    yield chromium
    said = [entry["message"] for entry in chromium.get_log("browser")]
    for handle in chromium.window_handles[1:]:
        chromium.switch_to.window(handle)
        chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])
    assert [text for text in said if "the server responded with a status of" not in text] == []


def resize(browser, width: int, height: int) -> None:
    """The size of the page; a window has a least width, and this has not."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def is_wider_than_the_screen(browser) -> bool:
    return browser.execute_script("return document.documentElement.scrollWidth > innerWidth")
