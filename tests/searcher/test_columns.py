"""Paths, shops and products of rows: what is written, and what is read of it again."""

import dataclasses
import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import columns
from searcher.columns import Columns
from searcher.paths import Paths
from searcher.publish import Contents, holds
from searcher.version import VersionError, read_manifest, verify


@pytest.fixture(scope="session")
def opened(tmp_path_factory):
    """opened(paths) -> their columns, written to a folder and opened."""

    def open_columns(paths) -> Columns:
        folder = tmp_path_factory.mktemp("columns")
        paths = Paths.of(paths)
        arrays, shops = columns.build(paths)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        (folder / "paths.bin").write_bytes(paths.text)
        (folder / "shops.json").write_bytes(columns.shops_json(shops))
        return Columns(folder)

    return open_columns


def shop_names(columns):
    """The shop of each row, by name."""
    names = list(columns.shops)
    return [names[number] for number in columns.shop_of(np.arange(len(columns.paths)))]


def number(products):
    """Equal things get equal numbers, in the order in which they first appear."""
    return [list(dict.fromkeys(products)).index(product) for product in products]


# -- shops and products --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shop"),
    [
        ("data/abc.com/69_abc_com.jpg", "abc.com"),
        ("/abc.com/69.jpg", "abc.com"),
        ("abc.com/69.jpg", "abc.com"),
        ("s3://bucket/69.jpg", "bucket"),
        ("data/a_b/69_a_b.jpg", "a_b"),
        ("data/two\nlines/69.jpg", "two\nlines"),
        ("data/日本/69.jpg", "日本"),
        ("data/\udcff\udcfe/69.jpg", "\udcff\udcfe"),
        ("data/abc.com//69.jpg", "abc.com"),
        ("data//abc.com///69.jpg", "abc.com"),
        ("data/abc.com/", "abc.com"),
        ("data/ /69.jpg", " "),
        ("69.jpg", ""),
        ("/69.jpg", ""),
        ("//69.jpg", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_shop_is_the_folder_a_picture_lies_in(opened, path, shop):
    # Between others, whose slashes must not be taken for its own.
    columns = opened(["x/before/1.jpg", path, "x/after/2_x.jpg"])
    assert shop_names(columns) == ["before", shop, "after"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("data/abc.com/69_abc_com.jpg", "data/abc.com/69_front_view.png", True),
        ("data/abc.com/69_abc_com.jpg", "elsewhere/abc.com/69_abc_com.jpg", True),
        ("data/abc.com/69_abc_com.jpg", "data//abc.com//69_abc_com.jpg", True),
        ("data/abc.com/69_abc_com.jpg", "data/xyz.com/69_abc_com.jpg", False),
        ("data/abc.com/69_abc_com.jpg", "data/abc.com/690_abc_com.jpg", False),
        ("data/abc.com/69.jpg", "data/abc.com/69.png", False),  # no `_`: the whole name
        ("data/abc.com/69.jpg", "data/abc.com/69.jpg_small", True),
        ("data/a_b/1_x.jpg", "data/a_b/2_x.jpg", False),  # the `_` of a folder is none of a name
        ("a/b_1.jpg", "a/b_2.jpg", True),
        ("69_a.jpg", "69_b.jpg", True),
        ("69_a.jpg", "shop/69_a.jpg", False),
        ("shop/_a.jpg", "shop/_b.jpg", True),
        ("shop/_a.jpg", "shop/", True),
        ("a/b/_1", "ab/_1", False),
        ("s/\udcff_1.jpg", "s/\udcff_2.jpg", True),
        ("s/\udcff_1.jpg", "s/\udcfe_1.jpg", False),
        ("s/two\nlines_1.jpg", "s/two\nlines_2.jpg", True),
    ],
)
def test_the_product_is_the_name_to_its_first_underscore_in_its_shop(opened, one, other, same):
    first, between, second = opened([one, "q/q_q", other]).product_of(np.arange(3))
    assert (first == second) == same
    assert between not in (first, second)


def test_shops_know_their_rows(opened):
    columns = opened([f"data/{shop}/{i}.jpg" for i, shop in enumerate("abacab")])
    assert list(columns.shops) == ["a", "b", "c"]  # as they first appear
    assert [columns.rows_of(shop).tolist() for shop in range(3)] == [[0, 2, 4], [1, 5], [3]]
    assert columns.rows_in.tolist() == [3, 2, 1]


names = st.text(st.sampled_from("ab_/\n\udcff日"), max_size=6)


@settings(max_examples=150)
@given(paths=st.lists(names, min_size=1, max_size=40))
def test_any_paths(opened, paths):
    columns = opened(paths)
    assert columns.problems(len(paths)) == []
    assert [columns.path(row) for row in range(len(paths))] == paths
    assert [columns.row(path) for path in paths] == [paths.index(path) for path in paths]
    parts = [
        [part for part in path.split("/")[:-1] if part][-1:] + [path.split("/")[-1]]
        for path in paths
    ]
    shops = [part[0] if len(part) == 2 else "" for part in parts]
    assert shop_names(columns) == shops
    products = [(shop, part[-1].split("_")[0]) for shop, part in zip(shops, parts, strict=True)]
    assert columns.product_of(np.arange(len(paths))).tolist() == number(products)
    for shop, own in columns.shops.items():
        assert columns.rows_of(own).tolist() == [i for i, name in enumerate(shops) if name == shop]


# -- rows of paths -------------------------------------------------------------------------------

COLLIDING = ("data/abc.com/366713_abc_com.jpg", "data/x/1448_a.jpg")


def test_products_whose_keys_meet_are_told_apart_by_their_checks():
    keys, checks = np.array([5, 9, 5, 9, 5]), np.array([1, 1, 2, 1, 1], np.uint32)
    assert columns._numbered(keys, checks).tolist() == [0, 1, 2, 1, 0]


def test_paths_of_the_same_hash_have_rows_of_their_own(opened):
    assert len({zlib.crc32(path.encode()) for path in COLLIDING}) == 1
    one, other = COLLIDING
    assert [opened([one, "x", other]).row(path) for path in (one, other)] == [0, 2]
    assert [opened([other, "x", one]).row(path) for path in (one, other)] == [2, 0]
    assert opened([one, "x"]).row(other) is None
    assert [opened([one, other, one]).row(path) for path in (one, other)] == [0, 1]


def test_the_first_of_several_rows_with_one_path(opened):
    columns = opened(["b", "a", "b", "a", "b"])
    assert (columns.row("a"), columns.row("b")) == (1, 0)


@pytest.mark.parametrize("path", ["", "A.jpg", "a.jp", "a.jpg ", "a.jpgb.jpg", "\ud800", "\udcff"])
def test_a_path_that_no_row_has(opened, path):
    assert opened(["a.jpg", "b.jpg"]).row(path) is None


def test_every_row_of_many(opened):
    paths = [f"data/shop{i % 7}.com/{i}_x.jpg" for i in range(100_000)]
    columns = opened(paths)
    assert all(columns.row(paths[row]) == row for row in range(0, 100_000, 37))


# -- files ---------------------------------------------------------------------------------------


def test_a_row_takes_28_bytes_beside_its_path(opened):
    """The code takes 8 and the tables 24 and 34 MB, or of at most half a million rows 32:
    of an index of 10 million rows less than 64 bytes a row."""
    arrays, _ = columns.build(Paths.of([f"data/abc.com/{i}.jpg" for i in range(1000)]))
    own = sum(array.nbytes for name, array in arrays.items() if name != "shops.starts")
    assert own == 1000 * 28 + 8  # offsets of 8, five numbers of 4; one offset more than rows


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("products.npy", lambda old: old[:-1], "products.npy does not have 3 rows"),
        ("paths.hashes.npy", lambda old: old.astype(np.int64), "paths.hashes.npy holds int64 [3]"),
        ("shops.npy", lambda old: old[None], "shops.npy holds uint32 [1, 3]"),
        ("paths.offsets.npy", lambda old: old + np.uint64(1), "paths.offsets.npy does not fit"),
        ("shops.starts.npy", lambda old: old[:1], "shops.starts.npy does not fit the rows"),
        ("shops.starts.npy", lambda old: old + np.uint64(1), "shops.starts.npy does not fit"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path, name, change, words):
    paths = Paths.of(["s/1.jpg", "s/2.jpg", "t/3.jpg"])
    arrays, shops = columns.build(paths)
    for column, array in arrays.items():
        np.save(tmp_path / f"{column}.npy", array)
    (tmp_path / "paths.bin").write_bytes(paths.text)
    (tmp_path / "shops.json").write_bytes(columns.shops_json(shops))
    assert Columns(tmp_path).problems(3) == []
    np.save(tmp_path / name, change(np.load(tmp_path / name)))
    (problem,) = Columns(tmp_path).problems(3)
    assert problem.startswith(words)


def test_the_names_of_shops_are_json_whatever_they_are():
    names = ["日本", "\udcff", "", 'a"\n']
    assert json.loads(columns.shops_json(names)) == names
    assert os.fsencode(json.loads(columns.shops_json(names))[1]) == b"\xff"


# The longer code


@pytest.fixture
def fine_codes() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32), np.uint8)


def test_longer_codes_are_a_column_that_the_manifest_names(publish_version, tmp_path, fine_codes):
    folder = publish_version(tmp_path, fine_codes=fine_codes)
    assert isinstance(Columns(folder).fine_codes, np.memmap)
    assert np.array_equal(Columns(folder).fine_codes, fine_codes)
    assert read_manifest(folder).files["fine_codes.npy"]["bytes"] == 128 + 3 * 32
    assert verify(folder) == []


def test_longer_codes_may_lie_in_memory_column_by_column(publish_version, tmp_path, fine_codes):
    folder = publish_version(tmp_path, fine_codes=np.asfortranarray(fine_codes))
    assert np.array_equal(Columns(folder).fine_codes, fine_codes)


def test_a_version_without_them_has_no_such_column(publish_version, tmp_path):
    folder = publish_version(tmp_path)
    assert Columns(folder).fine_codes is None and not (folder / "fine_codes.npy").exists()


def test_as_many_longer_codes_as_codes(publish_version, tmp_path, fine_codes):
    with pytest.raises(VersionError, match="2 longer codes for 3 codes"):
        publish_version(tmp_path, fine_codes=fine_codes[:2])


def test_a_damaged_longer_code_is_found(publish_version, tmp_path, fine_codes):
    file = publish_version(tmp_path, fine_codes=fine_codes) / "fine_codes.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "fine_codes.npy has another checksum" in verify(file.parent)[0]


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 31), np.uint8), np.zeros((4, 32), np.uint8), np.zeros((3, 32), np.int8)]
)
def test_longer_codes_that_do_not_fit_are_named(publish_version, tmp_path, fine_codes, wrong):
    folder = publish_version(tmp_path, fine_codes=fine_codes)
    np.save(folder / "fine_codes.npy", wrong)
    assert any("fine_codes.npy holds" in problem for problem in Columns(folder).problems(3))


@pytest.mark.parametrize("wrong", [np.zeros(4, np.uint64), np.zeros(3, np.int64)])
def test_digests_are_a_column_of_numbers(publish_version, tmp_path, wrong):
    digests = np.array([1, 2**64 - 1, 1], np.uint64)
    folder = publish_version(tmp_path, digests=digests)
    assert np.array_equal(Columns(folder).digests, digests) and verify(folder) == []
    np.save(folder / "digests.npy", wrong)
    assert any("digests.npy holds" in problem for problem in Columns(folder).problems(3))


def test_a_version_holds_only_its_own_longer_codes(publish_version, tmp_path, fine_codes):
    folder = publish_version(tmp_path, model=False, fine_codes=fine_codes)
    contents = Contents(
        codes=np.arange(24, dtype=np.uint8).reshape(3, 8),
        paths=[f"data/abc.com/{i}_abc_com.jpg" for i in range(3)],
        rejected=[("x", "y")],
        model=None,
        model_name="",
        model_sha256="",
        catalogue={},
        fine_codes=fine_codes,
    )
    assert holds(folder, contents)
    assert not holds(folder, dataclasses.replace(contents, fine_codes=fine_codes[::-1]))
    assert not holds(folder, dataclasses.replace(contents, fine_codes=None))
