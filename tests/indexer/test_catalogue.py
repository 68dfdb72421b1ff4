"""read_catalogue: what the list says, line by line."""

import codecs
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer import catalogue
from indexer.catalogue import Catalogue, CatalogueError, read_catalogue
from machine.errors import Problem

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path):
    def write_and_read(data: bytes) -> Catalogue:
        path = tmp_path / "database_info.txt"
        path.write_bytes(data)
        return read_catalogue(path, tmp_path)

    return write_and_read


def texts(found: Catalogue) -> list[str]:
    return [os.fsdecode(path) for piece in found.paths.pieces() for path in piece]


def test_one_path_a_line(read):
    paths = ["data/abc.com/69_abc_com.jpg", "data/abc.com/42_abc_com.jpg"]
    data = b"data/abc.com/69_abc_com.jpg\ndata/abc.com/42_abc_com.jpg\n"
    found = read(data)
    assert texts(found) == paths
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert (found.duplicates, found.blank) == (0, 0)


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        (codecs.BOM_UTF8 + b"a.jpg\n", ["a.jpg"]),
        (b" a .jpg \n\tb.jpg\n", [" a .jpg ", "\tb.jpg"]),
        (b"#a.jpg\nb.jpg # c\n", ["#a.jpg", "b.jpg # c"]),
        ("é/日本.jpg\n".encode(), ["é/日本.jpg"]),
        (b"\xff\xfe.jpg\n", ["\udcff\udcfe.jpg"]),
        ("a\u2028b\x0bc\x85.jpg\n".encode(), ["a\u2028b\x0bc\x85.jpg"]),
        (b"z.jpg\na.jpg\n", ["z.jpg", "a.jpg"]),
    ],
    ids=[
        "no newline at the end",
        "CRLF",
        "byte order mark",
        "spaces are part of a name",
        "# is an ordinary character",
        "UTF-8",
        "not UTF-8",
        "only LF ends a line",
        "order is kept",
    ],
)
def test_lines(read, data, paths):
    assert texts(read(data)) == paths


def test_drops_and_counts_duplicates_keeping_the_first(read):
    found = read(b"b\na\nb\r\nb\n")
    assert (texts(found), found.duplicates) == (["b", "a"], 2)


def test_skips_and_counts_blank_lines(read):
    found = read(b"\na\n  \t\n\r\nb\n\n")
    assert (texts(found), found.blank) == (["a", "b"], 4)


def test_sha256_is_of_the_bytes_not_of_the_paths(read):
    assert read(b"a\n").sha256 != read(b"a\r\n").sha256


names = st.binary(min_size=1, max_size=60).map(lambda name: name.translate(None, b"\0\n\r"))


@given(st.lists(names.map(lambda name: b"data/" + name), min_size=1, unique=True))
def test_any_paths_come_back(paths):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list")
        path.write_bytes(b"".join(line + b"\n" for line in paths))
        found = read_catalogue(path, Path(folder))
    assert [path for piece in found.paths.pieces() for path in piece] == paths
    assert (found.duplicates, found.blank) == (0, 0)


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\n", codecs.BOM_UTF8])
def test_no_path_is_an_error(read, data):
    with pytest.raises(CatalogueError, match=r"database_info.txt holds no image path.* run bash"):
        read(data)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a.jpg\nb\0.jpg\n", 2),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 3),
        ("a.jpg\n".encode("utf-16"), 1),
    ],
    ids=["a NUL in a name", "a picture", "UTF-16"],
)
def test_a_nul_is_an_error(read, data, line):
    with pytest.raises(
        CatalogueError, match=rf"database_info.txt holds a NUL byte in line {line},"
    ):
        read(data)


def test_missing_file(tmp_path):
    with pytest.raises(CatalogueError, match=r"list.txt is missing: run bash indexer/extract_data"):
        read_catalogue(tmp_path / "list.txt", tmp_path)


def test_a_folder(tmp_path):
    with pytest.raises(CatalogueError, match=r"is a folder.* run bash indexer/extract_datalake.sh"):
        read_catalogue(tmp_path, tmp_path)


def test_not_readable(tmp_path):
    # A file as a folder fails for root too, who may read everything else.
    (tmp_path / "file").touch()
    with pytest.raises(CatalogueError, match=r"file/list cannot be read \(Not a directory\)"):
        read_catalogue(tmp_path / "file" / "list", tmp_path)


def test_errors_are_problems():
    assert issubclass(CatalogueError, Problem)


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 24])
def test_lines_that_blocks_cut_anywhere(read, monkeypatch, block):
    monkeypatch.setattr(catalogue, "BLOCK", block)
    data = codecs.BOM_UTF8 + b"a b.jpg\r\n\n\xe9.jpg\nc\rd.jpg\r\r\na b.jpg\nlast.jpg"
    if block < 3:  # the mark is three bytes, and a block holds them
        data = data.removeprefix(codecs.BOM_UTF8)
    found = read(data)
    assert texts(found) == ["a b.jpg", "\udce9.jpg", "c\rd.jpg\r", "last.jpg"]
    assert (found.duplicates, found.blank) == (1, 1)
    assert found.sha256 == hashlib.sha256(data).hexdigest()


READ = """
import resource, sys
from pathlib import Path
from indexer.catalogue import read_catalogue

path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
catalogue = read_catalogue(path, path.parent)
memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
assert catalogue.paths.raw(999_999).endswith(b"/999999 \\xe9_999999_com.jpg")
print(len(catalogue.paths), catalogue.duplicates, int(memory))
"""


def test_a_million_lines_in_memory_that_does_not_grow_with_their_length(tmp_path):
    """In a process of its own, whose memory is its own too."""
    folder = b"data/" + b"x" * 200
    with (tmp_path / "list").open("wb") as file:
        file.write(codecs.BOM_UTF8)
        for i in range(1_000_000):
            file.write(b"%b/%d.com/%d \xe9_%d_com.jpg\r\n" % (folder, i // 1000, i, i))
        file.write(b"%b/0.com/0 \xe9_0_com.jpg\r\n" % folder * 3)
    command = [sys.executable, "-c", READ, str(tmp_path / "list")]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, check=True)
    paths, duplicates, megabytes = map(int, done.stdout.split())
    assert (paths, duplicates) == (1_000_000, 3)
    assert megabytes < 200  # the list has 240: blocks of 17, and some 50 bytes a row
