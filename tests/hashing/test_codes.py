"""Outputs -> packed codes -> distances."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hashing.codes import CODE_BITS, CODE_BYTES, hamming, pack, unpack

outputs = st.integers(0, 3).flatmap(
    lambda n: arrays(np.float32, (n, CODE_BITS), elements=st.floats(-2, 2, width=32))
)
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
