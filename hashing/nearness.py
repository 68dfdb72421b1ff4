"""How near is near: what a distance and a similarity mean, as measured on pictures that training
never saw (`trainer.evaluation.nearness`)."""

import dataclasses
import math

SAME, ALIKE, FAR = "same", "alike", "far"


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the values of one measure mean."""

    same: float
    """As near as this, hits are the same product."""
    alike: float
    """As near as this, hits are the right type more often than not."""
    shares: tuple[tuple[float, float], ...] = ()
    """(value, share of right types among hits at about this value), the nearest first."""


@dataclasses.dataclass(frozen=True)
class Nearness:
    """What distances and similarities mean for one model."""

    distance: Scale
    """In bits of the 64-bit code: near is at most."""
    similarity: Scale | None = None
    """As `codes.fine_similarity` gives it: near is at least.  None without a longer code."""

    def word(self, distance: int, similarity: float | None) -> str:
        """`same`, `alike` or `far`.  similarity: of a hit that was ranked by it, else None."""
        if similarity is not None and self.similarity is not None:
            return _word(-similarity, -self.similarity.same, -self.similarity.alike)
        return _word(distance, self.distance.same, self.distance.alike)


def _word(value: float, same: float, alike: float) -> str:
    return SAME if value <= same else ALIKE if value <= alike else FAR


def from_json(value: object) -> Nearness:
    """A Nearness from what JSON holds of it.  Raises ValueError that says what is wrong."""
    if not isinstance(value, dict) or "distance" not in value:
        raise ValueError("must be an object with distance")
    similarity = value.get("similarity")
    return Nearness(
        _scale("distance", value["distance"]),
        None if similarity is None else _scale("similarity", similarity),
    )


def _scale(name: str, value: object) -> Scale:
    try:
        same, alike = float(value["same"]), float(value["alike"])  # type: ignore[index]
        pairs = value.get("shares", [])  # type: ignore[attr-defined]
        shares = tuple((float(at), float(share)) for at, share in pairs)
        if not math.isfinite(same + alike):
            raise ValueError
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ValueError(
            f"{name} must have the numbers same and alike, and pairs of numbers in shares"
        ) from None
    return Scale(same, alike, shares)
