"""`efiss serve` after its start: TorchServe ends, hangs or does not come back."""

import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from efiss_client import PATH, Client
from serving import watch
from serving.front import Front, Limits
from serving.log import Log
from serving.probe import worker_answers
from serving.service import Service
from serving.settings import Settings, StartError
from tests.running import ROOT, Running, free_block, serving, wait_for

CODE = "0123456789abcdef"
PATIENCE = {"timeout": 120, "retries": 1000}


def java_of(process: int) -> psutil.Process:
    children = psutil.Process(process).children()
    return next(child for child in children if child.name() == "java")


def restarts(service: Running) -> float:
    text = httpx.get(f"http://127.0.0.1:{service.port + 5}/metrics").text
    return float(re.findall(r"^image_retrieval_restarts_total (\S+)", text, re.MULTILINE)[0])


@pytest.fixture(scope="module")
def watched(deployed):
    with serving(deployed, EFISS_WORKERS="1") as service:
        yield service


def test_java_that_is_killed_is_started_again_and_clients_are_told_meanwhile(watched):
    """Starts TorchServe twice."""
    before = java_of(watched.process.pid)
    before.kill()
    wait_for(lambda: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE)
    answer = httpx.post(f"{watched.url}{PATH}", json={"code": CODE}, timeout=30)
    told = answer.status_code, answer.json()["type"]
    assert told in ((503, "starting"), (503, "connection_lost"), (429, "busy"))
    assert answer.headers["retry-after"]
    with Client(watched.url, **PATIENCE) as client:
        assert client.search(code=CODE).results
    wait_for(lambda: "it answers again, from index version 1.0.0" in watched.log.read_text())
    assert (
        "TorchServe ended by itself (exit code -9); it is started again" in watched.log.read_text()
    )
    assert restarts(watched) >= 1 and java_of(watched.process.pid).pid != before.pid


def test_java_runs_within_bounds_and_ends_when_they_are_passed(watched):
    options = java_of(watched.process.pid).cmdline()
    assert {"-XX:+ExitOnOutOfMemoryError", "-Xmx1024m", "-XX:MaxDirectMemorySize=512m"} <= {
        *options
    }


def test_java_returns_what_large_bodies_took(watched):
    """Sends 500 MB, eight bodies at a time."""
    java, body = java_of(watched.process.pid), b'{"image": "' + b"A" * 31_000_000 + b'"}'
    before = java.memory_info().rss

    def ask(_: int) -> int:
        headers = {"Content-Type": "application/json"}
        return httpx.post(
            f"{watched.url}{PATH}", content=body, headers=headers, timeout=120
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(16))) <= {400, 429}
    assert java.memory_info().rss - before < 300_000_000
    wait_for(lambda: java.memory_info().rss - before < 80_000_000, 60)  # when it has rested


def test_what_looks_whether_it_answers_is_in_no_log_and_no_metric(watched):
    """Waits for the worker to tell its counts, once a second."""

    def counted() -> tuple[float, int]:
        """Requests in the metrics, and in the log."""
        text = httpx.get(f"http://127.0.0.1:{watched.port + 5}/metrics").text
        counts = re.findall(r"^image_retrieval_requests_total(?:{.*})? (\S+)", text, re.MULTILINE)
        return sum(map(float, counts)), watched.log.read_text().count("\n{")

    def settled() -> tuple[float, int] | None:
        before = counted()
        time.sleep(3)
        return before if counted() == before else None

    (search,) = watched.temporary.glob("efiss-*/search.sock")
    with Client(watched.url, **PATIENCE) as client:
        client.search(code=CODE)
    metric, log = wait_for(settled)
    assert worker_answers(search, 30) is None
    headers = {"efiss-watch": "1"}  # of a client, it hides nothing
    assert httpx.post(f"{watched.url}{PATH}", json={"code": CODE}, headers=headers).is_success
    # What is told later holds what was before.
    wait_for(lambda: counted()[0] > metric and counted()[1] > log)
    assert counted() == (metric + 1, log + 1)


@pytest.mark.slow("waits until a TorchServe that hangs counts as dead")
def test_java_that_hangs_is_started_again(watched):
    java = java_of(watched.process.pid)
    for process in [java, *java.children(recursive=True)]:
        process.send_signal(signal.SIGSTOP)
    with Client(watched.url, **PATIENCE) as client:
        assert client.search(code=CODE).results
    assert java_of(watched.process.pid).pid != java.pid
    assert "no query was answered for 40 s" in watched.log.read_text()


def test_it_gives_up_with_a_reason(deployed, monkeypatch, tmp_path):
    """Starts TorchServe, then one whose archive is gone."""
    monkeypatch.setattr(watch, "MOST_STARTS", 1)
    monkeypatch.setenv("EFISS_WORKERS", "1")
    monkeypatch.setenv("EFISS_PORT", str(free_block()))
    store = tmp_path / "model_store"
    store.mkdir()
    archive = store / "image-retrieval-v1.0.mar"
    archive.write_bytes((deployed / "model_store" / archive.name).read_bytes())
    with (
        (tmp_path / "log").open("w") as log,
        Service(
            Settings.from_environment(), ROOT / "config.properties", store, deployed / "index", log
        ) as service,
    ):
        service.wait_until_ready()
        archive.unlink()
        java_of(os.getpid()).kill()
        with pytest.raises(StartError, match="was started 1 times again and does not go on answer"):
            service.wait()


def test_requests_at_a_front_whose_torchserve_is_not_there_are_503(tmp_path):
    port = free_block()
    with (tmp_path / "log").open("w") as out:
        log = Log(out)
        front = Front("127.0.0.1", port, Limits(1000, 1000, 1000, 10, "https://shop.example"), log)
        try:
            front.start(tmp_path / "no.sock", tmp_path / "no.sock")
            origin = {"Origin": "https://shop.example"}
            answer = httpx.post(f"http://127.0.0.1:{port}{PATH}", json={}, headers=origin)
            assert (answer.status_code, answer.json()["type"]) == (503, "starting")
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            metrics = httpx.get(f"http://127.0.0.1:{port + 5}/metrics")
            assert 'image_retrieval_refused_total{Type="starting"} 1\n' in metrics.text
        finally:
            front.close()
            log.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
