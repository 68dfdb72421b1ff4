"""Reindexing below a real service, of which one part or another is killed meanwhile."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from efiss_client import PATH
from searcher import acknowledgements
from searcher.index import Index
from tests.drawing import draw
from tests.pictures import encoded
from tests.running import ROOT, Running, efiss, serving, wait_for


@pytest.fixture
def shop(deployed):
    """A copy of the catalogue's folder in which 1.0.0 is live and alone, and one picture is new."""
    folder = Path(tempfile.mkdtemp(prefix="efiss-test-")) / "shop"  # short, as the catalogue's
    ignore = shutil.ignore_patterns("tmp", "service.log", ".workers", "1.1.0", "2.0.0", "*.sock")
    shutil.copytree(deployed, folder, ignore=ignore)
    add_picture(folder, 7000)
    yield folder
    shutil.rmtree(folder.parent)


def add_picture(folder: Path, seed: int) -> None:
    shops = sorted(path for path in (folder / "data").iterdir() if path.is_dir())
    draw(1, seed).save(shops[0] / f"{seed}_new.jpg")


def reindex(folder: Path, model_path: Path):
    return efiss("reindex", "--datalake", "data", "--model_path", str(model_path), folder=folder)


def reindex_until(words: str, folder: Path, model_path: Path) -> None:
    """Reindex, killed as soon as its log says so."""
    command = [sys.executable, "-m", "efiss", "reindex", "--datalake", "data"]
    with subprocess.Popen(
        [*command, "--model_path", model_path],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert any(words in line for line in process.stdout)
        process.kill()


def answered_by(service: Running, photo: bytes) -> str | None:
    """The version that answered; None while workers are started anew."""
    body = json.dumps({"image": base64.b64encode(photo).decode()}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(service.url + PATH, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["index_database_version"]
    except urllib.error.HTTPError as error:
        assert error.code >= 500
        return None


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(draw(1, 5000))


def test_what_is_killed_leaves_the_old_version_answering_and_is_started_again(
    shop, model_path, photo
):
    """First the indexer, and then, a picture later, everything."""
    with serving(shop, EFISS_WORKERS="1") as service:
        for words in ("indexing", "checking"):
            reindex_until(words, shop, model_path)
            assert answered_by(service, photo) == "1.0.0"
        done = reindex(shop, model_path)
        assert done.returncode == 0, done.stderr
        assert "version 1.1.0 is live, 1 worker answers" in done.stdout
        assert answered_by(service, photo) == "1.1.0"

        add_picture(shop, 7001)
        reindex_until("checking", shop, model_path)
        parts = psutil.Process(service.process.pid).children(recursive=True)
        for part in (psutil.Process(service.process.pid), *parts):
            part.kill()
        psutil.wait_procs(parts)
    index = Index(shop / "index")
    assert (index.live(), index.versions()) == ("1.1.0", ["1.0.0", "1.1.0", "1.2.0"])
    with serving(shop, EFISS_WORKERS="1") as service:
        assert answered_by(service, photo) == "1.1.0"
        done = reindex(shop, model_path)
        assert done.returncode == 0 and " 0 hashed now" in done.stdout
        assert answered_by(service, photo) == "1.2.0"


def test_workers_that_are_killed_meanwhile_come_back_and_follow(shop, model_path, photo):
    """Four, one after the other; whoever answers does so from the old version or the new."""
    with serving(shop, EFISS_WORKERS="2") as service:
        answers, stop = [], threading.Event()

        def kill_and_ask() -> None:
            killed = set()
            while not stop.wait(1):
                for worker in sorted(service.workers())[: len(killed) < 4]:
                    os.kill(worker, signal.SIGKILL)
                    killed.add(worker)
                answers.append(answered_by(service, photo))

        killing = threading.Thread(target=kill_and_ask)
        killing.start()
        try:
            done = reindex(shop, model_path)
        finally:
            stop.set()
            killing.join()
        assert done.returncode == 0, done.stderr
        assert set(answers) <= {"1.0.0", "1.1.0", None}
        wait_for(lambda: [word.version for word in words_of(shop)] == ["1.1.0", "1.1.0"], 120)
        assert answered_by(service, photo) == "1.1.0"


def words_of(folder: Path) -> list[acknowledgements.Word]:
    return acknowledgements.alive(Index(folder / "index"))
