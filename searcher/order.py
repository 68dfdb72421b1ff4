"""The order of what was found: by distance, or a window of the nearest by similarity of both codes.

Both orders are total, and the first n of either do not depend on how many more are asked for, so
that pages that follow each other are one long page.
"""

import dataclasses

import numpy as np

from hashing.codes import (
    CODE_BITS,
    CODE_BYTES,
    FINE_BITS,
    LARGEST_WEIGHT,
    fine_similarity,
    pack,
    similarity,
)

WINDOW = 1000
"""So many of the nearest are ordered by similarity where that is asked for; those behind them stay
in order of distance."""

_LARGEST_SIMILARITY = FINE_BITS * LARGEST_WEIGHT
_SIMILARITY_BITS = (2 * _LARGEST_SIMILARITY).bit_length()
_ROW_BITS = 63 - CODE_BITS.bit_length() - _SIMILARITY_BITS

Ranked = tuple[np.ndarray, np.ndarray]
"""Rows int64 [f] and their distances in bits int32 [f], in the order of an answer."""


@dataclasses.dataclass(frozen=True)
class Query:
    """What is looked for, and how what is found is ordered."""

    code: np.ndarray
    """uint8 [8]."""
    outputs: np.ndarray | None = None
    """What the code was made of, float32 [64], or [320] with the longer code's; None where that is
    not known, and then the order is (distance, row)."""
    weight: float | None = None
    """Of the 64-bit code in `codes.fine_similarity`, to order a window by that; None orders all by
    distance.  It takes effect where both the query and the version have a longer code."""

    @property
    def has_fine_outputs(self) -> bool:
        return self.outputs is not None and len(self.outputs) > CODE_BITS


@dataclasses.dataclass(frozen=True)
class Found:
    """Rows to be ordered, in no order."""

    rows: np.ndarray
    """int64 [n]."""
    distances: np.ndarray
    """In bits, int [n]."""
    codes: np.ndarray
    """uint8 [n, 8]; not looked at where the query has no outputs."""
    fine_codes: np.ndarray | None
    """uint8 [n, 32]; None where the version, or the query, has none."""


def is_fine(query: Query, has_fine_codes: bool) -> bool:
    """Whether a window is ordered by similarity, in a version that has longer codes or not."""
    return query.weight is not None and query.has_fine_outputs and has_fine_codes


def needed(query: Query, count: int, has_fine_codes: bool) -> int:
    """How many of the nearest rows have to be found to put the first `count` in order."""
    return max(count, WINDOW) if is_fine(query, has_fine_codes) else count


def in_order(found: Found, query: Query, count: int) -> Ranked:
    """The first `count` of these rows by (distance, -similarity, row): similarity by the longer
    code where there is one, else by the 64 bits, else none.  Of a query that `is_fine` the first
    WINDOW of them by (-fine similarity, that order)."""
    order = _by_distance(found, query, needed(query, count, found.fine_codes is not None))
    if found.fine_codes is not None and query.outputs is not None and query.weight is not None:
        window = order[:WINDOW]
        similar = fine_similarity(
            query.outputs, found.codes[window], found.fine_codes[window], query.weight
        )
        order[:WINDOW] = window[np.argsort(-similar, kind="stable")]
    first = order[:count]
    return found.rows[first].astype(np.int64), found.distances[first].astype(np.int32)


def _by_distance(found: Found, query: Query, count: int) -> np.ndarray:
    """The places of the first `count` rows, int64 [f]."""
    # One number a row that sorts as the three do: 7, 20 and 36 bits.
    keys = found.distances.astype(np.int64) << _SIMILARITY_BITS
    if query.outputs is not None:
        if query.has_fine_outputs and found.fine_codes is not None:
            similar = similarity(query.outputs[CODE_BITS:], found.fine_codes)
        else:
            similar = similarity(query.outputs[:CODE_BITS], found.codes)
        keys |= _LARGEST_SIMILARITY - similar
    keys <<= _ROW_BITS
    keys |= found.rows
    if count >= len(keys):
        return np.argsort(keys)
    first = np.argpartition(keys, count - 1)[:count]
    return first[np.argsort(keys[first])]


def check_query(codes: np.ndarray, k: int, outputs: np.ndarray | None) -> None:
    """Raise ValueError unless these are codes uint8 [n, 8], k is at least 1, and outputs float32
    [n, 64] or [n, 320], or None, are what the codes were packed from."""
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES or k < 1:
        raise ValueError(
            f"search takes codes uint8 [n, {CODE_BYTES}] and k of at least 1, "
            f"not {codes.dtype} {list(codes.shape)} and {k}"
        )
    if outputs is None:
        return
    shapes = [(len(codes), CODE_BITS), (len(codes), CODE_BITS + FINE_BITS)]
    if outputs.dtype != np.float32 or outputs.shape not in shapes:
        raise ValueError(
            f"search takes outputs float32 [{len(codes)}, {CODE_BITS}] with these codes, or "
            f"[{len(codes)}, {CODE_BITS + FINE_BITS}], "
            f"not {outputs.dtype} {list(outputs.shape)}"
        )
    if not np.array_equal(pack(outputs[:, :CODE_BITS]), codes):
        raise ValueError("these codes are not the signs of these outputs; pack them from the same")
