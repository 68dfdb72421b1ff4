"""Distances between what stands for pictures."""

import numpy as np
import pytest

from hashing.codes import fine_similarity, hamming, pack, similarity, split
from searcher import order as searching
from trainer.evaluation.distances import (
    by_cosine,
    by_euclidean,
    by_hamming,
    by_rank,
)


def test_the_three_kinds_of_distance_by_hand():
    codes = np.array([[0] * 8, [255] + [0] * 7, [255] * 8], np.uint8)
    assert by_hamming(codes, codes)(slice(1, 3)).tolist() == [[8, 0, 56], [64, 56, 0]]
    queries, gallery = np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [4.0, -3.0], [-3.0, -4.0]])
    assert by_cosine(queries, gallery)(slice(0, 1))[0] == pytest.approx([0, 1, 2])
    squares = by_euclidean(queries, gallery)(slice(0, 1))[0] + 25
    assert squares == pytest.approx([25, 50, 100])


def test_codes_are_ordered_by_distance_then_similarity_then_row():
    random = np.random.default_rng(0)
    # Few bits differ, so that distances are often equal, and some rows are the same.
    base = random.normal(size=64)
    queries = np.where(random.random((20, 64)) < 0.03, -base, base) * random.random((20, 64))
    gallery = pack(np.where(random.random((300, 64)) < 0.05, -base, base))
    order = np.argsort(by_rank(queries, gallery)(slice(0, 20)), axis=1, kind="stable")
    for query, rows in zip(queries, order, strict=True):
        distances = hamming(pack(query[None])[0], gallery)
        wanted = np.lexsort((np.arange(300), -similarity(query, gallery), distances))
        assert rows.tolist() == wanted.tolist()
        assert rows.tolist() != np.lexsort((np.arange(300), distances)).tolist()


def test_no_similarity_outweighs_a_bit():
    query = np.ones((1, 64)) * 1e-3
    query[0, 0] = 1.0
    gallery = np.ones((2, 64))
    gallery[0, 0] = -1  # one bit away, and the one with all the weight
    gallery[1, 1:3] = -1  # two bits away, of next to no weight
    keys = by_rank(query, pack(gallery))(slice(0, 1))[0]
    assert keys[0] < keys[1]


def some_with_longer_codes() -> tuple[np.ndarray, np.ndarray]:
    """Outputs float [20, 320] of queries and packed uint8 [300, 40] of a gallery, all near to one
    another."""
    random = np.random.default_rng(1)
    base = random.normal(size=320)
    queries = np.where(random.random((20, 320)) < 0.1, -base, base) * random.random((20, 320))
    return queries, pack(np.where(random.random((300, 320)) < 0.1, -base, base))


def test_ties_are_ordered_by_the_longer_code_where_there_is_one():
    queries, gallery = some_with_longer_codes()
    codes, fine = split(gallery)
    order = np.argsort(by_rank(queries, gallery)(slice(0, 20)), axis=1, kind="stable")
    for query, rows in zip(queries, order, strict=True):
        distances = hamming(pack(query[None, :64])[0], codes)
        wanted = np.lexsort((np.arange(300), -similarity(query[64:], fine), distances))
        assert rows.tolist() == wanted.tolist()


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_rank_fine_orders_the_nearest_by_both_codes_and_leaves_the_rest(weight, monkeypatch):
    monkeypatch.setattr(searching, "WINDOW", 40)
    queries, gallery = some_with_longer_codes()
    codes, fine = split(gallery)
    by_distance, by_fine = (
        np.argsort(between(slice(5, 20)), axis=1, kind="stable")
        for between in (
            by_rank(queries, gallery),
            by_rank(queries, gallery, weight),
        )
    )
    assert np.array_equal(by_distance[:, 40:], by_fine[:, 40:])
    for query, before, after in zip(queries[5:], by_distance[:, :40], by_fine[:, :40], strict=True):
        assert sorted(before) == sorted(after) and before.tolist() != after.tolist()
        similarities = fine_similarity(query, codes[after], fine[after], weight)
        assert (np.diff(similarities) <= 0).all()


def test_a_gallery_smaller_than_the_window_is_ordered_whole():
    queries, gallery = some_with_longer_codes()
    codes, fine = split(gallery)
    order = np.argsort(by_rank(queries, gallery, 1.0)(slice(0, 1))[0], kind="stable")
    similarities = fine_similarity(queries[0], codes[order], fine[order], 1.0)
    assert (np.diff(similarities) <= 0).all()
