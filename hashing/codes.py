"""64-bit codes: how real-valued outputs become bits, and how far two codes are apart."""

import numpy as np

CODE_BITS = 64
CODE_BYTES = CODE_BITS // 8


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
