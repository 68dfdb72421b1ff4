"""One version on disk: its number, and whatever damage is found in it."""

import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from searcher import open_version, tables
from searcher.index import Index
from searcher.version import VersionError, model_of, parse, read_manifest, verify
from tests.searcher.folder import CODES, FILES, describe, edit_manifest, entries

# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["0.0.0", "1.5.0", "10.200.3000"])
def test_a_version_number(number):
    assert ".".join(map(str, parse(number))) == number


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1",
        "1.5",
        "1.5.0.0",
        "v1.5.0",
        "1.5.x",
        "01.5.0",
        "-1.5.0",
        "1.5.0-rc1",
        "1..0",
        "1.5.1٥",
        "../1.5.0",
        "1.5.0/",
        " 1.5.0",
        "1.5.0\n",
        "1.5.9999999999",
        "CURRENT",
    ],
)
def test_not_a_version_number(number):
    with pytest.raises(VersionError, match=r"not a version number; write MAJOR\.MINOR\.PATCH"):
        parse(number)


# -- damage --------------------------------------------------------------------------------------


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()  # not through a hard link into another version
    path.write_bytes(data)


def truncate(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


def in_place_of_a_file_a_folder(path):
    path.unlink()
    path.mkdir()


def refused(root, *words):
    """Activating 1.1.0 is refused in one sentence with these words, and 1.0.0 stays live."""
    with pytest.raises(VersionError) as error:
        Index(root).activate("1.1.0")
    for word in ("1.1.0", *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert Index(root).live() == "1.0.0"


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "another checksum"),
        (lambda path: flip(path, 0), "another checksum"),
        (truncate, "bytes, not"),
        (lambda path: path.write_bytes(b""), "0 bytes, not"),
        (lambda path: path.unlink(), "is missing"),
        (in_place_of_a_file_a_folder, "is missing"),
    ],
    ids=["last byte", "first byte", "truncated", "empty", "missing", "a folder"],
)
def test_a_damaged_file_is_refused(root, name, damage, words):
    damage(root / "1.1.0" / name)
    refused(root, name, words)


def test_an_extra_file_is_refused(root):
    (root / "1.1.0/index.bin.bak").touch()
    refused(root, "index.bin.bak does not belong")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "{}", '{"version": "1.1.0"}', "\xff", "[" * 50, "[" * 100_000],
    ids=lambda text: text[:20],
)
def test_a_manifest_that_is_none_is_refused(root, text):
    (root / "1.1.0/manifest.json").write_text(text, encoding="latin-1")
    refused(root, "manifest.json cannot be read")


def test_a_missing_manifest_is_refused(root):
    (root / "1.1.0/manifest.json").unlink()
    refused(root, "there is no version 1.1.0")


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "10"},
        {"version": 1},
        {"model": []},
        {"model": {"name": "tiny-1", "sha256": None}},
        {"model": {"name": "tiny-1"}},
        {"search": None},
        {"search": {"steps": 8}},
        {"search": {"steps": "8", "recall": 0.95}},
        {"search": {"steps": 8, "recall": None}},
        {"files": None},
        {"files": {"index.bin": 3}},
        {"files": {"index.bin": {"bytes": 3}}},
    ],
    ids=str,
)
def test_a_manifest_with_values_of_the_wrong_kind_is_refused(root, change):
    edit_manifest(root / "1.1.0", **change)
    refused(root, "manifest.json is damaged")


def test_a_manifest_with_an_unknown_field_is_refused(root):
    edit_manifest(root / "1.1.0", shard=3)
    refused(root, "manifest.json cannot be read", "shard")


def test_a_version_of_an_older_program_is_refused(root):
    """Its manifest says nothing of search."""
    manifest = json.loads((root / "1.1.0/manifest.json").read_text())
    del manifest["search"]
    (root / "1.1.0/manifest.json").write_text(json.dumps(manifest))
    refused(root, "was made by an older version of this program; index the catalogue again")
    with pytest.raises(VersionError, match="index the catalogue again"):
        open_version(root / "1.1.0")


def test_the_manifest_of_another_version_is_refused(root):
    shutil.copy(root / "1.0.0/manifest.json", root / "1.1.0")
    refused(root, "the manifest is of version 1.0.0")


def test_a_renamed_version_is_refused(root):
    shutil.rmtree(root / "1.1.0")
    os.rename(root / "1.0.0", root / "1.1.0")
    refused(root, "the manifest is of version 1.0.0")


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_file_that_the_manifest_does_not_name_is_refused(root, name):
    files = describe(root / "1.1.0")
    del files[name]
    edit_manifest(root / "1.1.0", files=files)
    refused(root, f"the manifest does not name {name}")


# From here on every checksum is right, and the version is wrong.


def test_wrong_rows_in_the_manifest_are_refused(root):
    edit_manifest(root / "1.1.0", rows=9)
    refused(root, "index.bin holds 10 codes", "the manifest says 9", "does not have 9 rows")


ARRAYS = sorted(name for name in FILES if name.endswith(".npy"))


@pytest.mark.parametrize("name", ["index.bin", *ARRAYS])
def test_columns_of_different_length_are_refused(root, publish_version, name):
    shutil.copy(publish_version(root, "0.1.0") / name, root / "1.1.0")
    edit_manifest(root / "1.1.0", files=describe(root / "1.1.0"))
    refused(root, name, "manifest says" if name != "shops.starts.npy" else "does not fit the rows")


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (lambda right: right[::-1], "does not fit paths.bin"),
        (lambda right: right + np.uint64(1), "does not fit paths.bin"),
        (lambda right: np.append(right[:-1], right[-1:] - 1), "does not fit paths.bin"),
        (lambda right: right[[0, 2, 1, *range(3, 11)]], "not in ascending order"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(root, offsets, words):
    path = root / "1.1.0/paths.offsets.npy"
    np.save(path, offsets(np.load(path)))
    edit_manifest(root / "1.1.0", files=describe(root / "1.1.0"))
    refused(root, words)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *itertools.product(
            ["index.bin", *ARRAYS, "shops.json", "model.json"], [b"", b"nonsense", b"\x93NUMPY"]
        ),
        ("shops.json", b"7"),
        ("shops.json", b"[[]]"),
    ],
)
def test_files_that_were_never_right_are_refused(root, name, data):
    (root / "1.1.0" / name).write_bytes(data)
    edit_manifest(root / "1.1.0", files=describe(root / "1.1.0"))
    refused(root, "cannot be opened")


@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_names_of_shops_that_do_not_fit_are_refused(root, names):
    (root / "1.1.0/shops.json").write_text(json.dumps(names))
    edit_manifest(root / "1.1.0", files=describe(root / "1.1.0"))
    refused(root, "shops.json does not fit shops.starts.npy")


def test_the_model_of_other_codes_is_refused(root, tiny_models):
    folder = root / "1.1.0"
    for suffix in (".pt", ".json"):
        (folder / f"model{suffix}").unlink()
        shutil.copy(tiny_models[1].with_suffix(suffix), folder / f"model{suffix}")
    edit_manifest(folder, files=describe(folder))
    refused(root, "model.pt is not the model", "model.json is not of the model")


# -- a version without a model, and one with tables ----------------------------------------------


def test_a_version_without_a_model(root, publish_version):
    folder = publish_version(root, "1.2.0", codes=CODES, model=False)
    assert set(entries(folder)) == FILES - {"model.pt", "model.json"}
    assert read_manifest(folder).model == {}
    assert model_of(folder) is None
    assert verify(folder) == []
    Index(root).activate("1.2.0")
    rows, _ = open_version(folder).search(CODES[3:4], 1)
    assert rows.tolist() == [[3]]
    # One with a model is published beside it, and finds that of another version.
    assert (publish_version(root, "1.3.0") / "model.pt").samefile(root / "1.0.0/model.pt")


def test_a_model_that_a_version_does_not_have_is_refused(root, publish_version, tiny_models):
    publish_version(root, "1.1.0", codes=CODES, model=False, replace=True)
    shutil.copy(tiny_models[0], root / "1.1.0/model.pt")
    refused(root, "model.pt does not belong to the version")


@pytest.fixture
def with_tables(root, publish_version, monkeypatch) -> Path:
    """1.1.0 is large enough for tables, as `large` is understood here."""
    monkeypatch.setattr(tables, "FEWEST_ROWS", len(CODES))
    return publish_version(root, "1.1.0", codes=CODES, replace=True)


def test_a_large_index_has_tables(with_tables, root):
    assert set(entries(with_tables)) == FILES | {"tables.starts.npy", "tables.rows.npy"}
    assert set(read_manifest(with_tables).files) == FILES - {"manifest.json"} | {
        "tables.starts.npy",
        "tables.rows.npy",
    }
    assert Index(root).activate("1.1.0") == "1.0.0"


@pytest.mark.parametrize("name", ["tables.starts.npy", "tables.rows.npy"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "another checksum"),
        (truncate, "bytes, not"),
        (lambda path: path.unlink(), "is missing"),
    ],
    ids=["last byte", "truncated", "missing"],
)
def test_damaged_tables_are_refused(with_tables, root, name, damage, words):
    damage(with_tables / name)
    refused(root, name, words)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("tables.rows.npy", lambda old: old[:-1], "do not fit the index"),
        ("tables.rows.npy", lambda old: old.astype(np.int32), "do not fit the index"),
        ("tables.starts.npy", lambda old: old[:-1], "do not fit the index"),
        ("tables.starts.npy", lambda old: old + np.uint32(3), "do not fit the index"),
    ],
)
def test_tables_that_do_not_fit_are_refused(with_tables, root, name, change, words):
    np.save(with_tables / name, change(np.load(with_tables / name)))
    edit_manifest(with_tables, files=describe(with_tables))
    refused(root, words)


def test_tables_of_another_number_of_rows_are_refused(with_tables, root, publish_version):
    other = publish_version(root, "0.1.0", codes=np.tile(CODES, (2, 1)))
    for name in ("tables.starts.npy", "tables.rows.npy"):
        shutil.copy(other / name, with_tables / name)
    edit_manifest(with_tables, files=describe(with_tables))
    refused(root, "tables.starts.npy and tables.rows.npy do not fit the index")


def test_one_table_of_two_is_refused(with_tables, root):
    (with_tables / "tables.rows.npy").unlink()
    edit_manifest(with_tables, files=describe(with_tables))
    refused(root, "cannot be opened", "tables.rows.npy")
