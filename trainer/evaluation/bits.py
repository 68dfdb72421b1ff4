"""Measures of codes by themselves: how well their bits are used, how many of them are alike."""

import dataclasses

import numpy as np

from hashing.codes import CODE_BITS, unpack
from trainer.evaluation.distances import Distances
from trainer.evaluation.measures import DIGITS, in_batches


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Pairs of a query and a gallery row by Hamming distance, 0 to 64 bits."""

    matching: list[int]
    """Those with the same label."""
    non_matching: list[int]


@dataclasses.dataclass(frozen=True)
class Bits:
    """How well the bits of codes are used."""

    share_of_ones: list[float]
    """Per bit; 0.5 is balanced."""
    balance_worst_share: float
    balance_mean_deviation: float
    """Of the shares from 0.5."""
    entropy_bits: list[float]
    """Per bit, -p log2 p - (1-p) log2 (1-p) (Shannon 1948)."""
    entropy_mean: float
    entropy_lowest: float
    correlation: list[list[float]]
    """Pearson's, [64][64]; 0 where one of the two bits is constant."""
    correlation_mean: float
    """Of the magnitudes between two bits, as `correlation_largest`."""
    correlation_largest: float


@dataclasses.dataclass(frozen=True)
class Buckets:
    """How many codes are different."""

    rows: int
    distinct: int
    distinct_share: float
    largest_bucket: int
    """Rows that share the most common code."""


@dataclasses.dataclass(frozen=True)
class CodeFigures(Buckets):
    """Of the codes of one source."""

    bits: Bits
    by_class: dict[str, Buckets]
    """By the values of the first label."""


def distance_histogram(distances: Distances, queries: np.ndarray, gallery: np.ndarray) -> Histogram:
    """Pairs by distance.  Labels str [q] and [n]; queries with "" are left out."""

    def count(rows: slice) -> np.ndarray:
        known = queries[rows] != ""
        same = queries[rows][known, None] == gallery[None, :]
        bits = distances(rows)[known]
        return np.array(
            [np.bincount(bits[pairs], minlength=CODE_BITS + 1) for pairs in (same, ~same)]
        )

    matching, others = np.sum(in_batches(count, len(queries)), axis=0).tolist()
    return Histogram(matching, others)


def bit_measures(codes: np.ndarray) -> Bits:
    """Of codes uint8 [n, 8]; n > 1."""
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
    return Bits(
        share_of_ones=ones.tolist(),
        balance_worst_share=float(ones[np.abs(ones - 0.5).argmax()]),
        balance_mean_deviation=float(np.abs(ones - 0.5).mean()),
        entropy_bits=entropy.tolist(),
        entropy_mean=float(entropy.mean()),
        entropy_lowest=float(entropy.min()),
        correlation=np.round(correlation, 4).tolist(),
        correlation_mean=float(between_two.mean()),
        correlation_largest=float(between_two.max()),
    )


def bucket_measures(codes: np.ndarray) -> Buckets:
    """Of codes uint8 [n, 8]; n > 0."""
    _, sizes = np.unique(codes, axis=0, return_counts=True)
    share = round(len(sizes) / len(codes), DIGITS)
    return Buckets(len(codes), len(sizes), share, int(sizes.max()))


def code_figures(codes: np.ndarray, values: np.ndarray) -> CodeFigures:
    """Of codes uint8 [n, 8] whose first label is `values`, str [n]."""
    names = np.unique(values[values != ""])
    return CodeFigures(
        **vars(bucket_measures(codes)),
        bits=bit_measures(codes),
        by_class={str(name): bucket_measures(codes[values == name]) for name in names},
    )
