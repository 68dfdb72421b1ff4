"""The code cache: what was added is there next time, whatever happened in between."""

import errno
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import code_cache
from indexer.code_cache import CodeCache


def digest(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def code(i: int) -> bytes:
    return i.to_bytes(8, "big")


def parts(root) -> list[str]:
    return sorted(path.name for path in (root / ".codes" / "key").iterdir())


def fill(root, numbers) -> CodeCache:
    cache = CodeCache(root, "key")
    for i in numbers:
        cache.add(digest(i), code(i))
    cache.flush()
    return cache


def known(root, numbers) -> list[int]:
    """Those of the numbers whose code is on disk; a wrong code is an error."""
    cache = CodeCache(root, "key")
    found = [i for i in numbers if cache.get(digest(i)) is not None]
    assert [cache.get(digest(i)) for i in found] == [code(i) for i in found]
    return found


def test_keeps_codes(tmp_path):
    fill(tmp_path, range(5))
    assert parts(tmp_path) == ["00000001.npy"]
    assert known(tmp_path, range(7)) == [0, 1, 2, 3, 4]


def test_a_code_is_known_at_once(tmp_path):
    cache = CodeCache(tmp_path, "key")
    assert cache.get(digest(1)) is None
    cache.add(digest(1), code(1))
    assert (cache.get(digest(1)), len(cache)) == (code(1), 1)


def test_every_flush_is_a_part_and_an_empty_one_is_none(tmp_path):
    cache = fill(tmp_path, [1])
    cache.flush()
    cache.add(digest(2), code(2))
    cache.flush()
    fill(tmp_path, [3])
    assert parts(tmp_path) == ["00000001.npy", "00000002.npy", "00000003.npy"]
    assert known(tmp_path, range(5)) == [1, 2, 3]


def test_parts_are_plain_numpy_files(tmp_path):
    fill(tmp_path, [1, 2])
    records = np.load(tmp_path / ".codes/key/00000001.npy")
    assert [row.tobytes() for row in records["digest"]] == [digest(1), digest(2)]
    assert [row.tobytes() for row in records["code"]] == [code(1), code(2)]


def test_what_is_known_is_not_written_again(tmp_path):
    fill(tmp_path, [1, 2])
    fill(tmp_path, [2, 1])
    assert parts(tmp_path) == ["00000001.npy"]


def test_models_do_not_share_codes(tmp_path):
    fill(tmp_path, [1])
    assert CodeCache(tmp_path, "other").get(digest(1)) is None


def test_what_is_added_is_on_disk_within_a_moment(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(code_cache.time, "monotonic", lambda: now)
    cache = CodeCache(tmp_path, "key")
    cache.add(digest(1), code(1))
    assert known(tmp_path, [1]) == []
    now += code_cache.PART_SECONDS
    cache.add(digest(2), code(2))
    assert known(tmp_path, [1, 2]) == [1, 2]
    cache.add(digest(3), code(3))  # and the next moment begins
    assert known(tmp_path, [1, 2, 3]) == [1, 2]


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 40), max_size=15), max_size=8))
def test_any_runs_add_up(runs):
    with tempfile.TemporaryDirectory() as folder:
        for numbers in runs:
            fill(Path(folder), numbers)
        assert known(Path(folder), range(41)) == sorted({i for run in runs for i in run})


# -- melting many parts into one -----------------------------------------------------------------


@pytest.fixture
def few_parts(monkeypatch):
    monkeypatch.setattr(code_cache, "MOST_PARTS", 3)


def test_few_parts_stay(tmp_path, few_parts):
    for i in range(3):
        fill(tmp_path, [i]).compact()
    assert len(parts(tmp_path)) == 3


def test_many_parts_become_one(tmp_path, few_parts):
    for i in range(4):
        cache = fill(tmp_path, [i])
    cache.add(digest(9), code(9))  # not on disk yet
    cache.compact()
    assert len(parts(tmp_path)) == 1
    assert known(tmp_path, range(10)) == [0, 1, 2, 3, 9]
    fill(tmp_path, [5])  # and goes on
    assert known(tmp_path, range(10)) == [0, 1, 2, 3, 5, 9]


@pytest.mark.parametrize(("call", "step"), [("replace", 1), ("unlink", 1), ("unlink", 4)])
def test_melting_cut_short_loses_nothing(tmp_path, few_parts, monkeypatch, call, step):
    for i in range(4):
        cache = fill(tmp_path, [i])
    original, left = getattr(os, call), step

    def cut_short(*arguments, **options):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, cut_short)
        with pytest.raises(KeyboardInterrupt):
            cache.compact()
    assert known(tmp_path, range(5)) == [0, 1, 2, 3]
    CodeCache(tmp_path, "key").compact()
    assert known(tmp_path, range(5)) == [0, 1, 2, 3]


# -- damage --------------------------------------------------------------------------------------


def test_a_part_being_written_is_no_part(tmp_path):
    fill(tmp_path, [1])
    (tmp_path / ".codes/key/00000002.tmp").write_bytes(b"\x93NUMPY half")
    assert known(tmp_path, [1]) == [1]
    assert parts(tmp_path) == ["00000001.npy"]  # and it is gone


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:50],
        lambda data: data[:-1],
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b"digest", b"dagest"),
        lambda data: data.replace(b"(2,)", b"(9,)"),
    ],
    ids=["empty", "in the header", "in the rows", "zip", "zeros", "other field", "other length"],
)
def test_a_damaged_part_is_hashed_again(tmp_path, spoil, caplog):
    fill(tmp_path, [1, 2])
    fill(tmp_path, [3])
    part = tmp_path / ".codes/key/00000001.npy"
    part.write_bytes(spoil(part.read_bytes()))
    assert known(tmp_path, [1, 2, 3]) == [3]
    assert "00000001.npy is damaged" in caplog.text
    fill(tmp_path, [1, 2])
    assert known(tmp_path, [1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_keeps_what_was_there(tmp_path, monkeypatch, call):
    cache = fill(tmp_path, [1])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    cache.add(digest(2), code(2))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            cache.flush()
    assert known(tmp_path, [1, 2]) == [1]
    cache.flush()  # it is not forgotten: there may be space later
    assert known(tmp_path, [1, 2]) == [1, 2]
