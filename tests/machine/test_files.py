"""Files that are there whole or not at all."""

import errno
import hashlib
import os
import signal
import subprocess
import sys

import pytest

from machine.errors import sentence_of
from machine.files import place_whole, sha256_of, write_whole, written_whole


def test_a_file_takes_its_place_when_it_is_complete(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with written_whole(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_raises_changes_nothing(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt), written_whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_changes_nothing_and_the_error_names_the_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError) as error:
        write_whole(path, b"new")
    assert sentence_of(error.value) == f"{path}: No space left on device"
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [("none/file", "No such file or directory"), ("taken/file", "Not a directory")],
)
def test_a_folder_that_is_none_is_told_with_the_name_that_was_asked_for(tmp_path, place, reason):
    (tmp_path / "taken").touch()
    with pytest.raises(OSError) as error:
        write_whole(tmp_path / place, b"")
    assert sentence_of(error.value) == f"{tmp_path / place}: {reason}"


KILLED = """
import os, pathlib, signal, sys
from machine import files
step = sys.argv[1]
def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "write":
    with files.written_whole(pathlib.Path("file")) as file:
        file.write(b"ne")
        file.flush()
        kill()
setattr(os, step, kill)
files.write_whole(pathlib.Path("file"), b"new")
"""


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_kill_leaves_the_old_file_and_the_next_run_writes_it(tmp_path, step):
    write_whole(tmp_path / "file", b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, step], cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


def test_everything_reaches_the_disk_in_order(tmp_path, monkeypatch):
    """The bytes before the name, and the folder after it."""
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def note_replace(*paths):
        done.append("renamed")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "file", b"new")
    assert done == [str(tmp_path / ".file.new"), "renamed", str(tmp_path)]
    done.clear()
    (tmp_path / "made").write_bytes(b"elsewhere")
    place_whole(tmp_path / "made", tmp_path / "file")
    assert done == [str(tmp_path / "made"), "renamed", str(tmp_path)]
    assert (tmp_path / "file").read_bytes() == b"elsewhere"


def test_the_digest_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    assert sha256_of(tmp_path / "file") == hashlib.sha256(bytes(3_000_000)).hexdigest()
