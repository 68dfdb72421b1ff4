"""Measures of codes by themselves: how well their bits are used, how many of them are alike."""

import numpy as np

from hashing.codes import CODE_BITS, unpack
from trainer.evaluation.distances import Distances
from trainer.evaluation.measures import DIGITS, in_batches


def distance_histogram(
    distances: Distances, queries: np.ndarray, gallery: np.ndarray
) -> dict[str, list[int]]:
    """Pairs of a query and a gallery row by Hamming distance, 0 to 64 bits: `matching` those with
    the same label, `non_matching` the others.  Labels str [q] and [n]; queries with "" are left
    out."""

    def count(rows: slice) -> np.ndarray:
        known = queries[rows] != ""
        same = queries[rows][known, None] == gallery[None, :]
        bits = distances(rows)[known]
        return np.array(
            [np.bincount(bits[pairs], minlength=CODE_BITS + 1) for pairs in (same, ~same)]
        )

    matching, others = np.sum(in_batches(count, len(queries)), axis=0).tolist()
    return {"matching": matching, "non_matching": others}


def bit_measures(codes: np.ndarray) -> dict:
    """How well the bits of codes uint8 [n, 8] are used; n > 1.

    share_of_ones: per bit, 0.5 is balanced.  entropy_bits: per bit, -p log2 p - (1-p) log2 (1-p)
    (Shannon 1948).  correlation: Pearson's, [64][64]; 0 where one of the two bits is constant.
    """
    bits = unpack(codes).astype(np.float64)
    ones = bits.mean(axis=0)
    sure = np.clip(ones, 1e-300, 1)
    unsure = np.clip(1 - ones, 1e-300, 1)
    entropy = -(ones * np.log2(sure) + (1 - ones) * np.log2(unsure))
    centred = bits - ones
    length = np.sqrt((centred**2).sum(axis=0))
    length[length == 0] = np.inf
    correlation = (centred / length).T @ (centred / length)
    between_two = np.abs(correlation[np.triu_indices(CODE_BITS, 1)])
    return {
        "share_of_ones": ones.tolist(),
        "balance_worst_share": float(ones[np.abs(ones - 0.5).argmax()]),
        "balance_mean_deviation": float(np.abs(ones - 0.5).mean()),
        "entropy_bits": entropy.tolist(),
        "entropy_mean": float(entropy.mean()),
        "entropy_lowest": float(entropy.min()),
        "correlation": np.round(correlation, 4).tolist(),
        "correlation_mean": float(between_two.mean()),
        "correlation_largest": float(between_two.max()),
    }


def bucket_measures(codes: np.ndarray) -> dict[str, int | float]:
    """How many codes uint8 [n, 8] are different, and how many rows share the most common one;
    n > 0."""
    _, sizes = np.unique(codes, axis=0, return_counts=True)
    return {
        "rows": len(codes),
        "distinct": len(sizes),
        "distinct_share": round(len(sizes) / len(codes), DIGITS),
        "largest_bucket": int(sizes.max()),
    }
