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


def brute_force_by_similarity(codes, outputs, k):
    """The first k of all rows by (distance, -similarity, row), padded with -1, query by query."""
    signs = np.unpackbits(codes, axis=1).astype(np.int64) * 2 - 1
    rows, distances = np.full((len(outputs), k), -1), np.full((len(outputs), k), -1)
    for i, output in enumerate(outputs.astype(np.float64)):
        weights = np.round(output / np.abs(output).max() * 1024).astype(np.int64)
        distance = ((output > 0) != (signs > 0)).sum(axis=1)
        order = np.lexsort((np.arange(len(codes)), -(signs @ weights), distance))[:k]
        rows[i, : len(order)], distances[i, : len(order)] = order, distance[order]
    return rows, distances


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


def one_distance(rng, n):
    """All three bits away from code 0."""
    flips = np.zeros((n, 64), np.uint8)
    np.put_along_axis(flips, rng.random((n, 64)).argpartition(3, axis=1)[:, :3], 1, axis=1)
    return np.packbits(flips, axis=1)


def fine(rng, shape):
    return np.abs(rng.normal(size=shape)) + 1e-3


def coarse(rng, shape):
    """So few values that many rows are equally similar too."""
    return rng.integers(1, 4, shape)


def wide(rng, shape):
    """Some outputs weigh nothing beside others."""
    return 10.0 ** rng.integers(-30, 30, shape)


def outputs_for(rng, codes, count, magnitudes=fine):
    """Outputs of queries: a third with the signs of a row, a third near one, a third anything."""
    bits = np.unpackbits(uniform(rng, count), axis=1)
    bits[::3] = np.unpackbits(codes[rng.integers(0, len(codes), len(bits[::3]))], axis=1)
    near = np.unpackbits(codes[rng.integers(0, len(codes), len(bits[1::3]))], axis=1)
    bits[1::3] = near ^ (rng.random(near.shape) < 0.05)
    return ((bits * 2.0 - 1) * magnitudes(rng, bits.shape)).astype(np.float32)


def assert_exact_by_similarity(index, codes, outputs, k):
    rows, distances = index.search(np.packbits(outputs > 0, axis=1), k, outputs)
    assert (rows.dtype, rows.shape) == (np.int64, (len(outputs), k))
    assert (distances.dtype, distances.shape) == (np.int32, (len(outputs), k))
    wanted_rows, wanted_distances = brute_force_by_similarity(codes, outputs, k)
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


@settings(max_examples=120, deadline=None)
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


@pytest.mark.parametrize("make", [uniform, clustered, all_equal, one_distance])
def test_with_outputs_equals_brute_force_in_200_000_rows(publish_version, tmp_path, make):
    rng = np.random.default_rng(7)
    codes = make(rng, 200_000)
    index = open_version(publish_version(tmp_path, codes=codes))
    outputs = outputs_for(rng, codes, 4)
    outputs[-1] = -np.abs(outputs[-1])
    for k in (1, 10, 1000, 20_000):
        assert_exact_by_similarity(index, codes, outputs, k)


@pytest.mark.parametrize("ties", [3, 99, 100, 101, 102, 103, 5000])
def test_the_most_similar_of_many_equal_distances_wins_wherever_it_stands(
    publish_version, tmp_path, ties
):
    # All rows differ from the query in one bit; the last row in the one that weighs least.
    bits = np.zeros((ties, 64), np.uint8)
    bits[:-1, 5], bits[-1, 40] = 1, 1
    index = open_version(publish_version(tmp_path, codes=np.packbits(bits, axis=1)))
    outputs = np.full((1, 64), -1, np.float32)
    outputs[0, 40] = -0.5
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 2, outputs)
    assert (rows.tolist(), distances.tolist()) == ([[ties - 1, 0]], [[1, 1]])


def test_equal_similarities_come_in_row_order(publish_version, tmp_path):
    codes = np.packbits(np.eye(64, dtype=bool)[::-1], axis=1)
    index = open_version(publish_version(tmp_path, codes=codes))
    for outputs in (np.full((1, 64), -0.3, np.float32), np.zeros((1, 64), np.float32)):
        rows, _ = index.search(np.zeros((1, 8), np.uint8), 64, outputs)
        assert rows.tolist() == [list(range(64))]


def test_distance_comes_before_similarity(publish_version, tmp_path):
    # Row 0 differs in one bit that weighs much, row 1 in two that weigh nearly nothing.
    codes = np.array([[0b1000_0000] + [0] * 7, [0b0110_0000] + [0] * 7], np.uint8)
    index = open_version(publish_version(tmp_path, codes=codes))
    outputs = np.full((1, 64), -0.01, np.float32)
    outputs[0, 0] = -5
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 2, outputs)
    assert (rows.tolist(), distances.tolist()) == ([[0, 1]], [[1, 2]])


def test_with_outputs_a_query_is_answered_the_same_alone_in_a_batch_and_again(
    publish_version, tmp_path
):
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000)
    index = open_version(publish_version(tmp_path, codes=codes))
    outputs = outputs_for(rng, codes, 70, coarse)
    queries = np.packbits(outputs > 0, axis=1)
    together = index.search(queries, 25, outputs)
    for _ in range(2):
        for i in range(len(queries)):
            alone = index.search(queries[i : i + 1], 25, outputs[i : i + 1])
            for whole, one in zip(together, alone, strict=True):
                np.testing.assert_array_equal(whole[i], one[0])


def test_the_scale_of_the_outputs_does_not_matter(publish_version, tmp_path):
    rng = np.random.default_rng(11)
    codes = clustered(rng, 3000)
    index = open_version(publish_version(tmp_path, codes=codes))
    outputs = outputs_for(rng, codes, 6)
    queries = np.packbits(outputs > 0, axis=1)
    rows, _ = index.search(queries, 200, outputs)
    np.testing.assert_array_equal(index.search(queries, 200, outputs * 4)[0], rows)
    np.testing.assert_array_equal(index.search(queries, 200, outputs / 2**100)[0], rows)


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
    rows, distances = index.search(np.empty((0, 8), np.uint8), 3, np.empty((0, 64), np.float32))
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


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.ones((1, 64)), r"outputs float32 \[2, 64\] .*not float64 \[1, 64\]"),
        (np.ones((2, 64)), r"not float64"),
        (np.ones((2, 8), np.float32), r"not float32 \[2, 8\]"),
        (np.ones(64, np.float32), r"not float32 \[64\]"),
        (np.zeros((2, 64), np.float32), "not the signs"),  # codes below: a one in the last bit
        (np.ones((2, 64), np.float32), "not the signs"),
    ],
)
def test_outputs_that_are_not_the_codes_are_refused(publish_version, tmp_path, outputs, message):
    index = open_version(publish_version(tmp_path))
    with pytest.raises(ValueError, match=message):
        index.search(np.array([[0] * 7 + [1]] * 2, np.uint8), 1, outputs)


def test_outputs_that_are_no_numbers_weigh_nothing(publish_version, tmp_path):
    codes = np.packbits(np.eye(64, dtype=bool), axis=1)
    index = open_version(publish_version(tmp_path, codes=codes))
    outputs = np.full((1, 64), -1, np.float32)
    outputs[0, [7, 9]] = np.nan
    rows, _ = index.search(np.zeros((1, 8), np.uint8), 4, outputs)
    assert rows.tolist() == [[7, 9, 0, 1]]


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
    query, outputs = np.zeros((1, 8), np.uint8), np.zeros((1, 64), np.float32)
    assert index.search(query, 1)[0].shape == index.search(query, 1, outputs)[0].shape == (1, 1)


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
    outputs = outputs_for(rng, codes, 16)
    queries = np.packbits(outputs > 0, axis=1)
    wanted, _ = brute_force(codes, queries, 30)
    wanted_by_similarity, _ = brute_force_by_similarity(codes, outputs, 30)
    wrong = []

    def ask():
        for i in itertools.islice(itertools.cycle(range(16)), 64):
            rows, _ = index.search(queries[i : i + 1], 30)
            if (rows[0] != wanted[i]).any():
                wrong.append(i)
            rows, _ = index.search(queries[i : i + 1], 30, outputs[i : i + 1])
            if (rows[0] != wanted_by_similarity[i]).any():
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
