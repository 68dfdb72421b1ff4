"""Activating, going back and removing: with workers that follow, refuse, hang or are elsewhere."""

import contextlib
import functools
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import searcher.index
import searcher.publish
from searcher import acknowledgements, switch
from searcher.index import Index
from searcher.live import Follower
from searcher.version import VersionError, verify
from tests.running import ROOT, small_disk, wait_for
from tests.searcher.folder import entries

NAMES = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]


@pytest.fixture(scope="module")
def published(publish_version, tmp_path_factory) -> Path:
    """Four versions, none of them live; `root` is a copy."""
    folder = tmp_path_factory.mktemp("published") / "index"
    for name in NAMES:
        publish_version(folder, name)
    return folder


@pytest.fixture
def follower(root):
    """A worker: this process."""
    Index(root).activate("1.0.0")
    follower = Follower(Index(root), None, "cpu")
    follower.watch()
    return follower


WORKER = """
import sys, time
from pathlib import Path
from searcher.index import Index
from searcher.live import Follower
follower = Follower(Index(Path(sys.argv[1])), None, "cpu")
follower.watch()
time.sleep(600)
"""


@pytest.fixture
def worker(root):
    """A worker in a process of its own; answers from what is live when the test starts it."""
    started = []

    def start() -> subprocess.Popen:
        count = len(acknowledgements.alive(Index(root)))
        started.append(subprocess.Popen([sys.executable, "-c", WORKER, root], cwd=ROOT))
        wait_for(lambda: len(acknowledgements.alive(Index(root))) > count)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


# -- activating ----------------------------------------------------------------------------------


def test_without_a_service_only_the_pointer_moves(root):
    assert switch.activate(Index(root), "1.0.0") == switch.Switch("1.0.0", None, 0)
    assert switch.activate(Index(root), "1.1.0") == switch.Switch("1.1.0", "1.0.0", 0)
    assert Index(root).live() == "1.1.0"


def test_returns_when_every_worker_answers_from_it(root, follower, worker):
    worker()
    assert switch.activate(Index(root), "1.1.0") == switch.Switch("1.1.0", "1.0.0", 2)
    assert follower.serving.version == "1.1.0"
    assert {word.version for word in acknowledgements.alive(Index(root))} == {"1.1.0"}


def test_a_worker_that_refuses_keeps_the_version_before_live(root, follower, worker, monkeypatch):
    """One can open it, the other cannot: as on a machine that lacks something."""
    worker()
    open_it = follower._open

    def fail(folder):
        if folder.name == "1.1.0":
            raise VersionError("this machine lacks something")
        return open_it(folder)

    monkeypatch.setattr(follower, "_open", fail)
    with pytest.raises(VersionError) as caught:
        switch.activate(Index(root), "1.1.0")
    assert str(caught.value) == (
        "version 1.1.0 was taken back and 1.0.0 stays live: worker "
        f"{socket.gethostname()}-{os.getpid()} refused it: this machine lacks something"
    )
    assert Index(root).live() == "1.0.0" and Index(root).before() == []
    words = functools.partial(acknowledgements.alive, Index(root))
    wait_for(lambda: {(word.version, word.refused) for word in words()} == {("1.0.0", None)})


def test_a_worker_that_hangs_keeps_the_version_before_live(root, worker):
    Index(root).activate("1.0.0")
    hanging = worker()
    os.kill(hanging.pid, signal.SIGSTOP)
    with pytest.raises(VersionError, match=rf"-{hanging.pid} still answers from 1\.0\.0 after 1 s"):
        switch.activate(Index(root), "1.1.0", seconds=1)
    assert Index(root).live() == "1.0.0"
    hanging.kill()
    hanging.wait()
    assert switch.activate(Index(root), "1.1.0").workers == 0  # it is gone, and not waited for


@pytest.mark.parametrize("silent", [True, False])
def test_workers_of_another_machine_are_known_by_their_touch(root, silent):
    switch.activate(Index(root), "1.0.0")
    word = acknowledgements.Word("elsewhere", 7, "1.0.0", "1.0.0", 0, None, [])
    path = root / ".workers" / "elsewhere-7.json"
    path.parent.mkdir()
    path.write_text(json.dumps(vars(word)))
    if silent:
        os.utime(path, (time.time() - 20, time.time() - 20))
        assert switch.activate(Index(root), "1.1.0", seconds=0.2).workers == 0
    else:
        with pytest.raises(VersionError, match=r"worker elsewhere-7 still answers from 1\.0\.0"):
            switch.activate(Index(root), "1.1.0", seconds=0.2)


def test_a_number_that_another_process_took_over_is_not_waited_for(root):
    """As after a restart of the machine: the word is older than the process of its number."""
    switch.activate(Index(root), "1.0.0")
    name = f"{socket.gethostname()}-{os.getpid()}"
    word = acknowledgements.Word(socket.gethostname(), os.getpid(), "1.0.0", "1.0.0", 0, None, [])
    path = root / ".workers" / f"{name}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(vars(word)))
    assert acknowledgements.alive(Index(root)) == [word]
    os.utime(path, (10**9, 10**9))
    assert acknowledgements.alive(Index(root)) == []
    assert switch.activate(Index(root), "1.1.0", seconds=1).workers == 0


def test_a_worker_touches_its_word_while_it_lives(root, follower):
    (path,) = (root / ".workers").iterdir()
    os.utime(path, (0, 0))
    wait_for(lambda: time.time() - path.stat().st_mtime < 60)


def test_what_an_operator_interrupts_is_taken_back(root, worker):
    Index(root).activate("1.0.0")
    hanging = worker()
    os.kill(hanging.pid, signal.SIGSTOP)
    command = [sys.executable, "-m", "efiss", "activate", "1.1.0", "--index_root", str(root)]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(lambda: Index(root).live() == "1.1.0")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    assert Index(root).live() == "1.0.0"


def test_what_is_being_activated_is_not_replaced_nor_is_what_has_become_live(
    root, publish_version, monkeypatch
):
    """`efiss index --force 1.1.0` beside `efiss activate 1.1.0`, while that verifies and while it
    waits for the workers."""
    said = []

    def beside(do):
        def replace_and_do(*arguments):
            with pytest.raises(VersionError) as caught:
                publish_version(root, "1.1.0", replace=True)
            said.append(str(caught.value))
            return do(*arguments)

        return replace_and_do

    monkeypatch.setattr(searcher.index, "verify", beside(searcher.index.verify))
    monkeypatch.setattr(switch, "_wait", beside(switch._wait))
    published = (root / "1.1.0" / "manifest.json").read_bytes()
    switch.activate(Index(root), "1.1.0")
    assert said == [
        "version 1.1.0 is being checked or activated; wait until it has ended",
        "version 1.1.0 is live and is not replaced; choose a new number",
    ]
    assert (root / "1.1.0" / "manifest.json").read_bytes() == published


def test_what_goes_live_while_its_successor_is_written_is_not_replaced(
    root, publish_version, monkeypatch
):
    """The other way round: it is activated when the one to replace it is almost there."""
    monkeypatch.setattr(searcher.publish, "verify", lambda *_: Index(root).activate("1.1.0") and [])
    Index(root).activate("1.0.0")
    with pytest.raises(VersionError, match=r"1\.1\.0 is live and is not replaced; choose a new"):
        publish_version(root, "1.1.0", replace=True)
    assert Index(root).live() == "1.1.0" and verify(root / "1.1.0") == []


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.parametrize(
    ("was_live", "back"),
    [([], False), (["1.0.0"], False), (["1.0.0", "1.2.0"], False), (["1.0.0", "1.2.0"], True)],
)
def test_on_a_disk_that_becomes_full_it_is_taken_back_as_well(
    published, tmp_path, monkeypatch, was_live, back
):
    """A worker fills the disk and does not follow."""
    root = tmp_path / "index"
    with small_disk(root, "4m"):
        subprocess.run(["cp", "--recursive", f"{published}/.", root], check=True)
        for name in was_live:
            Index(root).activate(name)

        def wait(*_):
            fill(root)
            with pytest.raises(OSError, match="No space left on device"):
                (root / "more").write_bytes(bytes(4096))
            raise switch._NotFollowed("its disk is full")

        monkeypatch.setattr(switch, "_wait", wait)
        stays = f"{was_live[-1]} stays live" if was_live else "no version is live"
        with pytest.raises(VersionError, match=f"was taken back and {stays}: its disk is full"):
            switch.roll_back(Index(root)) if back else switch.activate(Index(root), "1.1.0")
        assert (Index(root).live(), Index(root).before()) == (
            was_live[-1] if was_live else None,
            was_live[:-1],
        )
        assert not [name for name in entries(root) if name.endswith((".new", ".back"))]


def test_files_that_cannot_grow_do_not_keep_it_from_being_taken_back(root, monkeypatch):
    """The same where nobody may mount a disk."""
    Index(root).activate("1.0.0")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def wait(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        raise switch._NotFollowed("its disk is full")

    monkeypatch.setattr(switch, "_wait", wait)
    try:
        with pytest.raises(VersionError, match=r"1\.0\.0 stays live"):
            switch.activate(Index(root), "1.1.0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (Index(root).live(), Index(root).before()) == ("1.0.0", [])


def test_on_a_full_disk_nothing_is_activated(root, monkeypatch):
    Index(root).activate("1.0.0")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            switch.activate(Index(root), "1.1.0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (Index(root).live(), Index(root).before()) == ("1.0.0", [])


def test_one_switch_at_a_time(root):
    with Index(root).switching(), pytest.raises(VersionError, match="another process is changing"):
        switch.activate(Index(root), "1.0.0")


def test_a_version_is_activated_while_another_is_built(root):
    with Index(root).writing():
        switch.activate(Index(root), "1.0.0")


# -- going back ----------------------------------------------------------------------------------


def test_back_and_further_back(root, follower):
    for name in NAMES[1:]:
        switch.activate(Index(root), name)
    for name in reversed(NAMES[:-1]):
        assert switch.roll_back(Index(root)).version == name
        assert Index(root).live() == follower.serving.version == name
    with pytest.raises(VersionError, match=r"no version was live before 1\.0\.0 .*by its number"):
        switch.roll_back(Index(root))


def test_the_way_back_after_going_back_and_on(root):
    for name in ("1.0.0", "1.1.0", "1.2.0"):
        switch.activate(Index(root), name)
    switch.roll_back(Index(root))
    switch.activate(Index(root), "1.3.0")
    assert Index(root).before() == ["1.0.0", "1.1.0"]
    switch.activate(Index(root), "1.3.0")  # once more: not a step
    assert Index(root).before() == ["1.0.0", "1.1.0"]


def test_a_removed_version_is_left_out_of_the_way_back(root):
    for name in NAMES[:3]:
        switch.activate(Index(root), name)
    switch.remove(Index(root), "1.0.0")
    assert Index(root).before() == ["1.1.0"]


def test_a_damaged_version_is_not_gone_back_to(root):
    switch.activate(Index(root), "1.0.0")
    switch.activate(Index(root), "1.1.0")
    with open(root / "1.0.0" / "index.bin", "r+b") as file:
        file.write(b"x")
    with pytest.raises(VersionError, match=r"1\.0\.0 is damaged and stays off"):
        switch.roll_back(Index(root))
    assert Index(root).live() == "1.1.0" and Index(root).before() == ["1.0.0"]


KILLED = """
import contextlib, itertools, os, signal, sys
from pathlib import Path
from searcher import switch
from searcher.index import Index
from searcher.version import VersionError
calls = itertools.count(1)
def killing(call):
    def wrapped(*args, **options):
        if next(calls) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return wrapped
for name in ("replace", "fsync"):
    setattr(os, name, killing(getattr(os, name)))
index = Index(Path(sys.argv[1]))
what, *refused = sys.argv[3].split()
def refuse(*_):
    raise switch._NotFollowed("a worker refused it")
if refused:
    switch._wait = refuse
with contextlib.suppress(VersionError):
    switch.roll_back(index) if what == "back" else switch.activate(index, what)
"""


@pytest.mark.slow("a process for every step")
@pytest.mark.parametrize("what", ["1.3.0", "1.3.0 refused", "back", "back refused"])
def test_killed_at_any_step_it_is_done_or_not_and_the_way_back_is_whole(root, what):
    done = False
    for step in range(1, 30):
        for name in NAMES[:3]:
            Index(root).make_live(name, NAMES[: NAMES.index(name)])
        ended = subprocess.run([sys.executable, "-c", KILLED, root, str(step), what], cwd=ROOT)
        states = {
            "1.2.0": ["1.0.0", "1.1.0"],
            "1.3.0": ["1.0.0", "1.1.0", "1.2.0"],
            "1.1.0": ["1.0.0"],
        }
        assert Index(root).before() == states[Index(root).live()]
        if done := ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
    assert done and step > 4
    ends = {"1.3.0": "1.3.0", "back": "1.1.0"}
    assert Index(root).live() == ends.get(what, "1.2.0")
    switch.activate(Index(root), "1.3.0")  # nothing that was left stands in the way
    assert not [name for name in entries(root) if name.endswith((".new", ".back"))]


# -- removing ------------------------------------------------------------------------------------


def test_what_is_needed_is_not_removed(root, follower):
    switch.activate(Index(root), "1.1.0")
    switch.activate(Index(root), "1.2.0")
    wait_for(lambda: follower.pinned("1.0.0"))
    wait_for(lambda: "1.0.0" in acknowledgements.alive(Index(root))[0].pinned)
    for name, reason in {
        "1.2.0": "it is live",
        "1.1.0": "`efiss rollback` would go back to it",
        "1.0.0": "requests to a running service name it",
    }.items():
        with pytest.raises(VersionError, match=f"version {name} is not removed: {reason}"):
            switch.remove(Index(root), name)
        with pytest.raises(VersionError, match=reason):
            switch.remove(Index(root), "1.3.0", name)  # none of them
    assert Index(root).versions() == NAMES
    switch.remove(Index(root), "1.3.0")
    assert Index(root).versions() == NAMES[:3]
    with pytest.raises(VersionError, match=r"no version 1\.3\.0"):
        switch.remove(Index(root), "1.3.0")


def test_keep_leaves_the_highest_numbers_and_what_is_needed(root):
    switch.activate(Index(root), "1.1.0")
    switch.activate(Index(root), "1.0.0")
    assert switch.prune(Index(root), 1) == ["1.2.0"]
    assert Index(root).versions() == ["1.0.0", "1.1.0", "1.3.0"]
    assert switch.prune(Index(root), 9) == []


def test_what_is_being_judged_is_not_removed(root):
    with Index(root).holding("1.2.0"):
        reason = r"1\.2\.0 is not removed: it is being checked or activated"
        with pytest.raises(VersionError, match=reason):
            switch.remove(Index(root), "1.2.0")
        assert switch.prune(Index(root), 1) == ["1.0.0", "1.1.0"]
    assert Index(root).versions() == ["1.2.0", "1.3.0"]


def test_nothing_is_removed_while_a_version_is_built(root):
    with Index(root).writing(), pytest.raises(VersionError, match="another process is building"):
        switch.remove(Index(root), "1.3.0")


def test_a_removal_that_was_killed_is_finished_by_the_next_writer(root):
    os.rename(root / "1.3.0", root / ".gone-1.3.0")
    with Index(root).writing():
        pass
    assert not (root / ".gone-1.3.0").exists() and "1.3.0" not in Index(root).versions()


# -- under load ----------------------------------------------------------------------------------


@pytest.mark.slow("asks while the version changes twenty times")
def test_no_answer_mixes_versions_while_they_change(root, follower):
    """Queries in four threads while the live version changes twenty times."""
    mixed, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            serving = follower.serving
            rows, _ = serving.opened.search(serving.opened.code(0)[None], 3)
            if serving.version != serving.opened.manifest.version or len(set(rows[0])) != 3:
                mixed.append(serving.version)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for name in random.Random(0).choices(NAMES, k=20):
            assert switch.activate(Index(root), name).workers == 1
            assert follower.serving.version == name
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not mixed
