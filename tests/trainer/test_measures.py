"""The measures, on rankings and codes small enough to work out by hand."""

import numpy as np
import pytest

from hashing.codes import pack
from trainer.measures import (
    RECALL_LEVELS,
    bit_measures,
    bucket_measures,
    distance_histogram,
    found,
    measures_of,
    precision_at_recall,
    retrieval,
)
from trainer.views import by_cosine, by_euclidean, by_hamming


def fixed(*rows):
    """Distances that are given, a row per query."""
    return lambda queries: np.array(rows)[queries]


def test_one_ranking_by_hand():
    # Relevant at ranks 1, 3, 4 and 6 of 8; the first three are looked at.
    relevant = np.array([1, 0, 1, 1, 0, 1, 0, 0], bool)
    precision, recall, average_at_k, average = measures_of(relevant, k=3)
    assert precision == pytest.approx(2 / 3)
    assert recall == 2 / 4
    assert average_at_k == pytest.approx((1 / 1 + 2 / 3) / 3)  # no more than 3 could be found
    assert average == pytest.approx((1 / 1 + 2 / 3 + 3 / 4 + 4 / 6) / 4)


def test_a_ranking_with_one_relevant_row_can_reach_1_at_k():
    assert measures_of(np.array([1, 0, 0, 0], bool), k=3).tolist() == [1 / 3, 1, 1, 1]
    assert measures_of(np.zeros(4, bool), k=3).tolist() == [0, 0, 0, 0]


def test_a_gallery_smaller_than_k_is_looked_at_whole():
    assert measures_of(np.array([1, 0], bool), k=10).tolist() == [0.5, 1, 1, 1]


def test_average_precision_equals_its_formula_rank_by_rank():
    random = np.random.default_rng(0)
    for _ in range(20):
        relevant = random.random(50) < 0.3
        total = sum(relevant[: i + 1].sum() / (i + 1) for i in range(50) if relevant[i])
        assert measures_of(relevant, 10)[3] == pytest.approx(total / relevant.sum())


def test_precision_at_recall_is_the_best_of_what_follows():
    # Recall 1/2 comes at rank 2 (precision 1/2), recall 1 at rank 3 (2/3): the later is better.
    curve = precision_at_recall(np.array([0, 1, 1, 0], bool))
    assert curve == pytest.approx(np.full(101, 2 / 3))
    # Ranks 1 and 4: precision 1 up to recall 1/2, then 2/4.
    curve = precision_at_recall(np.array([1, 0, 0, 1], bool))
    assert curve == pytest.approx(np.where(RECALL_LEVELS <= 0.5, 1, 0.5))


def test_micro_macro_and_per_class_by_hand():
    gallery = np.array(["a", "b", "a", "b"])
    # Query 0 sees rows 0, 1, 2, 3; query 1 rows 3, 2, 1, 0; query 2 rows 1, 3, 0, 2.
    distances = fixed([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
    figures = retrieval(distances, np.array(["a", "a", "b"]), gallery, k=2)
    assert figures.queries == 3 and figures.gallery == 4
    assert figures.micro["precision_at_k"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert figures.macro["precision_at_k"] == pytest.approx((1 / 2 + 1) / 2)
    averages = [(1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2, 1.0]
    assert figures.micro["map"] == pytest.approx(np.mean(averages))
    assert figures.macro["map"] == pytest.approx((np.mean(averages[:2]) + 1) / 2)
    assert figures.per_class["b"] == {
        "queries": 1, "relevant": 2, "precision_at_k": 1, "recall_at_k": 1, "map_at_k": 1, "map": 1
    }  # fmt: skip
    # At recall 1: precision 2/3, 2/4 and 2/2.
    assert figures.precision_at_recall[-1] == pytest.approx((2 / 3 + 2 / 4 + 1) / 3, abs=1e-6)


def test_equal_distances_keep_the_order_of_the_gallery():
    gallery = np.array(["a"] * 10 + ["b"] * 10)
    at_once = retrieval(fixed(np.zeros(20)), np.array(["a"]), gallery)
    assert at_once.micro["precision_at_k"] == 1
    gallery = gallery[::-1].copy()
    assert retrieval(fixed(np.zeros(20)), np.array(["a"]), gallery).micro["precision_at_k"] == 0


def test_queries_without_a_label_are_left_out_and_unmatched_ones_count_0():
    figures = retrieval(fixed([0], [0], [0]), np.array(["", "a", "c"]), np.array(["a"]))
    assert figures.queries == 2 and figures.micro["precision_at_k"] == 0.5
    assert figures.per_class["c"]["relevant"] == 0 and figures.per_class["c"]["map"] == 0
    with pytest.raises(ValueError, match="no query"):
        retrieval(fixed([0]), np.array([""]), np.array(["a"]))


def test_many_queries_are_measured_like_one_by_one():
    random = np.random.default_rng(0)
    rows = random.integers(0, 5, (100, 30))
    queries, gallery = random.choice(list("abc"), 100), random.choice(list("abc"), 30)
    figures = retrieval(fixed(*rows), queries, gallery, k=5)
    alone = [
        measures_of(gallery[np.lexsort((np.arange(30), row))] == label, 5)
        for row, label in zip(rows, queries, strict=True)
    ]
    assert list(figures.micro.values()) == pytest.approx(np.mean(alone, axis=0).tolist())


def test_a_product_is_found_at_1_or_later_or_not_at_all():
    distances = fixed([1, 0, 2, 3], [1, 0, 2, 3], [1, 0, 2, 3])
    queries, gallery = np.array(["x", "y", "z"]), np.array(["x", "y", "x", "z"])
    assert found(distances, queries, gallery, (1, 2)) == pytest.approx([1 / 3, 2 / 3])


def test_the_histogram_counts_pairs_by_distance():
    distances = fixed([0, 3, 64], [1, 3, 3], [9, 9, 9])
    counts = distance_histogram(distances, np.array(["a", "b", ""]), np.array(["a", "a", "b"]))
    assert {bits: n for bits, n in enumerate(counts["matching"]) if n} == {0: 1, 3: 2}
    assert {bits: n for bits, n in enumerate(counts["non_matching"]) if n} == {1: 1, 3: 1, 64: 1}


def test_bits_by_hand():
    bits = np.zeros((4, 64), bool)
    bits[:, 0] = [1, 1, 0, 0]
    bits[:, 1] = [0, 0, 1, 1]  # the opposite of bit 0
    bits[:, 2] = [1, 0, 1, 0]  # independent of both
    bits[:, 3] = [1, 0, 0, 0]
    got = bit_measures(pack(bits))
    assert got["share_of_ones"][:5] == [0.5, 0.5, 0.5, 0.25, 0]
    entropy = 0.25 * 2 + 0.75 * np.log2(4 / 3)
    assert got["entropy_bits"][:5] == pytest.approx([1, 1, 1, entropy, 0])
    assert got["balance_worst_share"] == 0
    assert got["balance_mean_deviation"] == pytest.approx((0.25 + 60 * 0.5) / 64)
    assert got["correlation"][0][1] == -1 and got["correlation"][0][2] == 0
    assert got["correlation"][0][3] == pytest.approx(
        np.corrcoef(bits[:, 0], bits[:, 3])[0, 1], abs=1e-4
    )
    assert got["correlation_largest"] == pytest.approx(1)


def test_balanced_independent_bits_reach_the_best_values():
    got = bit_measures(np.random.default_rng(0).integers(0, 256, (20_000, 8), np.uint8))
    assert got["entropy_lowest"] > 0.999 and got["correlation_largest"] < 0.05


def test_buckets_count_rows_that_share_a_code():
    codes = np.array([[1] * 8, [2] * 8, [1] * 8, [1] * 8], np.uint8)
    assert bucket_measures(codes) == {"rows": 4, "distinct": 2, "largest_bucket": 3}


def test_the_three_kinds_of_distance_by_hand():
    codes = np.array([[0] * 8, [255] + [0] * 7, [255] * 8], np.uint8)
    assert by_hamming(codes, codes)(slice(1, 3)).tolist() == [[8, 0, 56], [64, 56, 0]]
    queries, gallery = np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [4.0, -3.0], [-3.0, -4.0]])
    assert by_cosine(queries, gallery)(slice(0, 1))[0] == pytest.approx([0, 1, 2])
    squares = by_euclidean(queries, gallery)(slice(0, 1))[0] + 25
    assert squares == pytest.approx([25, 50, 100])
