"""Publishing: versions complete or absent, whatever happens while they are made."""

import contextlib
import csv
import datetime
import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import columns, open_version
from searcher.index import Index
from searcher.publish import Contents, publish
from searcher.version import VersionError, verify
from tests.running import small_disk
from tests.searcher.folder import CODES, FILES, OTHER_CODES, describe, entries

# -- what is published ---------------------------------------------------------------------------


def test_layout(publish_version, tmp_path, tiny_models):
    root = tmp_path / "index"
    folder = publish_version(root, "1.5.0", codes=CODES)
    assert entries(root) == [".lock", "1.5.0"]
    assert set(entries(folder)) == FILES
    assert (folder / "paths.bin").read_bytes().startswith(b"data/abc.com/0_abc_com.jpgdata/abc.com")
    offsets = np.load(folder / "paths.offsets.npy")
    assert (offsets.dtype, len(offsets), offsets[0]) == (np.uint64, 11, 0)
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()
    assert (folder / "model.json").read_text() == tiny_models[0].with_suffix(".json").read_text()
    with open(folder / "rejected.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["data/abc.com/broken.jpg", "not a picture"],
        ]


def test_manifest(publish_version, tmp_path, tiny_models):
    folder = publish_version(tmp_path, "1.5.0", codes=CODES)
    manifest = json.loads((folder / "manifest.json").read_text())
    created = datetime.datetime.fromisoformat(manifest.pop("created"))
    assert abs(datetime.datetime.now(datetime.UTC) - created) < datetime.timedelta(minutes=1)
    assert manifest == {
        "version": "1.5.0",
        "rows": 10,
        "rejected": 1,
        "bits": 64,
        "index_mode": "default",
        "model": {
            "name": "tiny-1",
            "sha256": hashlib.sha256(tiny_models[0].read_bytes()).hexdigest(),
        },
        "search": {},
        "catalogue": {"database": "database_info.txt", "sha256": "0" * 64, "lines": 4},
        "files": describe(folder),
    }


def test_versions_of_one_model_share_its_file(root):
    assert (root / "1.0.0/model.pt").samefile(root / "1.1.0/model.pt")


def test_versions_of_two_models_do_not(root, publish_version, tiny_models):
    folder = publish_version(root, "2.0.0", model=tiny_models[1])
    assert (folder / "model.pt").read_bytes() == tiny_models[1].read_bytes()
    assert not (root / "1.0.0/model.pt").samefile(folder / "model.pt")


def test_a_damaged_model_is_not_shared(root, publish_version, tiny_models):
    model = root / "1.0.0/model.pt"  # and by the link of 1.1.0
    model.write_bytes(b"x" * model.stat().st_size)
    folder = publish_version(root, "1.2.0")
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()


def test_a_damaged_version_does_not_keep_others_from_being_published(root, publish_version):
    (root / "1.0.0/manifest.json").write_text("{")
    assert verify(publish_version(root, "1.2.0")) == []


def test_without_hard_links_the_model_is_copied(root, publish_version, tiny_models, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = publish_version(root, "1.2.0")
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()


names = st.binary(min_size=1, max_size=40).map(lambda name: os.fsdecode(name))


@settings(max_examples=25, deadline=None)
@given(st.lists(names, min_size=1, max_size=30))
def test_any_paths_come_back(publish_version, paths):
    codes = np.zeros((len(paths), 8), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        index = open_version(publish_version(Path(folder), codes=codes, paths=paths))
        assert [index.path(row) for row in range(len(paths))] == paths


@pytest.mark.parametrize("count", [0, 2, 4])
def test_as_many_paths_as_codes(publish_version, tmp_path, count):
    codes = np.zeros((count, 8), np.uint8)
    with pytest.raises(VersionError, match=f"{count} codes for 3 paths"):
        publish_version(tmp_path, codes=codes, paths=["a", "b", "c"])
    assert Index(tmp_path).versions() == []


def test_no_codes_are_no_version(publish_version, tmp_path):
    with pytest.raises(VersionError, match="0 codes for 0 paths"):
        publish_version(tmp_path, codes=np.zeros((0, 8), np.uint8))
    assert Index(tmp_path).versions() == []


def test_more_rows_than_fit_their_numbers_are_refused(root, publish_version, monkeypatch):
    monkeypatch.setattr(columns, "MOST_ROWS", 9)
    with pytest.raises(VersionError, match=r"10 rows are more than an index takes .*split the"):
        publish_version(root, "1.2.0", codes=CODES)
    assert publish_version(root, "1.2.0", codes=CODES[:9]).exists()


def test_a_model_that_changed_while_it_was_used_is_not_published(root, tmp_path, tiny_models):
    """A new model was copied over the one in use: codes of the old, file of the new."""
    contents = Contents(
        codes=CODES,
        paths=list("abcdefghij"),
        rejected=[],
        model=tiny_models[1],
        model_name="tiny-1",
        model_sha256=hashlib.sha256(tiny_models[0].read_bytes()).hexdigest(),
        catalogue={},
    )
    # With other versions of the old model the .pt is taken from them, and only the sidecar is new.
    for folder in (root, tmp_path / "empty"):
        with (
            pytest.raises(VersionError, match=r"1\.2\.0 was not written well: .*is not of the m"),
            Index(folder).writing(),
        ):
            publish(Index(folder), "1.2.0", contents)
        assert "1.2.0" not in Index(folder).versions()


# -- publishing that is cut short ----------------------------------------------------------------


def test_a_version_is_not_replaced_unasked(root, publish_version):
    with pytest.raises(VersionError, match=r"1\.1\.0 exists .*new number, .*efiss index --force"):
        publish_version(root, "1.1.0", codes=CODES)
    np.testing.assert_array_equal(open_version(root / "1.1.0").code(0), OTHER_CODES[0])


def test_a_version_without_manifest_is_not_replaced_unasked(root, publish_version):
    (root / "1.1.0/manifest.json").unlink()
    with pytest.raises(VersionError, match=r"1\.1\.0 exists"):
        publish_version(root, "1.1.0")
    assert (root / "1.1.0/index.bin").exists()


def test_a_version_is_replaced_when_asked(root, publish_version):
    publish_version(root, "1.1.0", codes=CODES[:4], replace=True)
    assert verify(root / "1.1.0") == []
    assert open_version(root / "1.1.0").manifest.rows == 4
    assert entries(root) == [".lock", "1.0.0", "1.1.0", "CURRENT"]


@pytest.mark.parametrize("replace", [False, True])
def test_the_live_version_is_never_replaced(root, publish_version, replace):
    with pytest.raises(VersionError, match=r"1\.0\.0 is live and is not replaced"):
        publish_version(root, "1.0.0", codes=OTHER_CODES, replace=replace)
    np.testing.assert_array_equal(open_version(root / "1.0.0").code(0), CODES[0])


class Failing:
    """Of all calls that bring a file or a name to disk, the n-th fails."""

    def __init__(self, monkeypatch, n):
        self.left = n
        for name in ("fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, call):
        def counted(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.EIO, "Input/output error")
            return call(*arguments, **options)

        return counted


@pytest.mark.parametrize("replace", [False, True])
def test_publishing_that_fails_at_any_step(root, publish_version, monkeypatch, replace):
    version = "1.1.0" if replace else "1.2.0"
    before = [open_version(root / "1.1.0").code(0).tolist()] if replace else []
    after = [CODES[0].tolist()]
    outcomes = []
    for step in range(1, 40):
        if not replace:
            shutil.rmtree(root / version, ignore_errors=True)
        with monkeypatch.context() as patched:
            failing = Failing(patched, step)
            with contextlib.suppress(OSError):
                publish_version(root, version, codes=CODES, replace=replace)
        # Nothing half-made is left, not even hidden.
        assert [name for name in entries(root) if name.startswith((".new", ".old"))] == []
        there = [version] if version in Index(root).versions() else []
        assert [verify(root / name) for name in there] == [[]] * len(there)
        outcomes.append([open_version(root / name).code(0).tolist() for name in there])
        if failing.left > 0:
            break
    assert failing.left > 0  # the last went through
    assert len(outcomes) > 8
    # Either what was there before or what is new, and the new one only from some step on.
    turn = outcomes.index(after)
    assert outcomes == [before] * turn + [after] * (len(outcomes) - turn)
    assert turn >= len(outcomes) - 2  # the last step, which syncs the folder, comes after it


KILLED = """
import os, signal, sys
from pathlib import Path

import numpy as np
from searcher.index import Index
from searcher.publish import Contents, publish

root, model, version, sha256, replace = sys.argv[1:]
contents = Contents(
    codes=np.full((4, 8), 7, np.uint8), paths=list("abcd"), rejected=[], model=Path(model),
    model_name="tiny-1", model_sha256=sha256, catalogue={},
)


def killed_at(step):
    left = step

    def counting(call):
        def counted(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return counted

    for name in ("mkdir", "link", "fsync", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, counting(getattr(os, name)))
    with Index(Path(root)).writing():
        publish(Index(Path(root)), version, contents, replace == "replace")
    os._exit(0)


for step in range(1, 100):
    child = os.fork()
    if child == 0:
        killed_at(step)
    status = os.waitpid(child, 0)[1]
    print(step, flush=True)  # now it is looked at what is left
    sys.stdin.readline()
    if status == 0:
        break
"""


@pytest.mark.parametrize("replace", [False, True])
def test_publishing_that_is_killed_at_any_step(root, tiny_models, replace):
    """Never half a version under its name; what lies beside it goes with the next run."""
    version = "1.1.0" if replace else "1.2.0"
    keys = set()
    sha256 = hashlib.sha256(tiny_models[0].read_bytes()).hexdigest()
    how = "replace" if replace else "new"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, root, tiny_models[0], version, sha256, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        for step in process.stdout:
            there = version in Index(root).versions()
            assert not there or verify(root / version) == []
            assert Index(root).live() == "1.0.0"
            with Index(root).writing():  # as the next run begins
                hidden = [name for name in entries(root) if name.startswith((".new", ".old"))]
            assert hidden == []
            published = version in Index(root).versions()
            assert published or not replace, f"step {step}: the version before is lost"
            if published:
                assert verify(root / version) == []
                keys.add(open_version(root / version).code(0).tobytes())
                if not replace:
                    shutil.rmtree(root / version)
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert int(step) > 10
    new = bytes([7] * 8)
    assert keys == ({OTHER_CODES[0].tobytes(), new} if replace else {new})


def test_between_the_two_renames_of_a_replacement(root, publish_version):
    """As a kill there leaves it: the version before comes back, and needs --force again."""
    shutil.copytree(root / "1.1.0", root / ".new-1.1.0")
    os.rename(root / "1.1.0", root / ".old-1.1.0")
    assert Index(root).versions() == ["1.0.0"]
    with pytest.raises(VersionError, match=r"1\.1\.0 exists"):
        publish_version(root, "1.1.0", codes=CODES)
    assert entries(root) == [".lock", "1.0.0", "1.1.0", "CURRENT"]
    np.testing.assert_array_equal(open_version(root / "1.1.0").code(0), OTHER_CODES[0])


@pytest.mark.parametrize("kilobytes", [180, 260, 420, 560])
def test_a_full_disk(publish_version, tmp_path, kilobytes):
    """The disk is full in the index, in the paths, in other columns: always the same end."""
    root = tmp_path / "index"
    with small_disk(root, f"{kilobytes}k"):
        publish_version(root, "1.0.0", codes=CODES)
        Index(root).activate("1.0.0")
        rows = np.zeros((9000, 8), np.uint8)
        with pytest.raises(OSError, match="No space left on device"):
            publish_version(root, "1.1.0", codes=rows, paths=["p" * 20] * len(rows))
        assert entries(root) == [".lock", "1.0.0", "CURRENT"]
        publish_version(root, "1.1.0", codes=CODES)  # there is room again
        Index(root).activate("1.1.0")


@pytest.mark.parametrize(
    ("rows", "length", "limit"),
    [(9000, 10, 72_000), (9000, 10, 73_000), (9000, 1, 72_100), (10, 10, 40_000)],
    ids=["index.bin", "paths.bin", "paths.offsets.npy", "model.pt"],
)
def test_a_file_that_cannot_grow(publish_version, tmp_path, rows, length, limit):
    """The same without being root: a limit on the size of files, met by one file after another."""
    codes = np.zeros((rows, 8), np.uint8)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            publish_version(tmp_path, codes=codes, paths=["p" * length] * rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert entries(tmp_path) == [".lock"]
