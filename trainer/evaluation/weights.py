"""What weight the 64-bit code should have in rank `fine`: figures by weight, on two halves of the
queries.  The weight is chosen by the first half, and the second says what that choice is worth."""

import dataclasses

import numpy as np

from hashing.codes import CODE_BITS, cosine, hamming, pack, split
from searcher.order import WINDOW
from trainer.evaluation.measures import DIGITS
from trainer.evaluation.nearness import Asked

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclasses.dataclass(frozen=True)
class WeightFigures:
    """Of one half of the queries with one weight."""

    precision_at_k: dict[str, float]
    """By row: the share of right ones among the first k hits."""
    another_picture_at_1: float
    """Share of the other pictures whose first hit is the picture itself or a copy of it."""

    @property
    def score(self) -> float:
        """Their mean, by which a weight is chosen."""
        return float(np.mean([*self.precision_at_k.values(), self.another_picture_at_1]))


def by_weight(
    rows: dict[str, Asked], others: Asked, k: int
) -> dict[str, tuple[WeightFigures, WeightFigures]]:
    """Weight, as text -> the figures of both halves.

    rows: held-out pictures asked for in the others.  others: other pictures of products that the
    gallery has.  Each with outputs float32 [q, 320] and galleries uint8 [n, 40].
    """
    right = {name: _right(asked, k) for name, asked in rows.items()}
    found = _right(others, 1)

    def figures(place: int, half: int) -> WeightFigures:
        shares = {name: _mean(of[place, half::2]) for name, of in right.items()}
        return WeightFigures(shares, _mean(found[place, half::2]))

    return {
        f"{weight:g}": (figures(place, 0), figures(place, 1))
        for place, weight in enumerate(WEIGHTS)
    }


def _mean(shares: np.ndarray) -> float:
    return round(float(shares.mean()), DIGITS) if len(shares) else 0.0


def _right(asked: Asked, k: int) -> np.ndarray:
    """Share of right ones among the first k of every query whose value is known, by weight:
    float64 [weights, q]."""
    codes, fine_codes = split(asked.gallery)
    shares = []
    for row in np.flatnonzero(asked.wanted != ""):
        outputs = asked.outputs[row]
        own = outputs[:CODE_BITS]
        distances = hamming(pack(own[None])[0], codes)
        window = np.argsort(distances, kind="stable")[:WINDOW]
        near = cosine(own, codes[window])
        fine = cosine(outputs[CODE_BITS:], fine_codes[window])
        is_right = asked.there[window] == asked.wanted[row]
        orders = (np.argsort(-(fine + weight * near), kind="stable")[:k] for weight in WEIGHTS)
        shares.append([is_right[order].mean() for order in orders])
    return np.array(shares).T
