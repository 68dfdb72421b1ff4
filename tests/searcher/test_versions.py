"""Versions on disk: complete or absent, whatever happens while they are made."""

import contextlib
import csv
import datetime
import errno
import hashlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import columns, open_version, tables
from searcher.index import Index
from searcher.publish import Contents, publish
from searcher.version import VersionError, model_of, parse, read_manifest, verify

FILES = {
    "index.bin",
    "paths.bin",
    "paths.offsets.npy",
    "paths.hashes.npy",
    "paths.rows.npy",
    "shops.json",
    "shops.npy",
    "shops.rows.npy",
    "shops.starts.npy",
    "products.npy",
    "model.pt",
    "model.json",
    "rejected.csv",
    "manifest.json",
}
CODES = np.arange(80, dtype=np.uint8).reshape(10, 8)
OTHER_CODES = CODES + 100

# Root may read and write everything, unless these capabilities are taken from it.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture
def root(publish_version, tmp_path) -> Path:
    """An index folder with 1.0.0 live and 1.1.0 beside it."""
    root = tmp_path / "index"
    publish_version(root, "1.0.0", codes=CODES)
    publish_version(root, "1.1.0", codes=OTHER_CODES)
    Index(root).activate("1.0.0")
    return root


def entries(root):
    return sorted(path.name for path in root.iterdir())


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def describe(folder):
    """A file's entry in the manifest, for all files: as if they had been published like this."""
    return {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in entries(folder)
        if name != "manifest.json"
    }


# -- what is published ---------------------------------------------------------------------------


def test_layout(publish_version, tmp_path, tiny_models):
    root = tmp_path / "index"
    folder = publish_version(root, "1.5.0", codes=CODES)
    assert entries(root) == [".lock", "1.5.0"]
    assert set(entries(folder)) == FILES
    assert (folder / "paths.bin").read_bytes().startswith(b"data/abc.com/0_abc_com.jpgdata/abc.com")
    offsets = np.load(folder / "paths.offsets.npy")
    assert (offsets.dtype, len(offsets), offsets[0]) == (np.uint64, 11, 0)
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()
    assert (folder / "model.json").read_text() == tiny_models[0].with_suffix(".json").read_text()
    with open(folder / "rejected.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["data/abc.com/broken.jpg", "not a picture"],
        ]


def test_manifest(publish_version, tmp_path, tiny_models):
    folder = publish_version(tmp_path, "1.5.0", codes=CODES)
    manifest = json.loads((folder / "manifest.json").read_text())
    created = datetime.datetime.fromisoformat(manifest.pop("created"))
    assert abs(datetime.datetime.now(datetime.UTC) - created) < datetime.timedelta(minutes=1)
    assert manifest == {
        "version": "1.5.0",
        "rows": 10,
        "rejected": 1,
        "bits": 64,
        "index_mode": "default",
        "model": {
            "name": "tiny-1",
            "sha256": hashlib.sha256(tiny_models[0].read_bytes()).hexdigest(),
        },
        "search": {},
        "catalogue": {"database": "database_info.txt", "sha256": "0" * 64, "lines": 4},
        "files": describe(folder),
    }


def test_versions_of_one_model_share_its_file(root):
    assert (root / "1.0.0/model.pt").samefile(root / "1.1.0/model.pt")


def test_versions_of_two_models_do_not(root, publish_version, tiny_models):
    folder = publish_version(root, "2.0.0", model=tiny_models[1])
    assert (folder / "model.pt").read_bytes() == tiny_models[1].read_bytes()
    assert not (root / "1.0.0/model.pt").samefile(folder / "model.pt")


def test_a_damaged_model_is_not_shared(root, publish_version, tiny_models):
    model = root / "1.0.0/model.pt"  # and by the link of 1.1.0
    model.write_bytes(b"x" * model.stat().st_size)
    folder = publish_version(root, "1.2.0")
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()


def test_a_damaged_version_does_not_keep_others_from_being_published(root, publish_version):
    (root / "1.0.0/manifest.json").write_text("{")
    assert verify(publish_version(root, "1.2.0")) == []


def test_without_hard_links_the_model_is_copied(root, publish_version, tiny_models, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder = publish_version(root, "1.2.0")
    assert (folder / "model.pt").read_bytes() == tiny_models[0].read_bytes()


names = st.binary(min_size=1, max_size=40).map(lambda name: os.fsdecode(name))


@settings(max_examples=25, deadline=None)
@given(st.lists(names, min_size=1, max_size=30))
def test_any_paths_come_back(publish_version, paths):
    codes = np.zeros((len(paths), 8), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        index = open_version(publish_version(Path(folder), codes=codes, paths=paths))
        assert [index.path(row) for row in range(len(paths))] == paths


@pytest.mark.parametrize("count", [0, 2, 4])
def test_as_many_paths_as_codes(publish_version, tmp_path, count):
    codes = np.zeros((count, 8), np.uint8)
    with pytest.raises(VersionError, match=f"{count} codes for 3 paths"):
        publish_version(tmp_path, codes=codes, paths=["a", "b", "c"])
    assert Index(tmp_path).versions() == []


def test_no_codes_are_no_version(publish_version, tmp_path):
    with pytest.raises(VersionError, match="0 codes for 0 paths"):
        publish_version(tmp_path, codes=np.zeros((0, 8), np.uint8))
    assert Index(tmp_path).versions() == []


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


def test_versions_are_listed_by_number(tmp_path, publish_version):
    for version in ("1.10.0", "1.9.0", "0.20.0"):
        publish_version(tmp_path, version)
    for other in ("1.0.0", "notes", ".new-3.0.0"):
        (tmp_path / other).mkdir()  # no version: no manifest, or no number
    assert Index(tmp_path).versions() == ["0.20.0", "1.9.0", "1.10.0"]


def test_no_folder_no_versions(tmp_path):
    assert Index(tmp_path / "index").versions() == []
    assert Index(tmp_path / "index").live() is None


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "index").write_text("")
    assert Index(tmp_path / "index").versions() == []
    assert Index(tmp_path / "index").live() is None


# -- activating ----------------------------------------------------------------------------------


def test_activate_names_the_version_in_current(root):
    assert Index(root).live() == "1.0.0"
    assert Index(root).activate("1.1.0") == "1.0.0"
    assert (root / "CURRENT").read_bytes() == b"1.1.0\n"
    assert Index(root).activate("1.0.0") == "1.1.0"  # and back
    assert entries(root) == [".before", ".lock", "1.0.0", "1.1.0", "CURRENT"]


def test_activate_again_can_be_noticed(root):
    os.utime(root / "CURRENT", ns=(0, 0))
    before = Index(root).activation()
    Index(root).activate("1.0.0")
    assert Index(root).activation()[0] == before[0]
    assert Index(root).activation() != before


def test_nothing_was_live_before_the_first(publish_version, tmp_path):
    publish_version(tmp_path)
    assert Index(tmp_path).activate("1.0.0") is None


def test_what_does_not_exist_is_not_activated(root):
    with pytest.raises(VersionError, match=r"no version 3\.0\.0 .* exist: 1\.0\.0, 1\.1\.0"):
        Index(root).activate("3.0.0")
    assert Index(root).live() == "1.0.0"


def test_current_that_is_no_text_does_no_harm(root):
    (root / "CURRENT").write_bytes(b"\xff\xfe\0")
    assert Index(root).live() not in Index(root).versions()
    Index(root).activate("1.1.0")
    assert Index(root).live() == "1.1.0"


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_activating_fails_whole(root, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            Index(root).activate("1.1.0")
    assert Index(root).live() == "1.0.0"
    Index(root).activate("1.1.0")
    assert Index(root).live() == "1.1.0"


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
    ["", "{", "[]", "null", "7", "{}", '{"version": "1.1.0"}', "\xff", "[" * 50],
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


def test_more_rows_than_fit_their_numbers_are_refused(root, publish_version, monkeypatch):
    monkeypatch.setattr(columns, "MOST_ROWS", 9)
    with pytest.raises(VersionError, match=r"10 rows are more than an index takes .*split the"):
        publish_version(root, "1.2.0", codes=CODES)
    assert publish_version(root, "1.2.0", codes=CODES[:9]).exists()


def test_a_model_that_changed_while_it_was_used_is_not_published(root, tmp_path, tiny_models):
    """A new model was copied over the one in use: codes of the old, file of the new."""
    contents = Contents(
        codes=CODES,
        paths=list("abcdefghij"),
        rejected=[],
        model=tiny_models[1],
        model_name="tiny-1",
        model_sha256=hashlib.sha256(tiny_models[0].read_bytes()).hexdigest(),
        catalogue={},
    )
    # With other versions of the old model the .pt is taken from them, and only the sidecar is new.
    for folder in (root, tmp_path / "empty"):
        with (
            pytest.raises(VersionError, match=r"1\.2\.0 was not written well: .*is not of the m"),
            Index(folder).writing(),
        ):
            publish(Index(folder), "1.2.0", contents)
        assert "1.2.0" not in Index(folder).versions()


# -- publishing that is cut short ----------------------------------------------------------------


def test_a_version_is_not_replaced_unasked(root, publish_version):
    with pytest.raises(VersionError, match=r"1\.1\.0 exists .*new number, .*efiss index --force"):
        publish_version(root, "1.1.0", codes=CODES)
    np.testing.assert_array_equal(open_version(root / "1.1.0").code(0), OTHER_CODES[0])


def test_a_version_without_manifest_is_not_replaced_unasked(root, publish_version):
    (root / "1.1.0/manifest.json").unlink()
    with pytest.raises(VersionError, match=r"1\.1\.0 exists"):
        publish_version(root, "1.1.0")
    assert (root / "1.1.0/index.bin").exists()


def test_a_version_is_replaced_when_asked(root, publish_version):
    publish_version(root, "1.1.0", codes=CODES[:4], replace=True)
    assert verify(root / "1.1.0") == []
    assert open_version(root / "1.1.0").manifest.rows == 4
    assert entries(root) == [".lock", "1.0.0", "1.1.0", "CURRENT"]


@pytest.mark.parametrize("replace", [False, True])
def test_the_live_version_is_never_replaced(root, publish_version, replace):
    with pytest.raises(VersionError, match=r"1\.0\.0 is live and is not replaced"):
        publish_version(root, "1.0.0", codes=OTHER_CODES, replace=replace)
    np.testing.assert_array_equal(open_version(root / "1.0.0").code(0), CODES[0])


class Failing:
    """Of all calls that bring a file or a name to disk, the n-th fails."""

    def __init__(self, monkeypatch, n):
        self.left = n
        for name in ("fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, call):
        def counted(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.EIO, "Input/output error")
            return call(*arguments, **options)

        return counted


@pytest.mark.parametrize("replace", [False, True])
def test_publishing_that_fails_at_any_step(root, publish_version, monkeypatch, replace):
    version = "1.1.0" if replace else "1.2.0"
    before = [open_version(root / "1.1.0").code(0).tolist()] if replace else []
    after = [CODES[0].tolist()]
    outcomes = []
    for step in range(1, 40):
        if not replace:
            shutil.rmtree(root / version, ignore_errors=True)
        with monkeypatch.context() as patched:
            failing = Failing(patched, step)
            with contextlib.suppress(OSError):
                publish_version(root, version, codes=CODES, replace=replace)
        # Nothing half-made is left, not even hidden.
        assert [name for name in entries(root) if name.startswith((".new", ".old"))] == []
        there = [version] if version in Index(root).versions() else []
        assert [verify(root / name) for name in there] == [[]] * len(there)
        outcomes.append([open_version(root / name).code(0).tolist() for name in there])
        if failing.left > 0:
            break
    assert failing.left > 0  # the last went through
    assert len(outcomes) > 8
    # Either what was there before or what is new, and the new one only from some step on.
    turn = outcomes.index(after)
    assert outcomes == [before] * turn + [after] * (len(outcomes) - turn)
    assert turn >= len(outcomes) - 2  # the last step, which syncs the folder, comes after it


KILLED = """
import os, signal, sys
from pathlib import Path

import numpy as np
from searcher.index import Index
from searcher.publish import Contents, publish

root, model, version, sha256, replace = sys.argv[1:]
contents = Contents(
    codes=np.full((4, 8), 7, np.uint8), paths=list("abcd"), rejected=[], model=Path(model),
    model_name="tiny-1", model_sha256=sha256, catalogue={},
)


def killed_at(step):
    left = step

    def counting(call):
        def counted(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return counted

    for name in ("mkdir", "link", "fsync", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, counting(getattr(os, name)))
    with Index(Path(root)).writing():
        publish(Index(Path(root)), version, contents, replace == "replace")
    os._exit(0)


for step in range(1, 100):
    child = os.fork()
    if child == 0:
        killed_at(step)
    status = os.waitpid(child, 0)[1]
    print(step, flush=True)  # now it is looked at what is left
    sys.stdin.readline()
    if status == 0:
        break
"""


@pytest.mark.parametrize("replace", [False, True])
def test_publishing_that_is_killed_at_any_step(root, tiny_models, replace):
    """Never half a version under its name; what lies beside it goes with the next run."""
    version = "1.1.0" if replace else "1.2.0"
    keys = set()
    sha256 = hashlib.sha256(tiny_models[0].read_bytes()).hexdigest()
    how = "replace" if replace else "new"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, root, tiny_models[0], version, sha256, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        for step in process.stdout:
            there = version in Index(root).versions()
            assert not there or verify(root / version) == []
            assert Index(root).live() == "1.0.0"
            with Index(root).writing():  # as the next run begins
                hidden = [name for name in entries(root) if name.startswith((".new", ".old"))]
            assert hidden == []
            published = version in Index(root).versions()
            assert published or not replace, f"step {step}: the version before is lost"
            if published:
                assert verify(root / version) == []
                keys.add(open_version(root / version).code(0).tobytes())
                if not replace:
                    shutil.rmtree(root / version)
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    assert int(step) > 10
    new = bytes([7] * 8)
    assert keys == ({OTHER_CODES[0].tobytes(), new} if replace else {new})


def test_between_the_two_renames_of_a_replacement(root, publish_version):
    """As a kill there leaves it: the version before comes back, and needs --force again."""
    shutil.copytree(root / "1.1.0", root / ".new-1.1.0")
    os.rename(root / "1.1.0", root / ".old-1.1.0")
    assert Index(root).versions() == ["1.0.0"]
    with pytest.raises(VersionError, match=r"1\.1\.0 exists"):
        publish_version(root, "1.1.0", codes=CODES)
    assert entries(root) == [".lock", "1.0.0", "1.1.0", "CURRENT"]
    np.testing.assert_array_equal(open_version(root / "1.1.0").code(0), OTHER_CODES[0])


# -- the folder ----------------------------------------------------------------------------------


def building_is_refused(root, words):
    with pytest.raises(VersionError, match=words), Index(root).writing():
        pass


def test_one_process_at_a_time(root):
    script = (
        "import sys; from pathlib import Path; from searcher.index import Index\n"
        "with Index(Path(sys.argv[1])).writing(): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout.readline() == b"in\n"
        building_is_refused(root, r"another process is building a version in .*index; wait")
        Index(root).activate("1.1.0")  # goes on meanwhile
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with Index(root).writing():  # the lock ended with the process
        pass


def test_one_thread_at_a_time(root):
    with Index(root).writing():
        building_is_refused(root, "another process is building")


def test_a_file_cannot_be_written_into(tmp_path):
    (tmp_path / "index").touch()
    building_is_refused(tmp_path / "index", "index cannot be written: File exists")


def run_as_user(script, *arguments, **options):
    return subprocess.run(
        [*AS_USER, sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def can_be_a_user():
    return not AS_USER or (
        shutil.which(AS_USER[0]) and subprocess.run([*AS_USER, "true"]).returncode == 0
    )


@pytest.mark.skipif(not can_be_a_user(), reason="root here cannot give up its rights")
def test_a_read_only_folder(root):
    script = (
        "import sys; from pathlib import Path; from searcher.index import Index\n"
        "from searcher.version import VersionError, verify\n"
        "root = Path(sys.argv[1])\n"
        "print(verify(root / '1.0.0'))\n"
        "for use in (lambda: Index(root).writing().__enter__(),\n"
        "            lambda: Index(root).activate('1.1.0')):\n"
        "    try: use()\n"
        "    except (VersionError, OSError) as error: print(error)\n"
    )
    (root / ".lock").unlink()
    os.chmod(root, 0o555)
    run = run_as_user(script, root)
    os.chmod(root, 0o755)
    verified, writing, activating = run.stdout.splitlines()
    assert verified == "[]"
    assert writing == f"{root} cannot be written: Permission denied"
    assert "Permission denied" in activating
    assert Index(root).live() == "1.0.0"


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if mounting.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount")
@pytest.mark.parametrize("kilobytes", [180, 260, 420, 560])
def test_a_full_disk(publish_version, tmp_path, kilobytes):
    """The disk is full in the index, in the paths, in other columns: always the same end."""
    root = tmp_path / "index"
    with small_disk(root, f"{kilobytes}k"):
        publish_version(root, "1.0.0", codes=CODES)
        Index(root).activate("1.0.0")
        rows = np.zeros((9000, 8), np.uint8)
        with pytest.raises(OSError, match="No space left on device"):
            publish_version(root, "1.1.0", codes=rows, paths=["p" * 20] * len(rows))
        assert entries(root) == [".lock", "1.0.0", "CURRENT"]
        publish_version(root, "1.1.0", codes=CODES)  # there is room again
        Index(root).activate("1.1.0")


@pytest.mark.parametrize(
    ("rows", "length", "limit"),
    [(9000, 10, 72_000), (9000, 10, 73_000), (9000, 1, 72_100), (10, 10, 40_000)],
    ids=["index.bin", "paths.bin", "paths.offsets.npy", "model.pt"],
)
def test_a_file_that_cannot_grow(publish_version, tmp_path, rows, length, limit):
    """The same without being root: a limit on the size of files, met by one file after another."""
    codes = np.zeros((rows, 8), np.uint8)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            publish_version(tmp_path, codes=codes, paths=["p" * length] * rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert entries(tmp_path) == [".lock"]
