"""Tables: what was added is there next time, whatever happened in between."""

import errno
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import table
from indexer.table import Table

RECORD = np.dtype([("digest", np.uint8, 32), ("code", np.uint8, 8)])


def digest(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def code(i: int) -> bytes:
    return i.to_bytes(8, "big")


def parts(root) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def fill(root, numbers) -> Table:
    filled = Table(root, RECORD)
    for i in numbers:
        filled.add(digest(i) + code(i))
    filled.flush()
    return filled


def known(root, numbers) -> list[int]:
    """Those of the numbers that are on disk, asked for one by one and all at once; a wrong code is
    an error."""
    opened, numbers = Table(root, RECORD), list(numbers)
    keys = np.frombuffer(b"".join(map(digest, numbers)), np.uint8).reshape(-1, 32)
    here, records = opened.find(keys)
    found = [i for i, is_here in zip(numbers, here, strict=True) if is_here]
    assert found == [i for i in numbers if opened.get(digest(i)) is not None]
    assert [opened.get(digest(i)) for i in found] == [code(i) for i in found]
    assert [row.tobytes() for row in records["code"][here]] == [code(i) for i in found]
    return found


def test_keeps_records(tmp_path):
    fill(tmp_path, range(5))
    assert parts(tmp_path) == ["00000001.npy"]
    assert known(tmp_path, range(7)) == [0, 1, 2, 3, 4]


def test_a_record_is_known_at_once(tmp_path):
    empty = Table(tmp_path, RECORD)
    assert empty.get(digest(1)) is None
    empty.add(digest(1) + code(1))
    assert empty.get(digest(1)) == code(1)
    keys = np.frombuffer(digest(1) + digest(2), np.uint8).reshape(2, 32)
    assert empty.find(keys)[0].tolist() == [True, False]


@pytest.mark.parametrize("again", ["at once", "in another part", "in another run", "merged"])
def test_of_records_with_one_key_the_last_counts(tmp_path, monkeypatch, again):
    monkeypatch.setattr(table, "MOST_PARTS", 1 if again == "merged" else 9)
    opened = Table(tmp_path, RECORD)
    for i in (1, 2, 3):
        opened.add(digest(7) + code(i))
        if again != "at once":
            opened.flush()
        if again == "in another run":
            opened = Table(tmp_path, RECORD)
    opened.merge()
    assert len(parts(tmp_path)) == {"at once": 1, "merged": 1}.get(again, 3)
    for asked in (opened, Table(tmp_path, RECORD)):
        assert asked.get(digest(7)) == code(3)
        found, records = asked.find(np.frombuffer(digest(7), np.uint8)[None])
        assert (found.tolist(), records["code"].tobytes()) == ([True], code(3))


def test_keys_that_begin_alike_are_not_mixed_up(tmp_path):
    one, other = digest(1), digest(1)[:8] + digest(2)[8:]
    opened = Table(tmp_path, RECORD)
    opened.add(one + code(1))
    opened.add(other + code(2))
    assert (opened.get(one), opened.get(other)) == (code(1), code(2))
    opened.flush()
    reopened = Table(tmp_path, RECORD)
    assert reopened.get(other) == code(2)
    assert reopened.get(one) is None  # forgotten, so that its work is done again
    assert reopened.get(digest(1)[:8] + digest(3)[8:]) is None


def test_many_records_are_found_while_they_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_MOST_RECENT", 10)
    opened = Table(tmp_path, RECORD)
    for i in range(100):
        opened.add(digest(i) + code(i))
        assert [opened.get(digest(j)) for j in (0, i // 2, i)] == [code(0), code(i // 2), code(i)]
        assert opened.get(digest(i + 1)) is None
    opened.flush()
    assert known(tmp_path, range(101)) == list(range(100))


def test_every_flush_is_a_part_and_an_empty_one_is_none(tmp_path):
    opened = fill(tmp_path, [1])
    opened.flush()
    opened.add(digest(2) + code(2))
    opened.flush()
    fill(tmp_path, [3])
    assert parts(tmp_path) == ["00000001.npy", "00000002.npy", "00000003.npy"]
    assert known(tmp_path, range(5)) == [1, 2, 3]


def test_parts_are_plain_numpy_files(tmp_path):
    fill(tmp_path, [1, 2])
    records = np.load(tmp_path / "00000001.npy")
    assert [row.tobytes() for row in records["digest"]] == [digest(1), digest(2)]
    assert [row.tobytes() for row in records["code"]] == [code(1), code(2)]


def test_what_is_added_is_on_disk_within_a_moment(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(table.time, "monotonic", lambda: now)
    opened = Table(tmp_path, RECORD)
    opened.add(digest(1) + code(1))
    assert known(tmp_path, [1]) == []
    now += table.PART_SECONDS
    opened.add(digest(2) + code(2))
    assert known(tmp_path, [1, 2]) == [1, 2]
    opened.add(digest(3) + code(3))  # and the next moment begins
    assert known(tmp_path, [1, 2, 3]) == [1, 2]


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, 40), max_size=15), max_size=8))
def test_any_runs_add_up(runs):
    with tempfile.TemporaryDirectory() as folder:
        for numbers in runs:
            fill(Path(folder), numbers)
        assert known(Path(folder), range(41)) == sorted({i for run in runs for i in run})


# -- merging many parts into one -----------------------------------------------------------------


@pytest.fixture
def few_parts(monkeypatch):
    monkeypatch.setattr(table, "MOST_PARTS", 3)


def test_few_parts_stay(tmp_path, few_parts):
    for i in range(3):
        fill(tmp_path, [i]).merge()
    assert len(parts(tmp_path)) == 3


def test_many_parts_become_one(tmp_path, few_parts):
    for i in range(4):
        opened = fill(tmp_path, [i])
    opened.add(digest(9) + code(9))  # not on disk yet
    opened.merge()
    assert len(parts(tmp_path)) == 1
    assert known(tmp_path, range(10)) == [0, 1, 2, 3, 9]
    fill(tmp_path, [5])  # and goes on
    assert known(tmp_path, range(10)) == [0, 1, 2, 3, 5, 9]


@pytest.mark.parametrize(("call", "step"), [("replace", 1), ("unlink", 1), ("unlink", 4)])
def test_melting_cut_short_loses_nothing(tmp_path, few_parts, monkeypatch, call, step):
    for i in range(4):
        opened = fill(tmp_path, [i])
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
            opened.merge()
    assert known(tmp_path, range(5)) == [0, 1, 2, 3]
    Table(tmp_path, RECORD).merge()
    assert known(tmp_path, range(5)) == [0, 1, 2, 3]


# -- damage --------------------------------------------------------------------------------------


def test_a_part_being_written_is_no_part(tmp_path):
    fill(tmp_path, [1])
    (tmp_path / ".00000002.npy.new").write_bytes(b"\x93NUMPY half")
    assert known(tmp_path, [1]) == [1]
    fill(tmp_path, [2])
    assert known(tmp_path, [1, 2]) == [1, 2]
    assert parts(tmp_path) == ["00000001.npy", "00000002.npy"]  # it was written anew


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
def test_a_damaged_part_is_removed(tmp_path, spoil, caplog):
    fill(tmp_path, [1, 2])
    fill(tmp_path, [3])
    part = tmp_path / "00000001.npy"
    part.write_bytes(spoil(part.read_bytes()))
    assert known(tmp_path, [1, 2, 3]) == [3]
    assert "00000001.npy is damaged" in caplog.text
    fill(tmp_path, [1, 2])
    assert known(tmp_path, [1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_keeps_what_was_there(tmp_path, monkeypatch, call):
    opened = fill(tmp_path, [1])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    opened.add(digest(2) + code(2))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            opened.flush()
    assert known(tmp_path, [1, 2]) == [1]
    opened.flush()  # it is not forgotten: there may be space later
    assert known(tmp_path, [1, 2]) == [1, 2]
