"""Views: what stands for each picture in a comparison, and how two of them are compared."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hashing.codes import pack
from trainer.evaluation.distances import Distances, by_code, by_cosine, by_hamming
from trainer.evaluation.encode import Encoded

CODES = "codes"
BY_ROW = "codes, ties by row"
OUTPUTS = "outputs, cosine"
EMBEDDING = "float embedding, cosine"


@dataclasses.dataclass(frozen=True)
class View:
    """One way to compare pictures."""

    name: str
    rows: dict[str, np.ndarray]
    """Name of a set of pictures -> a row for each of them, [n, ...]."""
    between: Callable[[np.ndarray, np.ndarray], Distances]
    """(Rows of the queries, rows of the gallery) -> their distances."""


def model_views(sets: dict[str, Encoded]) -> list[View]:
    """The model's codes, ordered as the service orders them; the same codes with equal distances
    left in row order; the outputs before they become bits; and, where the model shows it, the float
    embedding before the hash layer: the ceiling of what its codes can keep."""
    outputs = {name: one.outputs for name, one in sets.items()}
    codes = {name: pack(rows) for name, rows in outputs.items()}
    embeddings = {name: one.embedding for name, one in sets.items() if one.embedding is not None}
    views = [
        View(CODES, outputs, lambda queries, gallery: by_code(queries, pack(gallery))),
        View(BY_ROW, codes, by_hamming),
        View(OUTPUTS, outputs, by_cosine),
    ]
    if len(embeddings) == len(sets):
        views.append(View(EMBEDDING, embeddings, by_cosine))
    return views
