"""Arrays read piece by piece, and files without a name."""

import resource
from pathlib import Path

import numpy as np
import pytest

from machine import arrays


@pytest.fixture
def rows(tmp_path) -> np.ndarray:
    """A mapped array [1000, 8]."""
    np.save(tmp_path / "rows.npy", np.arange(8000, dtype=np.uint16).reshape(1000, 8))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.mark.parametrize("size", [1, 100, 16_000, 1 << 25])
def test_pieces_are_the_array(rows, monkeypatch, size):
    monkeypatch.setattr(arrays, "PIECE_BYTES", size)
    for array in (rows, np.array(rows), rows[:, :3], rows[:0]):
        pieces = list(arrays.pieces(array))
        assert all(piece.nbytes <= max(size, array[:1].nbytes) for piece in pieces)
        assert np.array_equal(np.concatenate([array[:0], *pieces]), array)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_was_read_does_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "PIECE_BYTES", 1 << 20)
    np.save(tmp_path / "large.npy", np.ones(1 << 26, np.uint8))
    large = np.load(tmp_path / "large.npy", mmap_mode="r")
    before = resident()
    sums = [(int(piece.sum()), resident()) for piece in arrays.pieces(large)]
    assert sum(own for own, _ in sums) == len(large)
    assert max(there for _, there in sums) - before < 1 << 24
    large.sum()  # and without pieces it does
    assert resident() - before > 1 << 25


def test_the_same(rows, monkeypatch):
    monkeypatch.setattr(arrays, "PIECE_BYTES", 160)
    other = np.array(rows)
    assert arrays.same(rows, other)
    other[-1, -1] += 1
    assert not arrays.same(rows, other)
    assert not arrays.same(rows, rows[1:])
    assert not arrays.same(rows, np.array(rows, np.int32))


def test_kept_rows(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "PIECE_BYTES", 160)
    is_kept = np.arange(1000) % 3 > 0
    assert np.array_equal(arrays.kept_rows(rows, is_kept, tmp_path), rows[is_kept])
    assert arrays.kept_rows(rows, np.ones(1000, bool), tmp_path) is rows
    assert arrays.kept_rows(rows, np.zeros(1000, bool), tmp_path).shape == (0, 8)


def test_a_scratch_file_has_no_name(tmp_path):
    with arrays.scratch(tmp_path / "not" / "there") as file:
        file.write(b"\1\2\3\4")
        assert list(tmp_path.iterdir()) == []
        mapped = arrays.mapped(file, np.uint8, 2)
    assert mapped.tolist() == [[1, 2], [3, 4]]  # also when the file is closed


@pytest.mark.parametrize("size", [1, 7, 1 << 21])
def test_rows_of_equal_keys_come_together(monkeypatch, size):
    monkeypatch.setattr(arrays, "PART_ROWS", size)
    keys = np.random.default_rng(0).integers(0, 2**64, 60, np.uint64)
    keys = keys[np.random.default_rng(1).integers(0, 60, 200)]
    parts = list(arrays.parts(keys))
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert all((np.diff(rows) > 0).all() for rows in parts)
    owners = [set(keys[rows].tolist()) for rows in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))
