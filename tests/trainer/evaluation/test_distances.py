"""Distances between what stands for pictures."""

import numpy as np
import pytest

from hashing.codes import hamming, pack, similarity
from trainer.evaluation.distances import by_code, by_cosine, by_euclidean, by_hamming


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
    order = np.argsort(by_code(queries, gallery)(slice(0, 20)), axis=1, kind="stable")
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
    keys = by_code(query, pack(gallery))(slice(0, 1))[0]
    assert keys[0] < keys[1]
