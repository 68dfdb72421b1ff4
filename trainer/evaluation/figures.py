"""What an evaluation finds, of a model or of a live catalogue; docs/training.md says what each
figure is.  `to_json` is what stands in figures.json."""

import dataclasses
from typing import Any

from hashing.nearness import Nearness
from trainer.evaluation.another_picture import Transform
from trainer.evaluation.bits import CodeFigures, Histogram
from trainer.evaluation.measures import Figures
from trainer.evaluation.views import EMBEDDING
from trainer.evaluation.weights import WeightFigures

NOT_AVAILABLE = "not available for this model"

Retrieval = dict[str, dict[str, Figures]]
"""Row -> view -> figures; a row that has no query has no views."""


@dataclasses.dataclass(frozen=True)
class Named:
    """The model that was measured."""

    name: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Size:
    """Of one source."""

    pictures: int
    held_out: int


@dataclasses.dataclass(frozen=True)
class Recall:
    """How often a picture, or a copy of it, is found from what was made of it."""

    queries: int
    gallery: int
    recall_at_1: float
    recall_at_k: float


@dataclasses.dataclass(frozen=True)
class FirstHits:
    """What queries of one source find first in another."""

    queries: int
    right: float
    """Share of the queries whose value the gallery has: their first hit has it."""
    hubs: float
    """Share of all queries whose first hit is one of the five most frequent first hits."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Of a model."""

    model: Named
    k: int
    data: dict[str, Size]
    """By source."""
    left_out_of_training: dict[str, list[str]]
    """Label -> values."""
    first_row: str
    retrieval: Retrieval
    gain_of_order_in_ties: dict[str, dict[str, dict[str, float]]]
    """Row -> micro or macro -> measure."""
    another_picture: dict[str, dict[str, Recall]]
    """Degree -> view; among the pictures of the first source."""
    transform_of_another_picture: dict[str, Transform]
    """By degree."""
    changed_picture: dict[str, dict[str, Recall]]
    """Change -> rank of the codes; among all pictures of all sources."""
    first_hits: dict[str, dict[str, FirstHits]]
    """Row -> rank of the codes."""
    distances: dict[str, Histogram]
    """By row."""
    codes: dict[str, CodeFigures]
    """By source."""
    rank_weights: dict[str, tuple[WeightFigures, WeightFigures]]
    """Weight in rank `fine` -> figures of the half that it is chosen by, and of the other; empty of
    a model without a longer code."""
    match: Nearness
    """What distances and similarities mean, as the sidecar is to say it."""

    no_query = "no held-out picture has a value that the gallery has"

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def title(self) -> str:
        return f"{self.model.name} ({self.model.sha256[:12]}…)"

    def to_json(self) -> dict[str, Any]:
        """Plain values; a sentence where there is no figure."""
        values = dataclasses.asdict(self)
        for table in (values["retrieval"], values["another_picture"]):
            for views in table.values():
                if views:
                    views.setdefault(EMBEDDING, NOT_AVAILABLE)
        return values | _with_sentences(values["retrieval"], self.no_query)


@dataclasses.dataclass(frozen=True)
class NotAnswered:
    queries: int
    first_reason: str


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of the first request of each query, in milliseconds."""

    median: float
    p95: float


@dataclasses.dataclass(frozen=True)
class Service:
    """How the service answered, and how its answers and the labelled pictures meet."""

    url: str
    index_versions: dict[str, int]
    """Version -> queries that it answered."""
    answered: int
    own_picture_at_distance_0: float
    """Share of the answered queries."""
    results: int
    results_without_label: int
    pictures_without_label: int
    first_without_label: str
    short_of_k: int
    """Queries that have fewer labelled results than were to be looked at."""
    not_answered: NotAnswered
    latency_ms: Latency
    at_a_time: int


@dataclasses.dataclass(frozen=True)
class Asked:
    """Of one catalogue."""

    pictures: int
    asked: int


@dataclasses.dataclass(frozen=True)
class LiveEvaluation:
    """Of the catalogue behind a running service."""

    service: Service
    k: int
    data: dict[str, Asked]
    """By source."""
    first_row: str
    retrieval: Retrieval

    no_query = "no two labelled pictures share a value"

    @property
    def name(self) -> str:
        return self.service.url

    @property
    def title(self) -> str:
        return f"{self.service.url}, index version {', '.join(self.service.index_versions)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; a sentence where there is no figure."""
        values = dataclasses.asdict(self)
        return values | _with_sentences(values["retrieval"], self.no_query)


def _with_sentences(retrieval: dict[str, Any], sentence: str) -> dict[str, Any]:
    return {"retrieval": {row: views or sentence for row, views in retrieval.items()}}
