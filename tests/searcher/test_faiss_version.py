"""Search in the files of a version, against a look at every row; `test_opened` has what is the
same in Milvus."""

import dataclasses
import functools
import itertools
import json
import shutil
import tempfile
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import open_version, tables
from searcher.opened import Selection
from searcher.version import VersionError
from tests.brute_force import (
    all_equal,
    assert_exact,
    assert_exact_by_similarity,
    clustered,
    coarse,
    complements,
    distances_to,
    fine,
    one_distance,
    outputs_for,
    queries_for,
    ranking,
    uniform,
    wide,
)


@settings(max_examples=25)
@given(
    make=st.sampled_from([uniform, clustered, all_equal, complements]),
    n=st.integers(1, 40) | st.integers(1, 3000),
    share=st.floats(0, 1.2),
    count=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_brute_force(publish_version, make, n, share, count, seed):
    rng = np.random.default_rng(seed)
    codes = make(rng, n)
    with tempfile.TemporaryDirectory() as root:
        index = open_version(publish_version(Path(root), codes=codes))
        assert_exact(index, codes, queries_for(rng, codes, count), k=1 + int(share * n))


@settings(max_examples=40)
@given(
    make=st.sampled_from([uniform, clustered, all_equal, complements, one_distance]),
    magnitudes=st.sampled_from([fine, coarse, wide]),
    n=st.integers(1, 40) | st.integers(1, 3000) | st.integers(2000, 3000),
    k=st.integers(1, 20) | st.integers(1, 1000),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_with_outputs_equals_brute_force_by_similarity(
    publish_version, make, magnitudes, n, k, count, seed
):
    rng = np.random.default_rng(seed)
    codes = make(rng, n)
    outputs = outputs_for(rng, codes, count, magnitudes)
    outputs[-1] = -np.abs(outputs[-1])  # code 0: all rows of one_distance tie
    with tempfile.TemporaryDirectory() as root:
        index = open_version(publish_version(Path(root), codes=codes))
        assert_exact_by_similarity(index, codes, outputs, k)


# -- many rows: with tables ----------------------------------------------------------------------

MANY = 320_000


@dataclasses.dataclass(frozen=True)
class Large:
    """An index with tables, and what is in it: codes, and the shop and product of each row."""

    folder: Path
    codes: np.ndarray
    shops: np.ndarray
    products: np.ndarray

    @functools.cached_property
    def index(self):
        return open_version(self.folder)


@pytest.fixture(scope="module")
def large(publish_version, tmp_path_factory) -> Large:
    """A third uniform, two thirds clustered around 500 centres; five shops, of 1 to 250,000 rows,
    all mixed; about three pictures of a product, and one product of a shop with thousands."""
    rng = np.random.default_rng(12)
    codes = uniform(rng, MANY)
    centres = uniform(rng, 500)
    flips = np.packbits(rng.random((len(codes[::3]), 64)) < 0.06, axis=1)
    for start in (0, 1):
        own = codes[start::3]
        own[:] = centres[rng.integers(0, 500, len(own))] ^ flips[: len(own)]
    shops = rng.choice(5, MANY, p=[0.7, 0.2, 0.09, 0.0099, 0.0001])
    products = rng.integers(0, MANY // 3, MANY)
    products[rng.random(MANY) < 0.02] = 7
    paths = [
        f"data/shop{shop}/{product}_{row}.jpg"
        for row, (shop, product) in enumerate(zip(shops, products, strict=True))
    ]
    folder = publish_version(tmp_path_factory.mktemp("large"), codes=codes, paths=paths)
    return Large(folder, codes, shops, products * 5 + shops)


def test_many_rows_equal_brute_force(large):
    rng = np.random.default_rng(7)
    for k in (1, 10, 1000, 20_000):
        assert_exact(large.index, large.codes, queries_for(rng, large.codes, 4), k)
        assert_exact_by_similarity(large.index, large.codes, outputs_for(rng, large.codes, 3), k)
    # Both ways were gone, or this says nothing of one of them.
    assert {"nflip 1", "scan"} <= set(large.index.ways)


names = st.sampled_from(["shop0", "shop1", "shop2", "shop3", "shop4", "nobody"])


@settings(max_examples=60)
@given(
    count=st.integers(1, 20) | st.integers(1, 1000),
    max_distance=st.just(64) | st.integers(0, 64) | st.integers(5, 20),
    shops=st.none() | st.frozensets(names),
    exclude_shops=st.just(frozenset()) | st.frozensets(names),
    by_product=st.booleans(),
    with_outputs=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_selection_equals_brute_force(
    large, count, max_distance, shops, exclude_shops, by_product, with_outputs, seed
):
    outputs = outputs_for(np.random.default_rng(seed), large.codes, 3)[seed % 3]
    code = np.packbits(outputs > 0)
    selection = Selection(max_distance, shops, exclude_shops, by_product)
    if not with_outputs:
        outputs = None
    rows, distances = large.index.select(code, count, outputs, selection)
    assert (rows.dtype, distances.dtype) == (np.int64, np.int32)
    is_kept = np.array(
        [
            (shops is None or f"shop{shop}" in shops) and f"shop{shop}" not in exclude_shops
            for shop in range(5)
        ]
    )
    wanted, its = ranking(
        large.codes,
        code,
        count,
        outputs,
        max_distance,
        is_kept[large.shops],
        large.products if by_product else None,
    )
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(distances, its)


def test_a_shop_of_few_rows_is_answered_from_them_alone(large):
    before = large.index.ways.get("rows", 0)
    rows, _ = large.index.select(large.codes[0], 1000, None, Selection(shops=frozenset(["shop4"])))
    assert sorted(rows) == np.flatnonzero(large.shops == 4).tolist()
    assert large.index.ways["rows"] == before + 1


def test_threads_share_the_tables(large):
    queries = queries_for(np.random.default_rng(9), large.codes, 6)
    wanted = [ranking(large.codes, query, 10)[0] for query in queries]
    wrong = []

    def ask():
        for i in itertools.islice(itertools.cycle(range(6)), 18):
            rows, _ = large.index.search(queries[i : i + 1], 10)
            if (rows[0] != wanted[i]).any():
                wrong.append(i)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_index_takes_68_bytes_a_row_beside_the_paths(large):
    """Of more than half a million rows 60: the tables are three then, and not four."""
    sizes = {path.name: path.stat().st_size for path in large.folder.iterdir()}
    apart = ("paths.bin", "model.pt", "model.json", "manifest.json", "rejected.csv")
    fixed = 4 * 4 * 2**16  # where the rows of each value begin, whatever the rows
    own = sum(size for name, size in sizes.items() if name not in apart)
    assert fixed < sizes["tables.starts.npy"] < fixed + 1000
    assert 68 <= (own - fixed) / MANY < 69


# -- approximate ---------------------------------------------------------------------------------


@pytest.mark.slow("trains an approximate index of many codes")
@pytest.mark.parametrize("mode", ["unnecessary fast", "ivf"])
def test_an_approximate_index_says_what_its_recall_is(publish_version, tmp_path, mode):
    codes = uniform(np.random.default_rng(13), 300_000)
    index = open_version(publish_version(tmp_path, codes=codes, paths=["p"] * 300_000, mode=mode))
    assert index.manifest.index_mode == "unnecessary fast"
    queries = codes[np.linspace(0, len(codes) - 1, 200).astype(int)]
    rows, distances = index.search(queries, 10)
    found = []
    for query, its, own in zip(queries, distances, rows, strict=True):
        all_distances = distances_to(query, codes)
        np.testing.assert_array_equal(its, all_distances[own])
        assert len(set(own)) == 10
        found.append((its <= np.partition(all_distances, 9)[9]).mean())
    assert index.manifest.search["recall"] == pytest.approx(np.mean(found))
    assert 0.9 <= np.mean(found) < 1  # not exact, or there is nothing to measure


def test_an_approximate_index_of_few_rows_is_exact(publish_version, tmp_path):
    codes = uniform(np.random.default_rng(14), 3000)
    index = open_version(publish_version(tmp_path, codes=codes, mode="unnecessary fast"))
    assert index.manifest.search["recall"] == 1
    assert_exact(index, codes, queries_for(np.random.default_rng(1), codes, 20), 100)


def test_what_no_lookup_finds_well_enough_is_scanned(publish_version, tmp_path, monkeypatch):
    """So many rows in few values of each part, and so few steps, that the nearest are missed."""
    monkeypatch.setattr(tables, "FEWEST_ROWS", 6000)
    monkeypatch.setattr(tables, "LARGEST_FLIPS", 1)
    narrow = np.array([255, 15, 0, 255, 15, 0, 255, 15], np.uint8)
    codes = uniform(np.random.default_rng(15), 6000) & narrow
    folder = publish_version(tmp_path, codes=codes, mode="unnecessary fast")
    index = open_version(folder)
    assert index.manifest.search["recall"] == 1
    assert not (folder / "tables.rows.npy").exists()
    assert_exact(index, codes, queries_for(np.random.default_rng(1), codes, 20), 10)


def mapped(folder):
    """Names of a folder's files that are in this process's memory, and how much of each was read:
    name -> kB."""
    read, name = {}, None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.split()[0].endswith(":"):
            if name and line.startswith("Rss:"):
                read[name] = read.get(name, 0) + int(line.split()[1])
            continue
        path = line.split(maxsplit=5)[5:]
        name = Path(path[0]).name if path and path[0].startswith(f"{folder}/") else None
    return read


def test_everything_large_is_mapped_and_nothing_large_read(large, tmp_path):
    folder = shutil.copytree(large.folder, tmp_path / "1.0.0")
    index = open_version(folder)
    read = mapped(folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    needed = {name for name in sizes if not name.startswith(("model", "manifest", "rejected"))}
    assert set(read) == needed - {"shops.json"}  # which is small
    large_files = [name for name in read if sizes[name] > 1_000_000]
    assert len(large_files) >= 9
    for name in large_files:  # its first and last pages, and what the kernel maps around them
        assert read[name] <= 300, name
    # The files can go while the version is open: what was opened goes on answering.
    shutil.rmtree(folder)
    query, outputs = large.codes[:1], np.where(np.unpackbits(large.codes[:1], axis=1), 1.0, -1.0)
    assert index.search(query, 3)[1][0, 0] == 0
    assert index.search(query, 3, outputs.astype(np.float32))[1][0, 0] == 0
    shop = Selection(shops=frozenset([f"shop{large.shops[0]}"]), by_product=True)
    assert len(index.select(query[0], 3, None, shop)[0]) == 3
    assert index.row(index.path(5)) == 5


def test_index_of_another_length_is_refused(publish_version, tmp_path):
    """Same sizes, other number of rows: row i would be another picture."""
    folder = publish_version(tmp_path, codes=uniform(np.random.default_rng(1), 9))
    data = bytearray((folder / "index.bin").read_bytes())
    at = data.index((9).to_bytes(8, "little"))
    data[at : at + 8] = (8).to_bytes(8, "little")
    (folder / "index.bin").write_bytes(data)
    with pytest.raises(VersionError, match=r"1\.0\.0"):
        open_version(folder)


@pytest.mark.parametrize(
    "name",
    [
        "index.bin",
        "paths.bin",
        "paths.offsets.npy",
        "manifest.json",
        "paths.hashes.npy",
        "paths.rows.npy",
        "shops.json",
        "shops.npy",
        "shops.rows.npy",
        "shops.starts.npy",
        "products.npy",
    ],
)
def test_what_cannot_be_opened_is_refused(publish_version, tmp_path, name):
    folder = publish_version(tmp_path)
    size = (folder / name).stat().st_size
    for damage in (b"", b"\xff" * size, None):
        (folder / name).unlink()
        if damage is not None:
            (folder / name).write_bytes(damage)
        if name in ("paths.bin", "shops.json") and damage:
            continue  # any bytes are paths, names are read later: only the checksum knows
        with pytest.raises(VersionError, match=r"1\.0\.0"):
            open_version(folder)


@pytest.mark.parametrize("name", ["tables.starts.npy", "tables.rows.npy"])
def test_tables_that_cannot_be_opened_are_refused(large, tmp_path, name):
    folder = shutil.copytree(large.folder, tmp_path / "1.0.0")
    size = (folder / name).stat().st_size
    other = np.load(folder / name)[:-1]
    for damage in (b"", b"\xff" * size, None):
        (folder / name).unlink()
        if damage is not None:
            (folder / name).write_bytes(damage)
        with pytest.raises(VersionError, match=r"1\.0\.0"):
            open_version(folder)
    # Shorter by one, and the manifest agrees.
    np.save(folder / name, other)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["bytes"] = (folder / name).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VersionError, match=r"tables\.starts\.npy and .* do not fit the index"):
        open_version(folder)


def test_a_folder_that_is_no_version(tmp_path):
    with pytest.raises(VersionError, match=r"nothing is not a version .*manifest\.json"):
        open_version(tmp_path / "nothing")


def test_plain_faiss_reads_the_index(publish_version, tmp_path):
    codes = uniform(np.random.default_rng(2), 30)
    index = faiss.read_index_binary(str(publish_version(tmp_path, codes=codes) / "index.bin"))
    assert (index.ntotal, index.d) == (30, 64)
    np.testing.assert_array_equal(faiss.vector_to_array(index.xb).reshape(-1, 8), codes)
