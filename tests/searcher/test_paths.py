"""Paths in memory and in files, and their texts."""

import numpy as np
import pytest

from machine import arrays
from searcher.paths import Paths, Texts

NAMES = ["b", "a", "", "b", "日本", "\udcff", "a", "b"]


@pytest.fixture(params=[1, 3, 1 << 17])
def at_once(request, monkeypatch):
    monkeypatch.setattr("searcher.paths.AT_ONCE", request.param)
    monkeypatch.setattr(arrays, "PART_ROWS", request.param)
    return request.param


def test_written_and_in_memory_are_the_same(at_once, tmp_path):
    paths = Paths.of(NAMES)
    written = Paths.written(tmp_path, paths.pieces(at_once))
    assert list(tmp_path.iterdir()) == []
    assert len(written) == len(NAMES)
    assert [written.raw(row) for row in range(8)] == [paths.raw(row) for row in range(8)]
    assert np.array_equal(written.hashes(), paths.hashes())
    assert len(Paths.written(tmp_path, [])) == 0


def test_the_first_of_equals(at_once, monkeypatch):
    paths = Paths.of(NAMES)
    wanted = [True, True, True, False, True, True, False, False]
    assert paths.first_of_equals().tolist() == wanted
    # Paths whose hashes are the same by chance are different all the same.
    monkeypatch.setattr(Paths, "hashes", lambda paths: np.zeros(len(paths), np.uint64))
    assert paths.first_of_equals().tolist() == wanted


def test_those_that_are_kept(at_once, tmp_path):
    paths = Paths.of(NAMES)
    is_kept = np.array([True, False, True, True, False, True, False, True])
    kept = paths.kept(is_kept, tmp_path)
    assert list(Texts(kept, np.arange(5))) == ["b", "", "b", "\udcff", "b"]
    assert paths.kept(np.ones(8, bool), tmp_path) is paths


def test_those_that_hold_a_byte(at_once, tmp_path):
    names = [b":", b"", b"ab:c::", b"ac", b"", b"s3://x", b"c"]
    paths = Paths.written(tmp_path, [names])
    assert list(paths.with_byte(b":")) == [b":", b"ab:c::", b"s3://x"]
    assert list(paths.with_byte(b"z")) == []


def test_texts_are_a_sequence():
    texts = Texts(Paths.of(NAMES), np.array([5, 0, 4]))
    assert (len(texts), texts[0], texts[-1], texts[1:]) == (3, "\udcff", "日本", ["b", "日本"])
    assert list(texts) == ["\udcff", "b", "日本"] and "b" in texts
    assert not Texts(Paths.of(NAMES), np.empty(0, np.int64))
