"""`efiss health`: whether the service of this machine answers a real query."""

import time

import httpx

from handlers.metrics import TELL_SECONDS
from tests.running import efiss, free_block

COUNTED = "image_retrieval_first_hit_bits_count"


def counted(service) -> list[str]:
    """Of all requests that were answered before."""
    time.sleep(2 * TELL_SECONDS)
    text = httpx.get(f"http://127.0.0.1:{service.port + 5}/metrics").text
    return [line for line in text.splitlines() if line.startswith(COUNTED)]


def test_a_service_that_answers_is_healthy_and_the_question_is_no_first_hit(service, monkeypatch):
    monkeypatch.setenv("EFISS_PORT", str(service.port))
    before = counted(service)
    done = efiss("health", folder=service.folder)
    assert done.returncode == 0 and "answers from index version 1.0.0" in done.stdout
    assert counted(service) == before


def test_one_that_does_not_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("EFISS_PORT", str(free_block()))
    for name, said in (("serve", "is `efiss serve` running?"), ("admin", "refused")):
        done = efiss("health", name, folder=tmp_path)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
