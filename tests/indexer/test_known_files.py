"""Known files: one that looks as it did has the content it had."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from indexer import known_files
from indexer.known_files import NO_STAMP, KnownFiles, look


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[str]:
    """Three files of 0, 1 and 2 bytes, changed long ago."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        Path(f"{i}.jpg").write_bytes(b"x" * i)
        os.utime(f"{i}.jpg", ns=(0, 10**18 + i))
    return ["0.jpg", "1.jpg", "2.jpg"]


def digest(path: str) -> bytes:
    return hashlib.sha256(os.fsencode(path)).digest()


def remember(paths) -> KnownFiles:
    known = KnownFiles(Path("index"))
    for path, seen in zip(paths, look(paths, 2), strict=True):
        known.add(path, seen, digest(path))
    known.flush()
    return known


def known(paths) -> list[str]:
    """Those of the paths that look as they did; a wrong digest is an error."""
    found, digests = KnownFiles(Path("index")).find(paths, look(paths, 2))
    rows = np.flatnonzero(found).tolist()
    assert [digests[row].tobytes() for row in rows] == [digest(paths[row]) for row in rows]
    return [paths[row] for row in rows]


def test_looks_are_sizes_and_times(files):
    assert look(files, 2).tolist() == [[0, 10**18], [1, 10**18 + 1], [2, 10**18 + 2]]


@pytest.mark.parametrize("workers", [1, 3])
def test_looks_are_in_the_order_of_the_paths(files, monkeypatch, workers):
    monkeypatch.setattr(known_files, "_AT_A_TIME", 2)
    assert look(files[::-1] * 5, workers)[:, 0].tolist() == [2, 1, 0] * 5


def test_files_that_look_the_same_are_known(files):
    remember(files)
    assert known([*files[::-1], "3.jpg"]) == files[::-1]
    assert known([]) == []


def test_nothing_is_known_at_first(files):
    assert known(files) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"y" * 7),
        lambda path: os.utime(path, ns=(0, 10**18 + 7)),
        lambda path: path.unlink(),
        lambda path: path.rename("moved.jpg"),
    ],
    ids=["another size", "another time by 6 ns", "gone", "moved"],
)
def test_a_file_that_looks_different_is_not_known(files, change):
    remember(files)
    change(Path(files[1]))
    assert known([*files, "moved.jpg"]) == [files[0], files[2]]


def test_the_last_look_counts(files):
    remember(files)
    os.utime(files[1], ns=(0, 5 * 10**17))
    remember(files)
    assert known(files) == files


@pytest.mark.parametrize("seconds", [-3600, -1, 0, 1.9])
def test_a_file_changed_a_moment_ago_or_in_the_future_is_not_remembered(files, seconds):
    then = time.time_ns() - int(seconds * 1e9)
    os.utime(files[1], ns=(then, then))
    assert look(files, 1)[1].tolist()[1] == NO_STAMP
    remember(files)
    os.utime(files[1], ns=(10**18, 10**18))  # it settles, and is not what was remembered
    assert known(files) == [files[0], files[2]]


def test_a_file_of_the_first_second_of_1970_is_known(files):
    os.utime(files[1], ns=(0, 0))
    remember(files)
    assert known(files) == files


@pytest.mark.parametrize("path", ["missing.jpg", "nul\0.jpg", "0.jpg/below.jpg", "x" * 5000])
def test_a_path_that_cannot_be_looked_at_is_never_known(files, path):
    paths = [*files, path]
    assert look(paths, 1)[3].tolist() == [NO_STAMP, NO_STAMP]
    remember(paths)
    assert known(paths) == files


def test_relative_paths_are_of_the_folder_they_were_looked_at_in(files, tmp_path, monkeypatch):
    remember(files)
    absolute = [str(tmp_path / path) for path in files]
    found, _ = KnownFiles(Path("index")).find(absolute, look(absolute, 1))
    assert found.all()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    Path("1.jpg").write_bytes(b"y")
    os.utime("1.jpg", ns=(0, 10**18 + 1))
    found, _ = KnownFiles(tmp_path / "index").find(["1.jpg"], look(["1.jpg"], 1))
    assert not found.any()


def test_names_that_are_not_utf8(files):
    name = os.fsdecode(b"caf\xe9.jpg")
    Path(name).write_bytes(b"xxx")
    os.utime(name, (1e9, 1e9))
    found, _ = remember([name]).find([name], look([name], 1))
    assert found.all()
