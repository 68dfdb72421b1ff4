"""Codes: how real-valued outputs become bits, how far two codes are apart, and which rows are more
similar to what the query was before it became bits.

A picture has a code of 64 bits, by which it is found, and from a model that gives more outputs a
longer code of 256 bits, by which what was found is ordered.
"""

import numpy as np

CODE_BITS = 64
CODE_BYTES = CODE_BITS // 8
FINE_BITS = 256
"""Of the longer code."""
FINE_BYTES = FINE_BITS // 8

LARGEST_WEIGHT = 2**10
"""Of one output in `similarity`.  Fine enough to tell rows apart, and coarse enough that the float
noise between a picture hashed alone and in a batch (1e-6) hardly ever changes a weight."""
LARGEST_SIMILARITY = CODE_BITS * LARGEST_WEIGHT


def pack(outputs: np.ndarray) -> np.ndarray:
    """Signs of the model's outputs as packed codes.

    outputs: float [n, b], b 64, 256 or both one after the other.  Returns uint8 [n, b / 8]; bit j
    of a row is 1 where output j > 0, the first output in the highest bit of the first byte (the
    order of `numpy.packbits`).
    """
    return np.packbits(outputs > 0, axis=1)


def split(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes, uint8 [n, 8], and the longer codes, uint8 [n, 32], of packed outputs uint8
    [n, 40]; of uint8 [n, 8] the longer codes are uint8 [n, 0]."""
    return packed[:, :CODE_BYTES], packed[:, CODE_BYTES:]


def unpack(codes: np.ndarray) -> np.ndarray:
    """Packed codes as bits: uint8 [n, b / 8] -> uint8 [n, b] of 0 and 1, output j in column j."""
    return np.unpackbits(codes, axis=1)


def hamming(query: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Hamming distance in bits of one code to many.

    query: uint8 [b / 8], codes: uint8 [n, b / 8].  Returns int32 [n].
    """
    return np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.int32)


def similarity(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Asymmetric similarity of one query to many codes: its real-valued outputs against their bits.

    outputs: float [b], codes: uint8 [n, b / 8].  Returns int32 [n]: the sum over j of +w[j] where
    bit j of a row is 1 and -w[j] where it is 0.  The weights w are the outputs as whole numbers,
    scaled so that the largest magnitude is LARGEST_WEIGHT; the sum is the same in whatever order it
    is taken.  An output that is not a number weighs 0.  The idea is from Gordo et al., "Asymmetric
    Distances for Binary Embeddings", IEEE TPAMI 36(1), 2014.
    """
    # Whole numbers below 2**24 are exact in float32, and its matrix product is the fast one.
    weights = _weights(outputs).astype(np.float32)
    partial = (weights.reshape(-1, 8) @ _BYTE_SIGNS).astype(np.int32)  # [byte, its value]
    total = np.zeros(len(codes), np.int32)
    for values, column in zip(partial, codes.T, strict=True):
        total += values.take(column)
    return total


def similarities(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`similarity` of every query to every code: float [q, b], uint8 [n, b / 8] -> int32 [q, n]."""
    weights = _weights(outputs).astype(np.float32)  # exact, and fast, as above
    return (weights @ _signs(codes).astype(np.float32).T).astype(np.int32)


def cosine(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`similarity` as the cosine of the weights with a row's signs, float64 in -1 to 1: float [b]
    -> [n], or float [q, b] -> [q, n].  Outputs that are all 0 have the cosine 0."""
    weights = _weights(outputs).astype(np.float64)
    length = np.sqrt((weights**2).sum(axis=-1, keepdims=True) * weights.shape[-1])
    whole = similarity(outputs, codes) if outputs.ndim == 1 else similarities(outputs, codes)
    return whole / np.maximum(length, 1)


def fine_similarity(
    outputs: np.ndarray, codes: np.ndarray, fine_codes: np.ndarray, weight: float
) -> np.ndarray:
    """Similarity by both codes, float64 in -1 to 1: the mean of both cosines, that of the 64-bit
    code counted `weight` times.

    outputs: float [320], the 64 and then the 256, or [q, 320].  codes: uint8 [n, 8].  fine_codes:
    uint8 [n, 32].  Returns [n], or [q, n].
    """
    own = cosine(outputs[..., :CODE_BITS], codes)
    fine = cosine(outputs[..., CODE_BITS:], fine_codes)
    return (fine + weight * own) / (1 + weight)


def as_outputs(packed: np.ndarray) -> np.ndarray:
    """What stands for the outputs of a picture of which only the codes are known: float32 [b] of +1
    and -1, from uint8 [b / 8]."""
    return _signs(packed[None])[0].astype(np.float32)


def _weights(outputs: np.ndarray) -> np.ndarray:
    """float [..., b] -> int32 [..., b], each row scaled by itself."""
    outputs = np.nan_to_num(outputs).astype(np.float64)
    largest = np.abs(outputs).max(axis=-1, keepdims=True)
    scaled = outputs / np.where(largest > 0, largest, 1)
    return np.rint(scaled * LARGEST_WEIGHT).astype(np.int32)


def _signs(codes: np.ndarray) -> np.ndarray:
    """Bits as signs: uint8 [n, b / 8] -> int32 [n, b] of +1 and -1."""
    return unpack(codes).astype(np.int32) * 2 - 1


_BYTE_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0).astype(np.float32) * 2 - 1
"""Signs of the bits of each byte value, the highest bit first: [8, 256]."""
