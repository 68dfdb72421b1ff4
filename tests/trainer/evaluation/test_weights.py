"""Figures of rank `fine` by the weight of the 64-bit code."""

import numpy as np
import pytest

from hashing.codes import fine_similarity, pack, split
from trainer.evaluation.nearness import Asked
from trainer.evaluation.weights import WEIGHTS, by_weight


def asked(seed: int, values: int, queries: int = 30, rows: int = 200) -> Asked:
    random = np.random.default_rng(seed)
    there = random.integers(0, values, rows).astype(str)
    return Asked(
        random.normal(size=(queries, 320)).astype(np.float32),
        pack(random.normal(size=(rows, 320))),
        random.integers(0, values, queries).astype(str),
        there,
    )


def test_figures_are_those_of_an_order_by_the_similarity_of_both_codes():
    types, others, k = asked(0, 3), asked(1, 40), 7
    found = by_weight({"types": types}, others, k)
    assert list(found) == ["0", "0.1", "0.25", "0.5", "1", "2", "4"]
    for weight, halves in zip(WEIGHTS, found.values(), strict=True):
        for half, own in enumerate(halves):
            precision, first = [], []
            for of, shares, count in ((types, precision, k), (others, first, 1)):
                codes, fine_codes = split(of.gallery)
                for row in range(half, 30, 2):
                    similar = fine_similarity(of.outputs[row], codes, fine_codes, weight)
                    nearest = np.argsort(-similar.round(9), kind="stable")[:count]
                    shares.append((of.there[nearest] == of.wanted[row]).mean())
            assert own.precision_at_k == pytest.approx({"types": np.mean(precision)}, abs=1e-6)
            assert own.another_picture_at_1 == pytest.approx(np.mean(first), abs=1e-6)
            mean = np.mean([np.mean(precision), np.mean(first)])
            assert own.score == pytest.approx(mean, abs=1e-6)


def test_queries_whose_value_is_not_known_are_left_out():
    types = asked(0, 3)
    some = Asked(types.outputs[::2], types.gallery, types.wanted[::2], types.there)
    blank = np.where(np.arange(30) % 2, "", types.wanted)
    half = Asked(types.outputs, types.gallery, blank, types.there)
    others = asked(1, 40)
    assert by_weight({"a": half}, others, 5) == by_weight({"a": some}, others, 5)
