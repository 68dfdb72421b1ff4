"""Codes computed elsewhere become a version; what does not fit is refused with a sentence."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from efiss.cli import main
from searcher import open_version
from searcher.index import Index
from searcher.version import read_manifest, verify

CODES = np.random.default_rng(0).integers(0, 256, (7, 8), np.uint8)
PATHS = [f"data/abc.com/{row}_abc_com.jpg" for row in range(7)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with codes.npy and paths.txt in it."""
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", CODES)
    Path("paths.txt").write_text("\n".join(PATHS) + "\n")
    return tmp_path


def run(*options: str, codes="codes.npy", database="paths.txt", version="1.0.0"):
    numbers = ["--new_index_database_version", version]
    files = ["--codes", codes, "--database", database]
    return CliRunner().invoke(main, ["import", *files, *numbers, *options])


def refused(*arguments, **files) -> str:
    done = run(*arguments, **files)
    assert done.exit_code == 1, done.output
    assert not Index(Path("index")).versions()
    return done.output


def test_row_i_is_line_i():
    done = run()
    assert done.exit_code == 0 and "7 rows" in done.output, done.output
    index = open_version("index/1.0.0")
    assert [index.path(row) for row in range(7)] == PATHS
    assert [index.code(row).tolist() for row in range(7)] == CODES.tolist()
    assert index.manifest.model == {} and index.manifest.catalogue["lines"] == 7
    assert verify(Path("index/1.0.0")) == []
    assert Index(Path("index")).live() is None


def test_with_its_model(tiny_models):
    done = run("--model_path", str(tiny_models[0]))
    assert done.exit_code == 0, done.output
    assert Path("index/1.0.0/model.pt").read_bytes() == tiny_models[0].read_bytes()
    assert read_manifest(Path("index/1.0.0")).model["name"] == "tiny-1"


FINE = np.random.default_rng(1).integers(0, 256, (7, 32), np.uint8)


def test_with_longer_codes():
    np.save("fine.npy", FINE)
    done = run("--fine_codes", "fine.npy")
    assert done.exit_code == 0, done.output
    assert np.array_equal(np.load("index/1.0.0/fine_codes.npy"), FINE)
    assert verify(Path("index/1.0.0")) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (FINE[:6], "6 longer codes and codes.npy 7 codes"),
        (FINE[:, :31], "uint8 [7, 31]; longer codes are uint8 [n, 32]"),
        (FINE.astype(np.int16), "int16 [7, 32]"),
        (FINE.ravel(), "uint8 [224]"),
    ],
)
def test_longer_codes_that_do_not_fit_are_refused(values, words):
    np.save("fine.npy", values)
    assert words in refused("--fine_codes", "fine.npy")


def test_longer_codes_that_are_no_array_are_refused():
    Path("fine.npy").write_bytes(b"of bits")
    assert "fine.npy is not a .npy file" in refused("--fine_codes", "fine.npy")
    assert "gone.npy cannot be read: No such file" in refused("--fine_codes", "gone.npy")


@pytest.mark.parametrize("mode", ["unnecessary fast", "ivf"])
def test_approximate_mode_says_its_recall(mode):
    done = run("--index_mode", mode)
    assert "recall@10 1.000" in done.output, done.output
    assert read_manifest(Path("index/1.0.0")).index_mode == "unnecessary fast"


@pytest.mark.parametrize("kind", [pa.binary(8), pa.binary(), pa.large_binary()])
def test_parquet(kind):
    column = pa.chunked_array(
        [pa.array([code.tobytes() for code in part], kind) for part in (CODES[:3], CODES[3:])]
    )
    pq.write_table(pa.table({"other": range(7), "code": column}), "codes.parquet")
    assert run(codes="codes.parquet").exit_code == 0
    index = open_version("index/1.0.0")
    assert [index.code(row).tolist() for row in range(7)] == CODES.tolist()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (b"\xef\xbb\xbfa.jpg\r\nb c#.jpg\r\n \tc.jpg", ["a.jpg", "b c#.jpg", " \tc.jpg"]),
        (b"\xff.jpg\nsame.jpg\nsame.jpg\n", ["\udcff.jpg", "same.jpg", "same.jpg"]),
        (b"a\rb.jpg\n\r.jpg\nlast.jpg", ["a\rb.jpg", "\r.jpg", "last.jpg"]),
    ],
)
def test_lists_of_all_kinds(text, paths):
    np.save("codes.npy", CODES[:3])
    Path("paths.txt").write_bytes(text)
    assert run().exit_code == 0
    index = open_version("index/1.0.0")
    assert [index.path(row) for row in range(3)] == paths


def test_an_existing_version_is_replaced_by_force_alone():
    assert run().exit_code == 0
    assert "version 1.0.0 exists" in run().output
    np.save("codes.npy", CODES[::-1])
    assert run("--force").exit_code == 0
    assert open_version("index/1.0.0").code(0).tolist() == CODES[-1].tolist()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (CODES.astype(np.int64), "holds int64 [7, 8]; codes are uint8 [n, 8]"),
        (CODES[:, :7], "holds uint8 [7, 7]"),
        (CODES[0], "holds uint8 [8]"),
        (CODES[:6], "holds 6 codes and paths.txt 7 paths; line i must be the picture of code i"),
        (CODES[:0], "holds no code"),
    ],
)
def test_codes_that_do_not_fit(codes, message):
    np.save("codes.npy", codes)
    assert f"codes.npy {message}" in refused()


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, codes=CODES)
    return file.getvalue()


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .npy file"),
        (b"no numbers at all", "not a .npy file"),
        (pickled(), "not a .npy file"),
        (archive(), "not a .npy file"),
    ],
)
def test_files_that_hold_no_codes(data, message):
    Path("codes.npy").write_bytes(data)
    assert message in refused()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"codes": [b"x" * 8]}, "has no column `code` of 8 bytes"),
        ({"code": [b"x" * 7] * 7}, "has no column `code` of 8 bytes"),
        ({"code": [1.5] * 7}, "has no column `code` of 8 bytes"),
        ({"code": [b"x" * 8] * 6 + [None]}, "has rows without a code"),
    ],
)
def test_parquet_that_does_not_fit(table, message):
    pq.write_table(pa.table(table), "codes.parquet")
    assert message in refused(codes="codes.parquet")


def test_a_damaged_parquet_file():
    Path("codes.parquet").write_bytes(b"PAR1 and nothing else")
    assert "codes.parquet" in refused(codes="codes.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\n\nb\n", "line 2 is empty"),
        (b"a\n\r\nb\n", "line 2 is empty"),
        (b"a\nb\0c\n", "line 2 holds a NUL byte"),
        (b"", "codes.npy holds 7 codes and paths.txt 0 paths"),
    ],
)
def test_lists_that_do_not_fit(text, message):
    Path("paths.txt").write_bytes(text)
    assert message in refused()


def test_files_that_are_missing(tiny_models):
    assert "none.npy cannot be read: No such file" in refused(codes="none.npy")
    assert "none.txt cannot be read: No such file" in refused(database="none.txt")
    assert "cannot be read: Is a directory" in refused(codes=".")
    assert "none.pt" in refused("--model_path", "none.pt")
    assert "write MAJOR.MINOR.PATCH" in refused(version="1.0")


def test_the_manifest_is_plain_json():
    run("--index_mode", "ivf")
    manifest = json.loads(Path("index/1.0.0/manifest.json").read_text())
    assert manifest["search"] == {"steps": 0, "recall": 1.0}
