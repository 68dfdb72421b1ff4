"""Outputs -> packed codes -> distances."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hashing.codes import (
    CODE_BITS,
    CODE_BYTES,
    LARGEST_SIMILARITY,
    LARGEST_WEIGHT,
    hamming,
    pack,
    similarities,
    similarity,
    unpack,
)

outputs = st.integers(0, 3).flatmap(
    lambda n: arrays(np.float32, (n, CODE_BITS), elements=st.floats(-2, 2, width=32))
)
any_outputs = arrays(np.float32, (3, CODE_BITS), elements=st.floats(width=32))
codes = st.integers(0, 20).flatmap(lambda n: arrays(np.uint8, (n, CODE_BYTES)))


def test_first_output_is_the_highest_bit_of_the_first_byte():
    row = np.full((1, 64), -1.0)
    row[0, [0, 15, 63]] = 1.0
    assert pack(row).tolist() == [[0b1000_0000, 0b0000_0001, 0, 0, 0, 0, 0, 0b0000_0001]]


def test_only_what_is_above_zero_is_a_one():
    row = np.array([[0.0, -0.0, np.nan, -np.inf, np.inf, 1e-45, -1e-45, 1.0] * 8], np.float32)
    assert pack(row).tolist() == [[0b0000_1101] * 8]


@given(outputs)
def test_bit_j_is_the_sign_of_output_j(outputs):
    packed = pack(outputs)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(outputs), CODE_BYTES)
    bits = [[(int.from_bytes(code, "big") >> (63 - j)) & 1 for j in range(64)] for code in packed]
    assert bits == (outputs > 0).astype(int).tolist()


@given(codes)
def test_unpacking_undoes_packing(codes):
    bits = unpack(codes)
    assert bits.shape == (len(codes), CODE_BITS)
    assert np.array_equal(pack(bits.astype(np.float32)), codes)


@given(codes, st.binary(min_size=8, max_size=8))
def test_distance_counts_the_bits_that_differ(codes, query):
    distances = hamming(np.frombuffer(query, np.uint8), codes)
    number = int.from_bytes(query, "big")
    assert distances.dtype == np.int32
    assert distances.tolist() == [
        (int.from_bytes(code, "big") ^ number).bit_count() for code in codes
    ]


@given(any_outputs, codes)
def test_similarity_adds_weights_where_bits_agree_and_takes_them_where_not(outputs, codes):
    for row in outputs:
        numbers = [float(v) if abs(v) < np.inf else 0.0 if v != v else
                   float(np.copysign(np.finfo(np.float32).max, v)) for v in row]  # fmt: skip
        largest = max(map(abs, numbers)) or 1.0
        weights = [round(v / largest * LARGEST_WEIGHT) for v in numbers]
        found = similarity(row, codes)
        assert found.dtype == np.int32
        assert found.tolist() == [
            sum(w if bit == "1" else -w for w, bit in zip(weights, bits, strict=True))
            for bits in (f"{int.from_bytes(code, 'big'):064b}" for code in codes)
        ]


@given(any_outputs, codes)
def test_similarities_are_those_of_every_query(outputs, codes):
    together = similarities(outputs, codes)
    assert together.dtype == np.int32
    assert together.tolist() == [similarity(row, codes).tolist() for row in outputs]


def test_similarity_is_largest_for_the_querys_own_code_and_smallest_for_its_complement():
    outputs = np.array([3.0, -3.0] * 32, np.float32)
    own = pack(outputs[None])
    assert similarity(outputs, np.vstack([own, ~own])).tolist() == [
        LARGEST_SIMILARITY,
        -LARGEST_SIMILARITY,
    ]


def test_a_bit_that_was_nearly_the_other_costs_less_than_a_sure_one():
    outputs = np.ones(64, np.float32)
    outputs[3] = 0.01
    wrong = pack(np.where(np.eye(64, dtype=bool), -1, 1))
    assert similarity(outputs, wrong).argmax() == 3
