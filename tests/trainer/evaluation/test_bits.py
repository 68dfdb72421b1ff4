"""Measures of codes by themselves, by hand."""

import numpy as np
import pytest

from hashing.codes import pack
from trainer.evaluation.bits import Buckets, bit_measures, bucket_measures, distance_histogram


def test_the_histogram_counts_pairs_by_distance():
    rows = np.array([[0, 3, 64], [1, 3, 3], [9, 9, 9]])
    counts = distance_histogram(
        rows.__getitem__, np.array(["a", "b", ""]), np.array(["a", "a", "b"])
    )
    assert {bits: n for bits, n in enumerate(counts.matching) if n} == {0: 1, 3: 2}
    assert {bits: n for bits, n in enumerate(counts.non_matching) if n} == {1: 1, 3: 1, 64: 1}


def test_bits_by_hand():
    bits = np.zeros((4, 64), bool)
    bits[:, 0] = [1, 1, 0, 0]
    bits[:, 1] = [0, 0, 1, 1]  # the opposite of bit 0
    bits[:, 2] = [1, 0, 1, 0]  # independent of both
    bits[:, 3] = [1, 0, 0, 0]
    got = bit_measures(pack(bits))
    assert got.share_of_ones[:5] == [0.5, 0.5, 0.5, 0.25, 0]
    entropy = 0.25 * 2 + 0.75 * np.log2(4 / 3)
    assert got.entropy_bits[:5] == pytest.approx([1, 1, 1, entropy, 0])
    assert got.balance_worst_share == 0
    assert got.balance_mean_deviation == pytest.approx((0.25 + 60 * 0.5) / 64)
    assert got.correlation[0][1] == -1 and got.correlation[0][2] == 0
    assert got.correlation[0][3] == pytest.approx(
        np.corrcoef(bits[:, 0], bits[:, 3])[0, 1], abs=1e-4
    )
    assert got.correlation_largest == pytest.approx(1)


def test_balanced_independent_bits_reach_the_best_values():
    got = bit_measures(np.random.default_rng(0).integers(0, 256, (20_000, 8), np.uint8))
    assert got.entropy_lowest > 0.999 and got.correlation_largest < 0.05


def test_buckets_count_rows_that_share_a_code():
    codes = np.array([[1] * 8, [2] * 8, [1] * 8, [1] * 8], np.uint8)
    assert bucket_measures(codes) == Buckets(4, distinct=2, distinct_share=0.5, largest_bucket=3)
