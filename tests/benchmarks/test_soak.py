"""The soak: that it draws what it says, sees what is lost, and names who is to blame."""

import asyncio
import dataclasses
import io
import json
import os
import subprocess
import sys
from random import Random

import pytest
from PIL import Image
from soak_bodies import Sent
from soak_pictures import DEAR, ORDINARY, noise
from soak_report import Budget, Storm, budgets
from soak_requests import Hostile, draw, kinds
from soak_sending import Asked, Outcome, Place, send
from soak_watch import Reading, Watch

from tests.running import ROOT, free_block, wait_for

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
FAILED, SILENT = (
    Outcome(3, "form", *what, start=0, end=1) for what in (((500,), False), ((), True))
)
WORKER, LARGER = (Reading(2, "worker", 400, 500, own) for own in (300, 500))
JAVA = Reading(1, "java", 900, 1000, 200)
IN_TIME, RIGHTLY = "good questions answered in time", "good questions answered rightly"


@pytest.mark.slow("draws pictures of 64 megapixels")
def test_a_seed_draws_the_same_requests_and_another_one_others():
    drawn = [draw(3, number, with_admin=True) for number in range(60)]
    assert drawn == [draw(3, number, with_admin=True) for number in range(60)]
    assert drawn != [draw(4, number, with_admin=True) for number in range(60)]
    assert {one.number for one in drawn if one.to_admin} < set(range(60))
    assert not any(draw(3, number, with_admin=False).to_admin for number in range(20))


@pytest.mark.slow("draws pictures of 64 megapixels")
def test_pictures_that_cost_much_are_pictures():
    """Pillow opens them, so that what they cost is spent on them and not on an error."""
    for kind in DEAR:
        opened = 0
        for seed in range(6):
            try:
                with Image.open(io.BytesIO(kind(Random(seed)))) as image:
                    opened += image.width * image.height > 0
            except Exception:  # some of them declare too much on purpose
                continue
        assert opened > 0 or kind is noise, kind.__name__


def test_ordinary_pictures_are_changed():
    assert len({ORDINARY(Random(seed)) for seed in range(20)}) == 20


def test_every_kind_sends_something_or_holds_a_connection():
    for kind in kinds():
        sent = kind(Random(1), "/predictions/a")
        assert sent.steps or sent.end == "hold", kind.__name__


def test_a_process_that_is_lost_is_seen_and_a_decoder_may_end():
    waiting = [sys.executable, "-c", "input()"]
    children = [
        subprocess.Popen([*waiting, more], stdin=subprocess.PIPE)
        for more in ("a", "b", "hashing.apart")
    ]
    try:
        with Watch([child.pid for child in children]) as watch:
            watch.have_to_stay()
            assert [one.role == "decoder" for one in watch.read()] == [False, False, True]
            for ended in (children[2], children[0]):
                ended.kill()
                ended.wait()
            wait_for(lambda: watch.lost)
            assert list(watch.lost) == [children[0].pid]
            assert watch.peaks[children[1].pid].peak_mb > 1
    finally:
        for child in children:
            child.kill()
            child.wait()


@pytest.mark.parametrize(
    ("answer", "sent", "statuses", "is_unanswered"),
    [
        (OK, Sent((b"a",)), (200,), False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Sent((b"a",)), (200,), False),
        (CHUNKED * 2, Sent((b"ab",), "hold", answers=2), (200, 200), False),
        (b"", Sent((b"a", 0.01, b"b")), (), True),
        (b"", Sent((b"a",), "hold"), (), False),
        (b"no HTTP\r\n\r\n", Sent((b"a",)), (), False),
    ],
)
def test_what_became_of_a_request(monkeypatch, answer, sent, statuses, is_unanswered):
    monkeypatch.setattr("soak_sending.PATIENCE_SECONDS", 0.5)

    async def ask() -> Outcome:
        async def answered(reader, writer):
            await reader.read(1)
            writer.write(answer)

        server = await asyncio.start_server(answered, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await send(Place(f"http://127.0.0.1:{port}", None), Hostile(0, "a", False, sent))

    outcome = asyncio.run(ask())
    assert (outcome.statuses, outcome.is_unanswered) == (statuses, is_unanswered)


def calm() -> Storm:
    """A storm that broke nothing."""
    return Storm(
        outcomes=[Outcome(n, f"kind{n}", (400,), False, start=n, end=n + 1) for n in range(10)],
        quiet=[Asked(0, 0.1, None)],
        asked=[Asked(at, 0.1, None) for at in range(10)],
        cpu_seconds=1,
        peaks=[JAVA, WORKER],
        java_bound_mb=2000,
        held=([JAVA, WORKER], [JAVA, WORKER]),
    )


def broken(storm: Storm) -> list[Budget]:
    return [one for one in budgets(storm, within=3) if not one.is_kept]


def test_a_calm_storm_breaks_no_budget():
    assert broken(calm()) == []


@pytest.mark.parametrize(
    ("change", "name", "blamed"),
    [
        ({"asked": [Asked(4.5, 3.2, None)]}, IN_TIME, "4 kind4"),
        ({"asked": [Asked(4.5, 0.1, "503: busy")]}, RIGHTLY, "503: busy"),
        ({"asked": []}, IN_TIME, ""),
        ({"lost": [(7.5, "worker")]}, "processes lost", "7 kind7"),
        ({"peaks": [JAVA, Reading(2, "worker", 9, 1001, 9)]}, "largest Python process", "worker"),
        ({"held": ([WORKER], [LARGER])}, "all processes afterwards", "worker 2: 300 to 500 MB"),
        ({"java_bound_mb": 900}, "Java", ""),
        ({"cpu_seconds": 8}, "processors' time of a hostile request", ""),
        ({"outcomes": [FAILED]}, "answers of 5xx other than 503", "3 form"),
        ({"outcomes": [SILENT]}, "requests without an answer", "3 form"),
    ],
)
def test_a_broken_budget_is_named_with_who_is_to_blame(change, name, blamed):
    found = broken(dataclasses.replace(calm(), **change))
    assert name in [one.name for one in found]
    assert any(blamed in one.blame for one in found if one.name == name)


@pytest.mark.server
def test_a_minute_against_the_real_service(tmp_path):
    """Sends hostile requests for a minute, and rests before and after.  A good client may wait for
    longer than by default, since other tests may load the machine."""
    done = subprocess.run(
        [sys.executable, "benchmarks/soak.py", "--minutes", "1", "--within", "10", "--admin",
         "--out", tmp_path],
        cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"EFISS_PORT": str(free_block()), "EFISS_HOST": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "soak.json").read_text())
    assert result["sent"] > 100
    assert result["good"]["in the storm"]["questions"] > 100
