"""The measures, on rankings small enough to work out by hand."""

import hashlib

import numpy as np
import pytest

from trainer.data import DataError, Labelled, is_held_out, read_products
from trainer.evaluate import evaluate, retrieval


def fixed(*rows):
    return lambda i: np.array(rows[i])


def test_precision_macro_and_map_by_hand():
    gallery = np.array(["a", "b", "a", "b"])
    # Query 0 sees rows 0, 1, 2, 3; query 1 rows 3, 2, 1, 0; query 2 rows 1, 3, 0, 2.
    distances = fixed([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
    figures = retrieval(distances, np.array(["a", "a", "b"]), gallery)
    assert figures.queries == 3 and figures.gallery == 4
    # Ten results are asked for and four are there: half of them have the label.
    assert figures.precision == figures.macro_precision == 0.5
    averages = [(1 / 1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2, 1.0]
    assert figures.mean_average_precision == pytest.approx(np.mean(averages))


def test_macro_counts_labels_and_micro_counts_queries():
    gallery = np.array(["a"] * 10 + ["b"] * 10)
    near_a = np.arange(20)
    figures = retrieval(fixed(near_a, near_a, near_a), np.array(["a", "a", "b"]), gallery)
    assert figures.precision == pytest.approx(2 / 3) and figures.macro_precision == 0.5


def test_equal_distances_keep_the_order_of_the_gallery():
    gallery = np.array(["a"] * 10 + ["b"] * 10)
    assert retrieval(fixed(np.zeros(20)), np.array(["a"]), gallery).precision == 1


def test_queries_without_a_label_are_left_out():
    figures = retrieval(fixed([0], [0]), np.array(["", "a"]), np.array(["a"]))
    assert figures.queries == 1


def test_the_split_is_decided_by_the_groups_name_alone():
    def share(name: str) -> float:
        return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32

    names = [f"group {i}" for i in range(2000)]
    assert [is_held_out(name) for name in names] == [share(name) < 0.05 for name in names]
    assert 60 < sum(is_held_out(name) for name in names) < 140


def test_missing_data_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"fashion_products-\*\.parquet"):
        read_products(tmp_path, 32, "bilinear")


def test_a_perfect_model_scores_1_and_random_codes_score_chance(monkeypatch):
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, 400)
    pixels = np.repeat(kinds[:, None].astype(np.uint8) * 80, 16 * 16 * 3, axis=1)
    pixels = pixels.reshape(-1, 16, 16, 3)

    class Perfect:
        """Bits that say the kind, which stands in the brightness."""

        class sidecar:
            name, sha256 = "perfect", "0" * 64

        def codes(self, batch):
            return np.repeat(batch[:, 0, 0, :1] // 80 * 85, 8, axis=1)

    types = np.array(["Tshirts", "Shirts", "Dresses", "Shorts"])[kinds]
    held_out = random.random(400) < 0.2
    rows = Labelled(pixels, types, np.full(400, "Red"), np.full(400, "Men"), held_out)
    result = evaluate(Perfect(), rows, rows)
    assert all(f["precision"] == 1 for f in result["figures"].values())
    assert result["figures"]["article type"]["mean_average_precision"] == 1
    floors = result["floors (article type)"]
    assert floors["raw pixels, 12x16"]["precision"] == 1  # the brightness is the kind here
    assert 0.15 < floors["random codes"]["precision"] < 0.35
    assert result["codes"] == {
        "rows": 400, "distinct": 4, "largest_bucket": int(np.bincount(kinds).max())
    }  # fmt: skip
