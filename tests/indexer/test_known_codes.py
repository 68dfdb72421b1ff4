"""Known codes: a file that looks as it did has the content it had, and that has its code."""

import hashlib
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from indexer import known_codes, table
from indexer.known_codes import NO_STAMP, KnownCodes


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[str]:
    """Three files of 0, 1 and 2 bytes, changed long ago."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        Path(f"{i}.jpg").write_bytes(b"x" * i)
        os.utime(f"{i}.jpg", ns=(0, 10**18 + i))
    return ["0.jpg", "1.jpg", "2.jpg"]


def look(paths: list[str], workers: int) -> np.ndarray:
    return known_codes.look([os.fsencode(path) for path in paths], workers)


def digest(path: str) -> bytes:
    return hashlib.sha256(os.fsencode(path)).digest()


def code(path: str, size: int = 8) -> bytes:
    return digest(path)[:size]


def remember(paths, root=Path("index"), model="one") -> KnownCodes:
    known = KnownCodes(root, model)
    for path, seen in zip(paths, look(paths, 2), strict=True):
        known.keep(path, seen, digest(path), code(path))
    known.flush()
    return known


def known(paths, root=Path("index"), model="one") -> list[str]:
    """Those of the paths that are known; a wrong digest or code is an error."""
    now = KnownCodes(root, model).look_up([os.fsencode(path) for path in paths], 2)
    rows = np.flatnonzero(now.found).tolist()
    assert [now.digests[row].tobytes() for row in rows] == [digest(paths[row]) for row in rows]
    assert [now.codes[row].tobytes() for row in rows] == [code(paths[row]) for row in rows]
    return [paths[row] for row in rows]


# -- how files look ------------------------------------------------------------------------------


def test_looks_are_sizes_and_times(files):
    assert look(files, 2).tolist() == [[0, 10**18], [1, 10**18 + 1], [2, 10**18 + 2]]


@pytest.mark.parametrize("workers", [1, 3])
def test_looks_are_in_the_order_of_the_paths(files, monkeypatch, workers):
    monkeypatch.setattr(known_codes, "_AT_A_TIME", 2)
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
    absolute = [os.fsencode(tmp_path / path) for path in files]
    assert KnownCodes(Path("index"), "one").look_up(absolute, 1).found.all()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    Path("1.jpg").write_bytes(b"y")
    os.utime("1.jpg", ns=(0, 10**18 + 1))
    assert known(["1.jpg"], tmp_path / "index") == []


def test_names_that_are_not_utf8(files):
    name = os.fsdecode(b"caf\xe9.jpg")
    Path(name).write_bytes(b"xxx")
    os.utime(name, (1e9, 1e9))
    remember([name])
    assert known([name]) == [name]


# -- the codes -----------------------------------------------------------------------------------


def test_a_code_is_known_by_its_content_whatever_the_file_looks_like(files):
    remember(files)
    os.utime(files[1], ns=(0, 5 * 10**17))
    assert known(files) == [files[0], files[2]]
    code_of = KnownCodes(Path("index"), "one").code_of
    assert [code_of(digest(path)) for path in [*files, "3.jpg"]] == [*map(code, files), None]


def test_a_code_is_known_at_once(files):
    opened = KnownCodes(Path("index"), "one")
    opened.keep(files[0], look(files[:1], 1)[0], digest(files[0]), code(files[0]))
    assert opened.code_of(digest(files[0])) == code(files[0])
    assert opened.look_up([os.fsencode(path) for path in files], 1).found.tolist() == [
        True,
        False,
        False,
    ]


def test_models_do_not_share_codes(files):
    remember(files)
    assert known(files, model="other") == []
    assert KnownCodes(Path("index"), "other").code_of(digest(files[0])) is None
    remember(files[:1], model="other")
    assert known(files, model="other") == files[:1]


def test_a_code_that_is_known_is_not_written_again(files):
    remember(files)
    remember(files[::-1])
    assert [part.name for part in Path("index/.codes/one").iterdir()] == ["00000001.npy"]


def test_what_finds_codes_may_travel_to_other_machines(files):
    there = pickle.loads(pickle.dumps(remember(files).code_of))
    assert [there(digest(path)) for path in files] == [*map(code, files)]


@pytest.mark.parametrize("size", [8, 40])
def test_a_code_has_as_many_bytes_as_it_is_said_to_have(files, size):
    opened = KnownCodes(Path("index"), "one", size)
    for path, seen in zip(files, look(files, 1), strict=True):
        opened.keep(path, seen, digest(path), code(path, 8).ljust(size, b"x"))
    opened.flush()
    now = KnownCodes(Path("index"), "one", size).look_up([os.fsencode(path) for path in files], 1)
    assert (now.codes.dtype, now.codes.shape) == (np.uint8, (3, size))
    assert now.codes[2].tobytes() == code(files[2], 8).ljust(size, b"x")


def test_many_parts_melt_into_one_of_each_kind(files, monkeypatch):
    monkeypatch.setattr(table, "MOST_PARTS", 1)
    for path in files:
        opened = remember([path])
    opened.merge()
    assert known(files) == files
    assert sorted(str(part) for part in Path("index").rglob("*.npy")) == [
        "index/.codes/files/sorted.npy",
        "index/.codes/one/sorted.npy",
    ]
