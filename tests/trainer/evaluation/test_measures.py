"""The measures, on rankings and codes small enough to work out by hand."""

import numpy as np
import pytest

from trainer.evaluation.measures import (
    RECALL_LEVELS,
    Figures,
    first_hits,
    found,
    measures_at_k,
    measures_of,
    precision_at_recall,
    retrieval,
)


def fixed(*rows):
    """Distances that are given, a row per query."""
    return lambda queries: np.array(rows)[queries]


def measured(distances, queries, gallery, k=10, copies=None) -> Figures:
    """Figures by one label."""
    labels = {"kind": (np.array(queries), np.array(gallery))}
    return retrieval(distances, labels, k, copies)["kind"]


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


def test_the_first_results_alone_are_measured_like_the_whole_ranking():
    relevant = np.random.default_rng(0).random((20, 50)) < 0.2
    for row in relevant:
        whole = measures_of(row, 10)[:3]
        assert measures_at_k(row[:10], 10, row.sum(), 50).tolist() == whole.tolist()
    assert measures_at_k(np.array([], bool), 10, 3, 50).tolist() == [0, 0, 0]
    assert measures_at_k(np.array([True]), 10, 3, 50)[0] == 0.1  # nine results are missing


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
    figures = measured(distances, ["a", "a", "b"], gallery, k=2)
    assert figures.queries == 3 and figures.gallery == 4
    assert figures.micro["precision_at_k"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3, abs=1e-6)
    assert figures.macro["precision_at_k"] == pytest.approx((1 / 2 + 1) / 2)
    averages = [(1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2, 1.0]
    assert figures.micro["map"] == pytest.approx(np.mean(averages), abs=1e-6)
    assert figures.macro["map"] == pytest.approx((np.mean(averages[:2]) + 1) / 2, abs=1e-6)
    assert figures.per_class["b"] == {
        "queries": 1, "relevant": 2, "precision_at_k": 1, "recall_at_k": 1, "map_at_k": 1, "map": 1
    }  # fmt: skip
    # At recall 1: precision 2/3, 2/4 and 2/2.
    assert figures.precision_at_recall[-1] == pytest.approx((2 / 3 + 2 / 4 + 1) / 3, abs=1e-6)


def test_equal_distances_keep_the_order_of_the_gallery():
    gallery = ["a"] * 10 + ["b"] * 10
    assert measured(fixed(np.zeros(20)), ["a"], gallery).micro["precision_at_k"] == 1
    assert measured(fixed(np.zeros(20)), ["a"], gallery[::-1]).micro["precision_at_k"] == 0


def test_queries_without_a_value_are_left_out_and_unmatched_ones_count_0():
    figures = measured(fixed([0], [0], [0]), ["", "a", "c"], ["a"])
    assert figures.queries == 2 and figures.micro["precision_at_k"] == 0.5
    assert figures.per_class["c"]["relevant"] == 0 and figures.per_class["c"]["map"] == 0
    assert retrieval(fixed([0]), {"kind": (np.array([""]), np.array(["a"]))}) == {}


def test_one_ranking_is_measured_by_several_labels():
    distances = fixed([0, 1, 2, 3], [3, 2, 1, 0])
    kind = np.array(["a", "b"]), np.array(["a", "b", "a", "b"])
    colour = np.array(["", "red"]), np.array(["red", "red", "red", "blue"])
    together = retrieval(distances, {"kind": kind, "colour": colour}, k=2)
    assert together["kind"] == measured(distances, *kind, k=2)
    assert together["colour"] == measured(distances, *colour, k=2)
    assert together["colour"].queries == 1


def test_a_query_and_its_copies_are_passed_over():
    distances = fixed([0, 1, 2, 3])  # rows 0 and 2 show what the query shows
    copies = np.array(["x"]), np.array(["x", "y", "x", "z"])
    figures = measured(distances, ["a"], ["a", "b", "a", "a"], 2, copies)
    # What remains of a b a a is b a: average precision 1/2, precision@2 1/2.
    assert figures.micro == {
        "precision_at_k": 0.5, "recall_at_k": 1, "map_at_k": 0.5, "map": 0.5
    }  # fmt: skip


def test_many_queries_are_measured_like_one_by_one():
    random = np.random.default_rng(0)
    rows = random.integers(0, 5, (100, 30))
    queries, gallery = random.choice(list("abc"), 100), random.choice(list("abc"), 30)
    figures = measured(fixed(*rows), queries, gallery, k=5)
    alone = [
        measures_of(gallery[np.lexsort((np.arange(30), row))] == label, 5)
        for row, label in zip(rows, queries, strict=True)
    ]
    assert list(figures.micro.values()) == pytest.approx(np.mean(alone, axis=0).tolist(), abs=1e-6)


def test_a_product_is_found_at_1_or_later_or_not_at_all():
    distances = fixed([1, 0, 2, 3], [1, 0, 2, 3], [1, 0, 2, 3])
    queries, gallery = np.array(["x", "y", "z"]), np.array(["x", "y", "x", "z"])
    assert found(distances, queries, gallery, (1, 2)) == pytest.approx([1 / 3, 2 / 3], abs=1e-6)


def test_first_hits_are_the_nearest_rows():
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(50), (70, 1)), axis=1)
    assert first_hits(rows.__getitem__, 70).tolist() == rows.argmin(axis=1).tolist()
    assert first_hits(fixed([3, 1, 1], [0, 0, 0]), 2).tolist() == [1, 0]  # the first of equal ones
