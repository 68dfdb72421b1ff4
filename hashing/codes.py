"""64-bit codes: how real-valued outputs become bits, how far two codes are apart, and which of
equally far ones lies nearer to what the query was before it became bits."""

import numpy as np

CODE_BITS = 64
CODE_BYTES = CODE_BITS // 8

LARGEST_WEIGHT = 2**10
"""Of one output in `similarity`.  Fine enough to tell rows apart, and coarse enough that the float
noise between a picture hashed alone and in a batch (1e-6) hardly ever changes a weight."""
LARGEST_SIMILARITY = CODE_BITS * LARGEST_WEIGHT


def pack(outputs: np.ndarray) -> np.ndarray:
    """Signs of the model's outputs as packed codes.

    outputs: float [n, 64].  Returns uint8 [n, 8]; bit j of a row is 1 where output j > 0, the first
    output in the highest bit of the first byte (the order of `numpy.packbits`).
    """
    return np.packbits(outputs > 0, axis=1)


def unpack(codes: np.ndarray) -> np.ndarray:
    """Packed codes as bits: uint8 [n, 8] -> uint8 [n, 64] of 0 and 1, output j in column j."""
    return np.unpackbits(codes, axis=1)


def hamming(query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Hamming distance in bits of one code to many.

    query: uint8 [8], codes: uint8 [n, 8].  Returns int32 [n].
    """
    return np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.int32)


def similarity(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Asymmetric similarity of one query to many codes: its real-valued outputs against their bits.

    outputs: float [64], codes: uint8 [n, 8].  Returns int32 [n]: the sum over j of +w[j] where bit
    j of a row is 1 and -w[j] where it is 0.  The weights w are the outputs as whole numbers, scaled
    so that the largest magnitude is LARGEST_WEIGHT; the sum is the same in whatever order it is
    taken.  An output that is not a number weighs 0.  The idea is from Gordo et al., "Asymmetric
    Distances for Binary Embeddings", IEEE TPAMI 36(1), 2014.
    """
    partial = _weights(outputs).reshape(CODE_BYTES, 8) @ _BYTE_SIGNS  # [byte, its value]
    total = np.zeros(len(codes), np.int32)
    for byte in range(CODE_BYTES):
        total += partial[byte].take(codes[:, byte])
    return total


def similarities(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`similarity` of every query to every code: float [b, 64], uint8 [n, 8] -> int32 [b, n]."""
    # Whole numbers below 2**24 are exact in float32, and its matrix product is the fast one.
    weights = _weights(outputs).astype(np.float32)
    return (weights @ _signs(codes).astype(np.float32).T).astype(np.int32)


def _weights(outputs: np.ndarray) -> np.ndarray:
    """float [..., 64] -> int32 [..., 64], each row scaled by itself."""
    outputs = np.nan_to_num(outputs).astype(np.float64)
    largest = np.abs(outputs).max(axis=-1, keepdims=True)
    scaled = outputs / np.where(largest > 0, largest, 1)
    return np.rint(scaled * LARGEST_WEIGHT).astype(np.int32)


def _signs(codes: np.ndarray) -> np.ndarray:
    """Bits as signs: uint8 [n, 8] -> int32 [n, 64] of +1 and -1."""
    return unpack(codes).astype(np.int32) * 2 - 1


_BYTE_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0).astype(np.int32) * 2 - 1
"""Signs of the bits of each byte value, the highest bit first: [8, 256]."""
