"""Bytes of files, and why some are not read."""

import os
from pathlib import Path

from hashing import reading
from hashing.reading import read_files
from machine.settings import MOST_FILE_BYTES


def test_files_are_read_or_the_reason_is_given(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes")
    os.mkfifo(tmp_path / "pipe")
    found = read_files([str(tmp_path / name) for name in ("a", "pipe", "b")])
    assert list(found) == [b"bytes", "Not a file", "No such file or directory"]


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path):
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(3_000_000_000)
    with open(tmp_path / "most.jpg", "wb") as file:
        file.truncate(MOST_FILE_BYTES)
    assert len(next(read_files([str(tmp_path / "most.jpg")]))) == MOST_FILE_BYTES
    (reason,) = read_files([str(tmp_path / "sparse.jpg")])
    assert reason == "Too large: 3000.0 MB, the limit is 64"


def test_a_file_without_an_end_is_read_no_further(monkeypatch):
    """The kernel says that this one has 0 bytes."""
    monkeypatch.setattr(reading, "MOST_FILE_BYTES", 10)
    assert Path("/proc/self/status").stat().st_size == 0
    (reason,) = read_files(["/proc/self/status"])
    assert reason.startswith("Too large")
