"""The follower: what answers, and how it changes."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hashing.model import Model, ModelError
from searcher import live
from searcher.index import Index
from searcher.live import Follower
from searcher.version import VersionError
from tests.running import wait_for

# Root may write everything, unless these capabilities are taken from it.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def published(publish_version, tmp_path_factory) -> Path:
    """1.0.0 live and 1.1.0 beside it, of one model; `root` is a copy."""
    folder = tmp_path_factory.mktemp("published") / "index"
    publish_version(folder, "1.0.0")
    publish_version(folder, "1.1.0")
    Index(folder).activate("1.0.0")
    return folder


@pytest.fixture
def packed(publish_version, tmp_path) -> Path:
    """A version as the archive holds it: a folder of another name."""
    publish_version(tmp_path, "0.9.0")
    return (tmp_path / "0.9.0").rename(tmp_path / "packed")


def acknowledged(root) -> dict:
    (path,) = (root / ".workers").iterdir()
    assert path.name == f"{socket.gethostname()}-{os.getpid()}.json"
    found = json.loads(path.read_text())
    activation = Index(root).activation()
    assert found.pop("activated") == (activation and activation[1])
    assert (found.pop("host"), found.pop("pid")) == (socket.gethostname(), os.getpid())
    assert found.pop("pinned") == []
    return found


def word(version, asked, refused=None) -> dict:
    return {"version": version, "asked": asked, "refused": refused}


def damage(folder):
    """What the look at the sizes finds; activating would not have let it through."""
    (folder / "index.bin").write_bytes(b"")


def make_live(root, text):
    """As activate does it, but unchecked."""
    (root / "CURRENT.new").write_text(text)
    os.replace(root / "CURRENT.new", root / "CURRENT")


# -- the start -----------------------------------------------------------------------------------


def test_starts_with_the_live_version(root, packed):
    follower = Follower(Index(root), packed, "cpu")
    assert follower.serving.version == "1.0.0"
    assert acknowledged(root) == word("1.0.0", "1.0.0")


def test_words_of_processes_that_are_no_more_are_removed(root):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (root / ".workers").mkdir()
    (root / ".workers" / f"{socket.gethostname()}-{ended.pid}.json").write_text("{}")
    elsewhere = root / ".workers" / f"another-machine-{ended.pid}.json"
    elsewhere.write_text("{}")
    Follower(Index(root), None, "cpu")
    own = f"{socket.gethostname()}-{os.getpid()}.json"
    assert {path.name for path in (root / ".workers").iterdir()} == {own, elsewhere.name}


def test_what_is_served_answers(root):
    serving = Follower(Index(root), None, "cpu").serving
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    rows, distances = serving.opened.search(serving.model.codes(pixels), 3)
    assert sorted(rows[0]) == [0, 1, 2]
    assert (np.diff(distances[0]) >= 0).all()


def test_serves_the_packed_version_for_good_without_a_folder(packed):
    follower = Follower(None, packed, "cpu")
    follower.watch()  # nothing to watch
    assert follower.serving.version == "0.9.0"
    assert not (packed / ".workers").exists()


@pytest.mark.parametrize("exists", [True, False])
def test_starts_with_the_packed_version_while_none_is_live(
    publish_version, tmp_path, packed, exists
):
    root = tmp_path / "index"
    if exists:
        publish_version(root, "1.0.0")
    follower = Follower(Index(root), packed, "cpu")
    assert follower.serving.version == "0.9.0"
    if not exists:
        publish_version(root, "1.0.0")
    follower.check()
    assert follower.serving.version == "0.9.0"
    Index(root).activate("1.0.0")
    follower.check()
    assert follower.serving.version == "1.0.0"
    assert acknowledged(root) == word("1.0.0", "1.0.0")


@pytest.mark.parametrize("text", ["7.0.0\n", "../1.0.0", "nonsense", "\xff\xfe"])
def test_starts_with_the_packed_version_when_current_is_damaged(root, packed, text, caplog):
    (root / "CURRENT").write_text(text, encoding="latin-1")
    follower = Follower(Index(root), packed, "cpu")
    assert follower.serving.version == "0.9.0"
    assert "the packed one answers" in caplog.text
    left = acknowledged(root)
    assert left["version"] == "0.9.0"
    assert left["refused"]  # whoever asks learns that it is not what CURRENT names
    Index(root).activate("1.1.0")
    follower.check()
    assert acknowledged(root) == word("1.1.0", "1.1.0")


def test_starts_with_the_packed_version_when_the_live_one_is_damaged(root, packed):
    damage(root / "1.0.0")
    follower = Follower(Index(root), packed, "cpu")
    assert follower.serving.version == "0.9.0"
    assert "index.bin has 0 bytes" in acknowledged(root)["refused"]


def test_nothing_to_serve(root):
    (root / "CURRENT").unlink()
    with pytest.raises(VersionError, match=r"no version is live in .*index; run `efiss activate`"):
        Follower(Index(root), None, "cpu")


def test_nothing_whole_to_serve(root):
    damage(root / "1.0.0")
    with pytest.raises(VersionError, match=r"index\.bin has 0 bytes"):
        Follower(Index(root), None, "cpu")


def test_a_model_that_cannot_run_here(root):
    with pytest.raises(ModelError, match="--device cpu"):
        Follower(Index(root), None, "cuda:99")


# -- following -----------------------------------------------------------------------------------


def test_follows_current(root):
    follower = Follower(Index(root), None, "cpu")
    first = follower.serving
    for version in ("1.1.0", "1.0.0"):
        Index(root).activate(version)
        follower.check()
        assert follower.serving.version == version
        assert acknowledged(root) == word(version, version)
    # A request that began before goes on with what it began with.
    assert first.opened.search(np.zeros((1, 8), np.uint8), 1)[0].tolist() == [[0]]


def test_looks_without_opening_anything(root, monkeypatch):
    follower = Follower(Index(root), None, "cpu")
    before = follower.serving
    monkeypatch.setattr(live, "open_version", None)
    follower.check()
    assert follower.serving is before


def test_watches_in_the_background(root, monkeypatch):
    monkeypatch.setattr(live, "POLL_SECONDS", 0.01)
    follower = Follower(Index(root), None, "cpu")
    follower.watch()
    for version in ("1.1.0", "1.0.0"):
        Index(root).activate(version)
        wait_for(lambda version=version: follower.serving.version == version)


def test_the_watch_survives_what_it_meets(root, monkeypatch, caplog):
    monkeypatch.setattr(live, "POLL_SECONDS", 0.01)
    follower = Follower(Index(root), None, "cpu")
    (root / "CURRENT").unlink()
    (root / "CURRENT").mkdir()  # reading it fails
    follower.watch()
    wait_for(lambda: "looking for a new index version failed" in caplog.text)
    (root / "CURRENT").rmdir()
    Index(root).activate("1.1.0")
    wait_for(lambda: follower.serving.version == "1.1.0")


def test_current_removed_changes_nothing(root):
    follower = Follower(Index(root), None, "cpu")
    (root / "CURRENT").unlink()
    follower.check()
    shutil.rmtree(root)
    follower.check()
    assert follower.serving.version == "1.0.0"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: damage(folder), "index.bin has 0 bytes"),
        (lambda folder: (folder / "paths.bin").unlink(), "paths.bin is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda folder: (folder / "model.json").unlink(), "model.json"),
        (lambda folder: shutil.rmtree(folder), "there is no version 1.1.0"),
    ],
)
def test_a_damaged_version_is_refused_loudly(root, spoil, words, caplog):
    follower = Follower(Index(root), None, "cpu")
    before = follower.serving
    spoil(root / "1.1.0")
    make_live(root, "1.1.0\n")
    follower.check()
    assert follower.serving is before
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "1.1.0 refused, 1.0.0 goes on answering" in record.getMessage()
    assert words in record.getMessage()
    left = acknowledged(root)
    assert words in left.pop("refused")
    assert left.items() <= word("1.0.0", "1.1.0").items()
    follower.check()  # the same is not tried, nor reported, every half second
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_refused_version_is_tried_again_when_it_is_activated_again(root, monkeypatch, caplog):
    """What kept it out may have been this process's: memory, files open.  As that is no sentence
    for an operator, its traceback is in the log."""

    def out_of_memory(*_):
        raise MemoryError("no memory")

    follower = Follower(Index(root), None, "cpu")
    Index(root).activate("1.1.0")
    with monkeypatch.context() as patched:
        patched.setattr(live, "open_version", out_of_memory)
        follower.check()
    told = "a MemoryError; the service's log says where"
    assert acknowledged(root) == word("1.0.0", "1.1.0", told)
    assert 'raise MemoryError("no memory")' in caplog.text
    os.utime(root / "CURRENT", ns=(0, 0))
    follower.check()
    assert acknowledged(root) == word("1.1.0", "1.1.0")


# -- the model -----------------------------------------------------------------------------------


def test_versions_of_one_model_share_it_in_memory(root):
    follower = Follower(Index(root), None, "cpu")
    model = follower.serving.model
    Index(root).activate("1.1.0")
    follower.check()
    assert follower.serving.model is model


def test_a_version_brings_its_model_along(root, publish_version, tiny_models):
    follower = Follower(Index(root), None, "cpu")
    assert follower.serving.model.sidecar.name == "tiny-1"
    publish_version(root, "2.0.0", model=tiny_models[1])
    Index(root).activate("2.0.0")
    follower.check()
    assert follower.serving.version == "2.0.0"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    one, two = (Model.load(path).codes(pixels) for path in tiny_models)
    np.testing.assert_array_equal(follower.serving.model.codes(pixels), two)
    assert (one != two).any()


def test_the_same_weights_with_other_preprocessing_are_another_model(
    root, publish_version, tiny_models, tmp_path
):
    path = Path(shutil.copy(tiny_models[0], tmp_path / "tiny-1.pt"))
    sidecar = json.loads(tiny_models[0].with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(sidecar | {"mean": [0.1, 0.2, 0.3]}))
    publish_version(root, "2.0.0", model=path)
    follower = Follower(Index(root), None, "cpu")
    Index(root).activate("2.0.0")
    follower.check()
    assert follower.serving.model.sidecar.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("loaded", [0, 1])
def test_the_model_of_other_codes_is_refused(root, publish_version, tiny_models, loaded):
    """Even if it is the one in memory: model and index are never mixed."""
    publish_version(root, "2.0.0", model=tiny_models[loaded])
    Index(root).activate("2.0.0")
    follower = Follower(Index(root), None, "cpu")
    folder = publish_version(root, "3.0.0", model=tiny_models[1 - loaded])
    (folder / "model.pt").unlink()
    shutil.copy(tiny_models[loaded], folder / "model.pt")
    shutil.copy(tiny_models[loaded].with_suffix(".json"), folder / "model.json")
    make_live(root, "3.0.0")
    follower.check()
    assert follower.serving.version == "2.0.0"
    assert "is not the model" in acknowledged(root)["refused"]


# -- pinned versions -----------------------------------------------------------------------------


@pytest.fixture
def pinning(root, monkeypatch) -> Follower:
    """Waits for a version however long it takes to open."""
    monkeypatch.setattr(live, "OPENING_SECONDS", 60)
    return Follower(Index(root), None, "cpu")


def test_a_pin_to_the_live_version_opens_nothing(pinning, monkeypatch):
    monkeypatch.setattr(live, "open_version", None)
    assert pinning.pinned("1.0.0") is pinning.serving


def test_a_pinned_version_is_opened_once_beside_the_live_one_and_shares_its_model(pinning):
    pinned = pinning.pinned("1.1.0")
    assert pinned.version == "1.1.0" and pinning.serving.version == "1.0.0"
    assert pinning.pinned("1.1.0") is pinned
    assert pinned.model is pinning.serving.model


def test_pinned_versions_share_a_model_of_their_own(pinning, root, publish_version, tiny_models):
    publish_version(root, "2.0.0", model=tiny_models[1])
    publish_version(root, "2.1.0", model=tiny_models[1])
    first, second = pinning.pinned("2.0.0"), pinning.pinned("2.1.0")
    assert first.model is second.model is not pinning.serving.model
    Index(root).activate("2.1.0")
    pinning.check()
    assert pinning.serving.model is first.model


def test_the_two_asked_for_last_stay_open(pinning, root, publish_version):
    for version in ("1.2.0", "1.3.0"):
        publish_version(root, version)
    one, two = pinning.pinned("1.1.0"), pinning.pinned("1.2.0")
    assert pinning.pinned("1.1.0") is one
    three = pinning.pinned("1.3.0")
    assert pinning.pinned("1.1.0") is one and pinning.pinned("1.3.0") is three
    assert pinning.pinned("1.2.0") is not two
    assert two.opened.search(np.zeros((1, 8), np.uint8), 1)[0].tolist() == [
        [0]
    ]  # who has it, has it


def test_a_version_that_is_not_there_names_those_that_are(pinning, root):
    with pytest.raises(live.UnknownVersion) as caught:
        pinning.pinned("9.9.9")
    assert str(caught.value) == "there is no version 9.9.9; those that exist: 1.0.0, 1.1.0"
    pinning.pinned("1.1.0")
    shutil.rmtree(root / "1.1.0")
    with pytest.raises(live.UnknownVersion, match=r"exist: 1\.0\.0$"):
        pinning.pinned("1.1.0")


def test_without_a_folder_there_is_the_packed_version_only(packed, root):
    follower = Follower(None, packed, "cpu")
    assert follower.pinned("0.9.0") is follower.serving
    with pytest.raises(live.UnknownVersion, match=r"exist: 0\.9\.0$"):
        follower.pinned("1.0.0")


def test_the_packed_version_can_be_asked_for_while_it_answers(packed, root, monkeypatch):
    monkeypatch.setattr(live, "OPENING_SECONDS", 60)
    (root / "CURRENT").unlink()
    follower = Follower(Index(root), packed, "cpu")
    assert follower.pinned("0.9.0") is follower.serving
    assert follower.pinned("1.1.0").version == "1.1.0"
    with pytest.raises(live.UnknownVersion, match=r"exist: 0\.9\.0, 1\.0\.0, 1\.1\.0$"):
        follower.pinned("1.2.0")


def test_a_version_replaced_by_its_like_is_opened_again(pinning, root, publish_version):
    before = pinning.pinned("1.1.0")
    publish_version(root, "1.1.0", codes=np.full((5, 8), 255, np.uint8), replace=True)
    assert before.opened.manifest.rows == 3
    assert pinning.pinned("1.1.0").opened.manifest.rows == 5


def test_a_damaged_version_is_refused_until_it_is_whole(pinning, root):
    whole = (root / "1.1.0" / "index.bin").read_bytes()
    damage(root / "1.1.0")
    for _ in range(2):
        with pytest.raises(VersionError, match=r"index\.bin has 0 bytes"):
            pinning.pinned("1.1.0")
    (root / "1.1.0" / "index.bin").write_bytes(whole)
    assert pinning.pinned("1.1.0").version == "1.1.0"


def test_a_slow_opening_is_waited_for_once_and_goes_on(root, monkeypatch):
    """The live version answers meanwhile."""
    follower = Follower(Index(root), None, "cpu")
    go_on, really = threading.Event(), live.open_version

    def slowly(folder):
        go_on.wait(60)
        return really(folder)

    monkeypatch.setattr(live, "open_version", slowly)
    monkeypatch.setattr(live, "OPENING_SECONDS", 0.01)
    for _ in range(2):
        with pytest.raises(live.StillOpening, match=r"^version 1\.1\.0 is being opened; ask again"):
            follower.pinned("1.1.0")
    assert follower.pinned("1.0.0").version == "1.0.0"
    go_on.set()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert follower.pinned("1.1.0").version == "1.1.0"
            break
        except live.StillOpening:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# -- acknowledgement -----------------------------------------------------------------------------


def test_a_worker_shows_life_while_it_opens_a_version_for_long(root, monkeypatch):
    """Else it is taken for gone by those on other machines, and not waited for."""
    opening, go_on, open_it = threading.Event(), threading.Event(), live.open_version

    def open_slowly(folder):
        opening.set()
        go_on.wait(60)
        return open_it(folder)

    follower = Follower(Index(root), None, "cpu")
    monkeypatch.setattr(live, "open_version", open_slowly)
    monkeypatch.setattr(live, "TOUCH_SECONDS", 0.05)
    follower.watch()
    Index(root).activate("1.1.0")
    assert opening.wait(60)
    (path,) = (root / ".workers").iterdir()
    os.utime(path, (0, 0))
    wait_for(lambda: time.time() - path.stat().st_mtime < 60)
    assert follower.serving.version == "1.0.0"
    go_on.set()
    wait_for(lambda: follower.serving.version == "1.1.0")


READ_ONLY = """
import sys
from pathlib import Path
from searcher.live import Follower
from searcher.index import Index
follower = Follower(Index(Path(sys.argv[1])), None, "cpu")
follower.check()
print(follower.serving.version)
"""


def can_be_a_user():
    return not AS_USER or (
        shutil.which(AS_USER[0]) and subprocess.run([*AS_USER, "true"]).returncode == 0
    )


@pytest.mark.skipif(not can_be_a_user(), reason="root here cannot give up its rights")
def test_a_read_only_folder_is_served_from(root):
    os.chmod(root, 0o555)
    run = subprocess.run(
        [*AS_USER, sys.executable, "-c", READ_ONLY, root],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    os.chmod(root, 0o755)
    assert run.stdout == "1.0.0\n"
    assert "cannot leave an acknowledgement" in run.stderr
    assert not (root / ".workers").exists()


def test_no_place_for_an_acknowledgement(root, caplog):
    (root / ".workers").touch()  # a file: fails for root too
    follower = Follower(Index(root), None, "cpu")
    Index(root).activate("1.1.0")
    follower.check()
    assert follower.serving.version == "1.1.0"
    assert caplog.text.count("cannot leave an acknowledgement") == 1
