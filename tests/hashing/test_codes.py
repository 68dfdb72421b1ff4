"""Outputs -> packed codes -> distances."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hashing.codes import (
    CODE_BITS,
    CODE_BYTES,
    FINE_BITS,
    FINE_BYTES,
    LARGEST_SIMILARITY,
    LARGEST_WEIGHT,
    as_outputs,
    cosine,
    fine_similarity,
    hamming,
    pack,
    similarities,
    similarity,
    split,
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


# The longer code

both = arrays(np.float32, (3, CODE_BITS + FINE_BITS), elements=st.floats(-9, 9, width=32))
longer = st.integers(0, 20).flatmap(lambda n: arrays(np.uint8, (n, CODE_BYTES + FINE_BYTES)))


@given(both)
def test_the_code_comes_first_and_the_longer_one_behind_it(outputs):
    code, fine = split(pack(outputs))
    assert np.array_equal(code, pack(outputs[:, :CODE_BITS]))
    assert np.array_equal(fine, pack(outputs[:, CODE_BITS:])) and fine.shape == (3, FINE_BYTES)
    assert split(code)[1].shape == (3, 0)


def cosines(outputs, packed) -> np.ndarray:
    """Cosine of the whole-numbered outputs with each row's signs, by the formula."""
    outputs = outputs.astype(np.float64)
    weights = np.round(outputs / (np.abs(outputs).max() or 1) * LARGEST_WEIGHT)
    signs = unpack(packed) * 2.0 - 1
    lengths = np.linalg.norm(weights) * np.linalg.norm(signs, axis=1)
    return signs @ weights / np.where(lengths > 0, lengths, 1)


@given(both, longer)
def test_a_cosine_is_that_of_weights_and_signs(outputs, packed):
    wanted = np.stack([cosines(row, packed) for row in outputs])
    assert np.allclose(cosine(outputs, packed), wanted, atol=1e-12)
    assert np.array_equal(cosine(outputs, packed), [cosine(row, packed) for row in outputs])


@given(both, longer, st.floats(0, 10))
def test_fine_similarity_is_the_mean_of_both_cosines(outputs, packed, weight):
    code, fine = split(packed)
    together = fine_similarity(outputs, code, fine, weight)
    for row, found in zip(outputs, together, strict=True):
        own = cosines(row[:CODE_BITS], code)
        wanted = (cosines(row[CODE_BITS:], fine) + weight * own) / (1 + weight)
        assert np.allclose(found, wanted, atol=1e-12) and (np.abs(found) <= 1 + 1e-12).all()
        assert np.array_equal(found, fine_similarity(row, code, fine, weight))


@given(longer)
def test_codes_stand_for_outputs_whose_similarity_counts_their_bits(packed):
    code, fine = split(packed)
    for row in range(len(packed)):
        outputs = as_outputs(packed[row])
        assert np.array_equal(pack(outputs[None])[0], packed[row])
        own, longer = hamming(code[row], code), hamming(fine[row], fine)
        wanted = (1 - longer / 128 + 2 * (1 - own / 32)) / 3
        assert np.allclose(fine_similarity(outputs, code, fine, 2.0), wanted)


@given(both, longer)
def test_float_noise_does_not_change_the_similarity_of_whole_numbers(outputs, packed):
    """As a picture's outputs alone and in a batch differ."""
    whole = np.round(outputs * 100)  # none of them near to half a weight
    whole[:, [0, CODE_BITS]] = LARGEST_WEIGHT
    noisy = whole * (1 + 1e-6 * np.sign(np.sin(np.arange(whole.size))).reshape(whole.shape))
    code, fine = split(packed)
    found = [fine_similarity(some, code, fine, 1.0) for some in (whole, noisy)]
    assert np.array_equal(*found)
