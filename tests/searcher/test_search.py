"""Search in an opened version, against a brute force that shares nothing with it."""

import itertools
import shutil
import tempfile
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import open_version
from searcher.versions import VersionError


def brute_force(codes, queries, k):
    """The first k of all rows by (distance, row), padded with -1: what search must return."""
    distances = np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(2, dtype=np.int64)
    rows = np.broadcast_to(np.arange(len(codes)), distances.shape)
    order = np.lexsort((rows, distances))[:, :k]
    nearest = np.take_along_axis(distances, order, 1)
    missing = ((0, 0), (0, k - order.shape[1]))
    return np.pad(order, missing, constant_values=-1), np.pad(nearest, missing, constant_values=-1)


def uniform(rng, n):
    return rng.integers(0, 256, (n, 8), np.uint8)


def clustered(rng, n):
    """Few centres, few flipped bits: most distances are shared by many rows."""
    flips = np.packbits(rng.random((n, 64)) < 0.03, axis=1)
    return uniform(rng, 5)[rng.integers(0, 5, n)] ^ flips


def all_equal(rng, n):
    return np.repeat(uniform(rng, 1), n, axis=0)


def complements(rng, n):
    """Distances of 0 and 64, both ends of the scale."""
    return all_equal(rng, n) ^ rng.choice(np.array([0, 255], np.uint8), (n, 1))


def assert_exact(index, codes, queries, k):
    rows, distances = index.search(queries, k)
    assert (rows.dtype, rows.shape) == (np.int64, (len(queries), k))
    assert (distances.dtype, distances.shape) == (np.int32, (len(queries), k))
    wanted_rows, wanted_distances = brute_force(codes, queries, k)
    np.testing.assert_array_equal(distances, wanted_distances)
    np.testing.assert_array_equal(rows, wanted_rows)


def queries_for(rng, codes, count):
    """Half of them rows of the index, half anything."""
    queries = uniform(rng, count)
    queries[::2] = codes[rng.integers(0, len(codes), len(queries[::2]))]
    return queries


@settings(max_examples=80, deadline=None)
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


@pytest.mark.parametrize("make", [uniform, clustered, all_equal])
def test_equals_brute_force_in_200_000_rows(publish_version, tmp_path, make):
    rng = np.random.default_rng(7)
    codes = make(rng, 200_000)
    index = open_version(publish_version(tmp_path, codes=codes))
    queries = queries_for(rng, codes, 3)
    for k in (1, 10, 1000, 20_000):
        assert_exact(index, codes, queries, k)


def test_more_than_there_are_gives_all_rows(publish_version, tmp_path):
    codes = np.array([[255] * 8, [0] * 8, [1] + [0] * 7], np.uint8)
    index = open_version(publish_version(tmp_path, codes=codes))
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 5)
    assert rows.tolist() == [[1, 2, 0, -1, -1]]
    assert distances.tolist() == [[0, 1, 64, -1, -1]]


def test_equal_distances_come_in_row_order(publish_version, tmp_path):
    # One bit away each, whichever bit it is; the last row is the nearest.
    codes = np.packbits(np.vstack([np.eye(64, dtype=bool)[::-1], np.zeros((1, 64), bool)]), axis=1)
    index = open_version(publish_version(tmp_path, codes=codes))
    rows, _ = index.search(np.zeros((1, 8), np.uint8), 65)
    assert rows.tolist() == [[64, *range(64)]]


def test_a_query_is_answered_the_same_alone_and_in_a_batch(publish_version, tmp_path):
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000)
    index = open_version(publish_version(tmp_path, codes=codes))
    queries = queries_for(rng, codes, 70)
    together = index.search(queries, 25)
    for i in range(len(queries)):
        for whole, alone in zip(together, index.search(queries[i : i + 1], 25), strict=True):
            np.testing.assert_array_equal(whole[i], alone[0])


def test_no_queries_no_answers(publish_version, tmp_path):
    index = open_version(publish_version(tmp_path))
    rows, distances = index.search(np.empty((0, 8), np.uint8), 3)
    assert rows.shape == distances.shape == (0, 3)


def test_queries_need_not_lie_together_in_memory(publish_version, tmp_path):
    rng = np.random.default_rng(4)
    codes = uniform(rng, 100)
    index = open_version(publish_version(tmp_path, codes=codes))
    assert_exact(index, codes, np.repeat(uniform(rng, 4), 2, axis=1)[:, ::2], 10)


@pytest.mark.parametrize(
    ("codes", "k"),
    [
        (np.zeros((1, 8), np.uint8), 0),
        (np.zeros(8, np.uint8), 1),
        (np.zeros((1, 64), np.uint8), 1),
        (np.zeros((1, 8), np.int64), 1),
    ],
)
def test_what_is_no_query_is_refused(publish_version, tmp_path, codes, k):
    index = open_version(publish_version(tmp_path))
    with pytest.raises(ValueError, match=r"codes uint8 \[n, 8\] and k of at least 1"):
        index.search(codes, k)


def test_rows_have_their_path_and_code(publish_version, tmp_path):
    codes = uniform(np.random.default_rng(5), 4)
    paths = ["a.jpg", "data/ý/日本.jpg", "\udcff\udcfe.jpg", "two\nlines.jpg"]
    index = open_version(publish_version(tmp_path, codes=codes, paths=paths))
    assert [index.path(row) for row in range(4)] == paths
    assert [index.code(row).tolist() for row in np.arange(4)] == codes.tolist()


def test_is_mapped_not_read(publish_version, tmp_path):
    folder = publish_version(tmp_path, codes=uniform(np.random.default_rng(6), 100_000))
    index = open_version(folder)
    mapped = Path("/proc/self/maps").read_text()
    for name in ("index.bin", "paths.bin", "paths.offsets.npy"):
        assert str(folder / name) in mapped
    # The files can go while the version is open: what was opened goes on answering.
    shutil.rmtree(folder)
    assert index.search(np.zeros((1, 8), np.uint8), 1)[0].shape == (1, 1)


def test_two_versions_open_at_once(publish_version, tmp_path):
    rng = np.random.default_rng(8)
    one, two = uniform(rng, 50), uniform(rng, 80)
    opened = [
        open_version(publish_version(tmp_path, "1.0.0", codes=one)),
        open_version(publish_version(tmp_path, "2.0.0", codes=two)),
    ]
    queries = uniform(rng, 5)
    for _ in range(2):
        assert_exact(opened[0], one, queries, 60)
        assert_exact(opened[1], two, queries, 60)
    assert [version.manifest.version for version in opened] == ["1.0.0", "2.0.0"]


def test_threads_share_a_version(publish_version, tmp_path):
    rng = np.random.default_rng(9)
    codes = clustered(rng, 20_000)
    index = open_version(publish_version(tmp_path, codes=codes))
    queries = queries_for(rng, codes, 16)
    wanted, _ = brute_force(codes, queries, 30)
    wrong = []

    def ask():
        for i in itertools.islice(itertools.cycle(range(16)), 64):
            rows, _ = index.search(queries[i : i + 1], 30)
            if (rows[0] != wanted[i]).any():
                wrong.append(i)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_index_of_another_length_is_refused(publish_version, tmp_path):
    """Same sizes, other number of rows: row i would be another picture."""
    folder = publish_version(tmp_path, codes=uniform(np.random.default_rng(1), 9))
    data = bytearray((folder / "index.bin").read_bytes())
    at = data.index((9).to_bytes(8, "little"))
    data[at : at + 8] = (8).to_bytes(8, "little")
    (folder / "index.bin").write_bytes(data)
    with pytest.raises(VersionError, match=r"1\.0\.0"):
        open_version(folder)


@pytest.mark.parametrize("name", ["index.bin", "paths.bin", "paths.offsets.npy", "manifest.json"])
def test_what_cannot_be_opened_is_refused(publish_version, tmp_path, name):
    folder = publish_version(tmp_path)
    size = (folder / name).stat().st_size
    for damage in (b"", b"\xff" * size, None):
        (folder / name).unlink()
        if damage is not None:
            (folder / name).write_bytes(damage)
        if name == "paths.bin" and damage:
            continue  # any bytes are paths: only the checksum knows
        with pytest.raises(VersionError, match=r"1\.0\.0"):
            open_version(folder)


def test_a_folder_that_is_no_version(tmp_path):
    with pytest.raises(VersionError, match=r"nothing is not a version .*manifest\.json"):
        open_version(tmp_path / "nothing")


def test_plain_faiss_reads_the_index(publish_version, tmp_path):
    codes = uniform(np.random.default_rng(2), 30)
    index = faiss.read_index_binary(str(publish_version(tmp_path, codes=codes) / "index.bin"))
    assert (index.ntotal, index.d) == (30, 64)
    np.testing.assert_array_equal(faiss.vector_to_array(index.xb).reshape(-1, 8), codes)
