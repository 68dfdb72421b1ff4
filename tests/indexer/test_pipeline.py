"""Catalogue -> codes -> version, in this process."""

import csv
import dataclasses
import functools
import hashlib
import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashing import files
from hashing.codes import split
from hashing.files import hash_files
from hashing.model import Model, ModelError
from hashing.reading import read_files
from indexer import pipeline
from indexer.catalogue import CatalogueError
from indexer.pipeline import IndexingError, Order, index_catalogue
from searcher import open_version
from searcher.index import Index
from searcher.version import VersionError, read_manifest, verify


def draw(path: Path, seed: int) -> None:
    """A picture like no other: soft blots of colour."""
    rng = np.random.default_rng(seed)
    blots = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blots).resize((60, 48), Image.Resampling.BICUBIC).save(path, quality=90)
    age(path)


def age(path, seconds: float = 60) -> None:
    """As if the file had been changed so long ago: what was changed just now proves nothing."""
    then = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


@pytest.fixture
def catalogue(tmp_path, monkeypatch) -> list[str]:
    """20 pictures of two shops, listed in database_info.txt in the current folder."""
    monkeypatch.chdir(tmp_path)
    paths = [f"data/{shop}.com/{i}_{shop}_com.jpg" for shop in ("abc", "xyz") for i in range(10)]
    for seed, path in enumerate(paths):
        draw(Path(path), seed)
    write_list(paths)
    return paths


def write_list(paths: list[str]) -> None:
    Path("database_info.txt").write_text("".join(f"{path}\n" for path in paths))


@pytest.fixture
def order(catalogue, tiny_models) -> Order:
    return Order(
        database=Path("database_info.txt"),
        model_path=tiny_models[0],
        device="cpu",
        version="1.0.0",
        index_root=Path("index"),
        workers=2,
        batch_size=4,
        max_pixels=1_000_000,
    )


def change(order, **fields) -> Order:
    return dataclasses.replace(order, **fields)


def codes_of(folder: Path) -> dict[str, bytes]:
    index = open_version(folder)
    return {index.path(row): index.code(row).tobytes() for row in range(index.manifest.rows)}


loaded = functools.cache(Model.load)


def alone(path: str, model_path: Path) -> bytes:
    """The code of a picture, by the shortest way there is."""
    model = loaded(model_path)
    return split(model.codes(model.pixels(Path(path).read_bytes())[None]))[0].tobytes()


# -- the version ---------------------------------------------------------------------------------


def test_every_row_is_its_picture(order, catalogue, tiny_models):
    summary = index_catalogue(order)
    assert (counts(summary), summary.rejected) == ((20, 0, 0, 0), [])
    codes = codes_of(Path("index/1.0.0"))
    assert list(codes) == catalogue
    assert codes == {path: alone(path, tiny_models[0]) for path in catalogue}
    assert len(set(codes.values())) == 20  # so that a shift could not hide


def test_every_row_has_the_digest_of_its_picture(order, catalogue):
    """Read now, known by size and time, known by content, and beside one that is rejected."""

    def beginnings() -> list[bytes]:
        return [hashlib.sha256(Path(path).read_bytes()).digest()[:8] for path in catalogue]

    for version, trust_content in (("1.0.0", False), ("1.1.0", False), ("1.2.0", True)):
        index_catalogue(change(order, version=version, trust_content=trust_content))
        assert np.load(f"index/{version}/digests.npy").tobytes() == b"".join(beginnings())
    Path(catalogue[3]).write_text("no picture")
    index_catalogue(change(order, version="1.3.0", max_rejected=1.0))
    kept = beginnings()[:3] + beginnings()[4:]
    assert np.load("index/1.3.0/digests.npy").tobytes() == b"".join(kept)


def test_a_longer_code_is_a_column_of_the_version(order, catalogue, long_model):
    index_catalogue(change(order, model_path=long_model))
    model = Model.load(long_model)
    wanted = model.codes(np.stack([model.pixels(Path(path).read_bytes()) for path in catalogue]))
    codes, fine_codes = split(wanted)
    index = open_version("index/1.0.0")
    assert np.array_equal(index.codes, codes)
    assert np.array_equal(np.load("index/1.0.0/fine_codes.npy"), fine_codes)


def test_longer_codes_are_remembered(order, catalogue, long_model):
    index_catalogue(change(order, model_path=long_model))
    write_list(catalogue[::-1])
    summary = index_catalogue(change(order, model_path=long_model, version="1.1.0"))
    assert counts(summary) == (0, 20, 0, 0)
    first, second = (np.load(f"index/{name}/fine_codes.npy") for name in ("1.0.0", "1.1.0"))
    assert np.array_equal(first, second[::-1])


def test_how_codes_are_compared_is_no_reason_to_hash_again(order, catalogue, long_model, tmp_path):
    index_catalogue(change(order, model_path=long_model))
    other = shutil.copy(long_model, tmp_path / "other.pt")
    sidecar = json.loads(long_model.with_suffix(".json").read_text())
    other.with_suffix(".json").write_text(json.dumps(sidecar | {"rank_weight": 7}))
    summary = index_catalogue(change(order, model_path=other, version="1.1.0"))
    assert counts(summary) == (0, 20, 0, 0)


def test_the_manifest_says_where_it_comes_from(order):
    manifest = index_catalogue(order).manifest
    assert (manifest.rows, manifest.rejected, manifest.model["name"]) == (20, 0, "tiny-1")
    assert manifest.catalogue["database"] == "database_info.txt"
    assert manifest.catalogue["lines"] == 20
    assert manifest == read_manifest(Path("index/1.0.0"))
    assert verify(Path("index/1.0.0")) == []


def test_it_is_not_live(order):
    index_catalogue(order)
    assert Index(order.index_root).live() is None


@pytest.mark.parametrize("device_of", ["folder", "file"])
def test_the_model_may_be_named_by_its_folder(order, tiny_models, device_of):
    path = tiny_models[0].parent if device_of == "folder" else tiny_models[0]
    assert index_catalogue(change(order, model_path=path)).manifest.model["name"] == "tiny-1"


def test_one_worker_and_many_make_the_same(order):
    for workers, root in ((1, "one"), (7, "many")):
        index_catalogue(change(order, workers=workers, index_root=Path(root)))
    for name in ("index.bin", "paths.bin"):
        assert Path("one/1.0.0", name).read_bytes() == Path("many/1.0.0", name).read_bytes()


def test_lines_that_are_there_twice_count_once(order, catalogue):
    write_list([*catalogue, *catalogue[:3]])
    summary = index_catalogue(order)
    assert (summary.manifest.rows, summary.repeated_lines) == (20, 3)


def test_progress_begins_with_nothing_and_ends_with_all(order):
    seen = []
    index_catalogue(order, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 20) for done in range(21)]


def test_paths_that_are_not_utf8(order, catalogue):
    name = "data/abc.com/\udcff_abc_com.jpg"
    shutil.copy(catalogue[0], name)
    with open("database_info.txt", "ab") as file:
        file.write(b"data/abc.com/\xff_abc_com.jpg\ndata/abc.com/\xfe.jpg\n")
    index_catalogue(change(order, max_rejected=0.1))
    assert list(codes_of(Path("index/1.0.0")))[-1] == name
    assert b"data/abc.com/\xfe.jpg,No such file" in Path("index/1.0.0/rejected.csv").read_bytes()


def test_a_list_as_windows_and_people_write_it(order, catalogue, tmp_path, tiny_models):
    """Byte order mark, CRLF, spaces, tabs, #, repeated lines, relative and absolute paths."""
    names = ["a b.jpg", " leading", "trailing ", "\ttab\t.jpg", "#1.jpg", "a#b.jpg", "日本.jpg"]
    for name, path in zip(names, catalogue, strict=False):
        shutil.copy(path, name)
    lines = [*names, *catalogue[7:12], *(str(tmp_path / path) for path in catalogue[12:])]
    text = "\r\n".join([*lines, lines[0], "", " \t", lines[8]])
    Path("database_info.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    summary = index_catalogue(order)
    assert (summary.manifest.rows, summary.repeated_lines, summary.rejected) == (20, 2, [])
    codes = codes_of(Path("index/1.0.0"))
    assert list(codes) == lines
    assert codes == {path: alone(path, tiny_models[0]) for path in lines}


# -- pictures that cannot be read ----------------------------------------------------------------


def spoil(paths):
    """One of each kind, spread over the catalogue: beginning, middle, end."""
    Path(paths[0]).unlink()
    Path(paths[9]).write_bytes(b"")
    Path(paths[10]).write_bytes(b"<html>not found</html>")
    Path(paths[13]).write_bytes(Path(paths[13]).read_bytes()[:-300])
    Path(paths[19]).unlink()
    Path(paths[19]).mkdir()
    return [paths[i] for i in (0, 9, 10, 13, 19)]


def test_unreadable_pictures_are_left_out_and_shift_nothing(order, catalogue, tiny_models):
    bad = spoil(catalogue)
    summary = index_catalogue(change(order, max_rejected=0.25))
    good = [path for path in catalogue if path not in bad]
    assert codes_of(Path("index/1.0.0")) == {path: alone(path, tiny_models[0]) for path in good}
    assert list(codes_of(Path("index/1.0.0"))) == good
    assert (summary.manifest.rows, summary.manifest.rejected, summary.computed) == (15, 5, 15)


def test_unreadable_pictures_are_reported_with_the_reason(order, catalogue):
    bad = spoil(catalogue)
    summary = index_catalogue(change(order, max_rejected=0.25))
    with open("index/1.0.0/rejected.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "reason"]
    assert [tuple(row) for row in rows] == summary.rejected
    assert [path for path, _ in rows] == bad
    reasons = ["No such file", "0 bytes", "not a picture", "damaged", "Not a file"]
    for (_, reason), words in zip(rows, reasons, strict=True):
        assert words in reason


def test_a_picture_over_the_limit_of_pixels_is_left_out(order, catalogue):
    Image.new("L", (300, 200)).save(catalogue[4])
    summary = index_catalogue(change(order, max_pixels=60 * 48))
    assert [path for path, _ in summary.rejected] == [catalogue[4]]


def test_rejected_files_are_not_read_again_until_they_change(order, catalogue, monkeypatch):
    bad = spoil(catalogue)
    for path in bad:
        if Path(path).is_file():
            age(path)
    order = change(order, max_rejected=0.25)
    first = index_catalogue(order)

    def read_by(**fields) -> list[str]:
        """The files that are read by one run more."""
        read = []
        monkeypatch.setattr(
            files, "read_files", lambda paths: read_files(read.extend(paths) or paths)
        )
        order_of_run = change(order, version=order.index.next_minor(), **fields)
        found = index_catalogue(order_of_run)
        assert sum(counts(found)) == found.manifest.rows
        assert [path for path, _ in found.rejected] == [path for path, _ in first.rejected]
        return read

    missing_or_folder = [path for path in bad if not Path(path).is_file()]
    assert read_by() == missing_or_folder
    assert read_by(max_pixels=999_999) == bad, "another limit"
    assert sorted(read_by(trust_content=True)) == sorted(catalogue)
    again = next(path for path in bad if Path(path).is_file())
    age(again, seconds=30)
    assert sorted(read_by()) == sorted([*missing_or_folder, again])


@pytest.mark.parametrize(
    ("pictures", "bad", "percent", "published"),
    [
        (20, 1, 5, True),
        (19, 1, 5, False),
        (20, 2, 5, False),
        (20, 0, 0, True),
        (20, 1, 0, False),
        (100, 29, 29, True),  # 0.29 * 100 is less than 29
        (20, 20, 100, False),  # nothing is left to publish
        (20, 19, 100, True),
    ],
)
def test_how_many_may_fail(order, catalogue, pictures, bad, percent, published):
    write_list(
        [f"missing/{i}.jpg" for i in range(bad)]
        + [str(shutil.copy(catalogue[i % 20], f"{i}.jpg")) for i in range(pictures - bad)]
    )
    order = change(order, max_rejected=percent / 100)
    if published:
        assert index_catalogue(order).manifest.rejected == bad
        return
    with pytest.raises(IndexingError) as error:
        index_catalogue(order)
    assert f"{bad} of {pictures} pictures could not be read" in str(error.value)
    is_limit = bad < pictures  # no limit would take a catalogue of nothing
    assert (f"--max_rejected allows {percent} %" in str(error.value)) == is_limit
    assert "; nothing was published" in str(error.value)
    assert Index(order.index_root).versions() == []
    with open(str(error.value).rsplit(": ", 1)[1], newline="") as file:
        assert len(list(csv.reader(file))) == 1 + bad


# -- codes known from earlier runs ---------------------------------------------------------------


def counts(summary) -> tuple[int, int, int, int]:
    """Hashed now, known by path, size and time, known by content, duplicates."""
    return summary.computed, summary.unchanged, summary.by_content, summary.duplicates


def test_the_same_catalogue_again_hashes_nothing(order):
    first = index_catalogue(order)
    again = index_catalogue(change(order, version="1.1.0"))
    assert (counts(first), counts(again)) == ((20, 0, 0, 0), (0, 20, 0, 0))
    assert codes_of(Path("index/1.0.0")) == codes_of(Path("index/1.1.0"))


def test_only_what_is_new_or_changed_is_hashed(order, catalogue, tiny_models):
    index_catalogue(order)
    draw(Path(catalogue[3]), 100)
    draw(Path("data/new.com/1_new_com.jpg"), 101)
    Path(catalogue[5]).rename("data/abc.com/moved.jpg")
    paths = ["data/new.com/1_new_com.jpg", "data/abc.com/moved.jpg", *catalogue[:5], catalogue[7]]
    write_list(paths)
    assert counts(index_catalogue(change(order, version="1.1.0"))) == (2, 5, 1, 0)
    codes = codes_of(Path("index/1.1.0"))
    assert list(codes) == paths
    assert codes == {path: alone(path, tiny_models[0]) for path in paths}


def test_a_touched_or_copied_file_is_read_and_not_hashed(order, catalogue):
    index_catalogue(order)
    for path in catalogue[:3]:
        age(path, 30)
    shutil.copy(catalogue[4], "data/abc.com/copy.jpg")
    age("data/abc.com/copy.jpg")
    write_list([*catalogue, "data/abc.com/copy.jpg"])
    assert counts(index_catalogue(change(order, version="1.1.0"))) == (0, 17, 4, 0)
    codes = codes_of(Path("index/1.1.0"))
    assert codes["data/abc.com/copy.jpg"] == codes[catalogue[4]]
    assert counts(index_catalogue(change(order, version="1.2.0"))) == (0, 21, 0, 0)


def test_a_file_changed_a_moment_ago_is_read_again(order, catalogue, tiny_models):
    """It may change once more before the clock of its file system ticks, and look the same."""
    first, other = Path(catalogue[0]), Path("other.jpg")
    for path, seed in ((first, 100), (other, 101)):
        draw(path, seed)
        longer = path.read_bytes().ljust(8000, b"\0")  # so that the two are equal in size
        path.write_bytes(longer)
    changed = first.stat().st_mtime_ns
    index_catalogue(order)
    first.write_bytes(other.read_bytes())
    os.utime(first, ns=(changed, changed))
    assert counts(index_catalogue(change(order, version="1.1.0"))) == (1, 19, 0, 0)
    assert codes_of(Path("index/1.1.0"))[catalogue[0]] == alone(catalogue[0], tiny_models[0])


def test_trust_content_finds_what_size_and_time_hide(order, catalogue, tiny_models):
    first, other = Path(catalogue[0]), Path("other.jpg")
    for path, seed in ((first, 100), (other, 101)):
        draw(path, seed)
        path.write_bytes(path.read_bytes().ljust(8000, b"\0"))
        os.utime(path, (1e9, 1e9))
    index_catalogue(order)
    first.write_bytes(other.read_bytes())
    os.utime(first, (1e9, 1e9))
    assert counts(index_catalogue(change(order, version="1.1.0"))) == (0, 20, 0, 0)
    checked = index_catalogue(change(order, version="1.2.0", trust_content=True))
    assert counts(checked) == (1, 0, 19, 0)
    assert codes_of(Path("index/1.2.0"))[catalogue[0]] == alone(catalogue[0], tiny_models[0])
    assert counts(index_catalogue(change(order, version="1.3.0"))) == (0, 20, 0, 0)
    codes = codes_of(Path("index/1.3.0"))
    assert codes[catalogue[0]] == alone(catalogue[0], tiny_models[0])


def test_a_removed_line_leaves_the_index_and_may_come_back(order, catalogue):
    index_catalogue(order)
    write_list(catalogue[3:])
    assert counts(index_catalogue(change(order, version="1.1.0"))) == (0, 17, 0, 0)
    assert list(codes_of(Path("index/1.1.0"))) == catalogue[3:]
    write_list(catalogue)
    assert counts(index_catalogue(change(order, version="1.2.0"))) == (0, 20, 0, 0)


def test_a_file_that_went_away_is_rejected(order, catalogue):
    index_catalogue(order)
    Path(catalogue[3]).unlink()
    summary = index_catalogue(change(order, version="1.1.0"))
    assert counts(summary) == (0, 19, 0, 0)
    assert summary.rejected == [(catalogue[3], "No such file or directory")]


def test_relative_paths_of_another_folder_are_other_files(order, catalogue, monkeypatch):
    """The same line, the same size and time, and another picture."""
    root = order.index_root.absolute()
    for folder, seed in (("here", 100), ("there", 101)):
        draw(Path(folder, "a.jpg"), seed)
        Path(folder, "a.jpg").write_bytes(Path(folder, "a.jpg").read_bytes().ljust(8000, b"\0"))
        os.utime(Path(folder, "a.jpg"), (1e9, 1e9))
        Path(folder, "database_info.txt").write_text("a.jpg\n")
    for folder, version in (("here", "1.0.0"), ("there", "2.0.0")):
        with monkeypatch.context() as patched:
            patched.chdir(folder)
            summary = index_catalogue(change(order, index_root=root, version=version))
        assert counts(summary) == (1, 0, 0, 0)


def test_what_is_known_of_files_serves_every_model(order, tiny_models):
    """They are read, since no code is known, and need no second reading of their digests."""
    index_catalogue(order)
    other = change(order, model_path=tiny_models[1])
    assert counts(index_catalogue(change(other, version="2.0.0"))) == (20, 0, 0, 0)
    assert counts(index_catalogue(change(order, version="2.1.0"))) == (0, 20, 0, 0)
    assert counts(index_catalogue(change(other, version="2.2.0"))) == (0, 20, 0, 0)


# -- the same bytes under several paths ----------------------------------------------------------


def test_the_same_bytes_are_hashed_once_and_found_under_all_paths(order, catalogue, tiny_models):
    copies = [f"data/abc.com/copy_{i}.jpg" for i in range(30)]
    for i, copy in enumerate(copies):
        shutil.copy(catalogue[i % 3], copy)
        age(copy)
    paths = [*copies[:15], *catalogue, *copies[15:]]
    write_list(paths)
    assert counts(index_catalogue(order)) == (20, 0, 0, 30)
    codes = codes_of(Path("index/1.0.0"))
    assert list(codes) == paths
    assert codes == {path: alone(path, tiny_models[0]) for path in paths}


@pytest.mark.parametrize(
    "other",
    [
        lambda order, models: change(order, model_path=models[1]),
        lambda order, models: change(order, model_path=shifted(models[0])),
        lambda order, models: change(order, batch_size=5),
    ],
    ids=["other weights", "other preprocessing", "other batches"],
)
def test_codes_of_another_way_of_hashing_are_not_mixed_in(order, tiny_models, other):
    index_catalogue(order)
    assert counts(index_catalogue(change(other(order, tiny_models), version="2.0.0"))) == (
        20,
        0,
        0,
        0,
    )


def shifted(model_path: Path) -> Path:
    path = Path(shutil.copy(model_path, "shifted.pt"))
    sidecar = json.loads(model_path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(sidecar | {"mean": [0.4, 0.5, 0.6]}))
    return path


def test_a_run_that_was_stopped_goes_on(order):
    def stop(done, total):
        if done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_catalogue(order, stop)
    assert Index(order.index_root).versions() == []
    assert counts(index_catalogue(order)) == (7, 13, 0, 0)
    index_catalogue(change(order, index_root=Path("undisturbed")))
    assert codes_of(Path("index/1.0.0")) == codes_of(Path("undisturbed/1.0.0"))


def test_a_run_that_was_refused_is_not_lost(order, catalogue):
    Path(catalogue[0]).unlink()
    Path(catalogue[1]).unlink()
    with pytest.raises(IndexingError, match="2 of 20"):
        index_catalogue(order)
    assert counts(index_catalogue(change(order, max_rejected=0.1))) == (0, 18, 0, 0)


# -- refused -------------------------------------------------------------------------------------


@pytest.fixture
def no_hashing(monkeypatch):
    """What can be refused is refused before the work, which may take hours."""
    monkeypatch.setattr(pipeline, "hash_files", hashing_begins)


def hashing_begins(*_, **__):
    pytest.fail("hashing begins")


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"version": "1.5"}, VersionError, "MAJOR.MINOR.PATCH"),
        ({"database": Path("nothing.txt")}, CatalogueError, "nothing.txt is missing"),
        ({"model_path": Path("nothing.pt")}, ModelError, "nothing.pt: no such model"),
        ({"device": "cuda:99"}, ModelError, "--device cpu"),
        ({"image_size": 224}, IndexingError, "--image_size 224 is not what the model"),
        ({"index_root": Path("database_info.txt")}, VersionError, "cannot be written"),
    ],
)
def test_refused_before_anything_is_hashed(order, no_hashing, fields, error, words):
    with pytest.raises(error, match=words):
        index_catalogue(change(order, **fields))
    assert not Path("index").exists()


def test_an_empty_catalogue(order, no_hashing):
    write_list([])
    with pytest.raises(CatalogueError, match="holds no image path"):
        index_catalogue(order)
    assert not Path("index").exists()


def test_the_models_own_image_size_may_be_named(order):
    assert index_catalogue(change(order, image_size=8)).manifest.rows == 20


def test_a_version_that_exists(order, monkeypatch):
    index_catalogue(order)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "hash_files", hashing_begins)
        with pytest.raises(VersionError, match=r"1\.0\.0 exists .* --force"):
            index_catalogue(order)
    write_list(["data/abc.com/3_abc_com.jpg"])
    assert index_catalogue(change(order, replace=True)).manifest.rows == 1
    assert Index(order.index_root).versions() == ["1.0.0"]


def test_the_live_version(order):
    index_catalogue(order)
    Index(order.index_root).activate("1.0.0")
    with pytest.raises(VersionError, match="is live and is not replaced"):
        index_catalogue(change(order, replace=True))


def test_a_version_half_replaced_by_a_killed_run_is_back_before_anything_is_hashed(
    order, monkeypatch
):
    index_catalogue(order)
    Path("index/1.0.0").rename("index/.old-1.0.0")
    monkeypatch.setattr(pipeline, "hash_files", hashing_begins)
    with pytest.raises(VersionError, match=r"1\.0\.0 exists"):
        index_catalogue(order)
    assert verify(Path("index/1.0.0")) == []


def test_another_process_is_building(order, no_hashing):
    with (
        Index(order.index_root).writing(),
        pytest.raises(VersionError, match="another process is building"),
    ):
        index_catalogue(order)


def test_a_model_replaced_during_the_run_is_not_published(order, tiny_models):
    """Codes of the old and the file of the new would search nonsense."""
    path = Path(shutil.copy(tiny_models[0], "model.pt"))
    shutil.copy(tiny_models[0].with_suffix(".json"), "model.json")

    def replace(done, total):
        shutil.copy(tiny_models[1], "model.pt")
        shutil.copy(tiny_models[1].with_suffix(".json"), "model.json")

    with pytest.raises(VersionError, match="is not the model that the manifest names"):
        index_catalogue(change(order, model_path=path), replace)
    assert Index(order.index_root).versions() == []


# -- a code depends on its picture alone ---------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.jpg" for i in range(300)]
    for seed, path in enumerate(paths):
        draw(path, seed)
    return [str(path) for path in paths]


@pytest.mark.slow("hashes with the shipped model, batch by batch")
def test_a_code_does_not_depend_on_what_shares_its_batch(model, pictures):
    """With the shipped model: in other orders, as a part of others, and beside known ones."""

    def hashed(paths, workers=2, known=lambda digest: None):
        done = hash_files(paths, model, workers=workers, batch_size=32, known=known)
        return {one.path: one for one in done if one.computed}

    whole = {path: one.code for path, one in hashed(pictures).items()}
    assert len(set(whole.values())) > 30
    rng = random.Random(0)
    trials = [
        hashed(rng.sample(pictures, 300), workers=3),
        hashed(rng.sample(pictures, 45)),
        hashed(pictures[7:40]),
        hashed(pictures[:1]),
    ]
    digests = {one.digest for one in trials[0].values()}
    digests -= {one.digest for one in trials[1].values()}
    trials.append(hashed(pictures, known=lambda digest: bytes(8) if digest in digests else None))
    assert [len(trial) for trial in trials] == [300, 45, 33, 1, 45]
    for trial in trials:
        assert {path: one.code for path, one in trial.items()} == {
            path: whole[path] for path in trial
        }


def test_every_batch_has_the_same_shape(order, catalogue, monkeypatch):
    """Another shape takes another way through the network, and differs in the last digits."""
    shapes, outputs = set(), Model.outputs

    def spy(model, batch):
        if batch.any():  # not the black picture by which a model is tried
            shapes.add(batch.shape)
        return outputs(model, batch)

    monkeypatch.setattr(Model, "outputs", spy)
    write_list(catalogue[:7])
    index_catalogue(order)  # 4 and 3 of 4
    write_list(catalogue[5:10])
    index_catalogue(change(order, version="1.1.0"))  # 2 of 4 are known, and 1 of 4
    assert shapes == {(4, 8, 8, 3)}


def test_outputs_are_the_same_to_the_last_bit_wherever_a_picture_stands(model, pictures):
    """Bits of codes hide differences that are small, until one falls on zero."""
    pixels = np.stack([model.pixels(Path(path).read_bytes()) for path in pictures[:32]])
    wanted = model.outputs(pixels)
    rng = np.random.default_rng(0)
    for _ in range(3):
        places = rng.permutation(32)
        batch = np.zeros_like(pixels)
        batch[places[:20]] = pixels[:20]  # the rest empty, as in a batch that is not full
        np.testing.assert_array_equal(model.outputs(batch)[places[:20]], wanted[:20])
