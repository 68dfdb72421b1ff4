"""Views: what stands for each picture in a comparison, and how two of them are compared."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hashing.codes import CODE_BITS, pack
from hashing.model import Sidecar
from trainer.evaluation.distances import Distances, by_cosine, by_hamming, by_rank
from trainer.evaluation.encode import Encoded

CODES = "codes"
FINE = "codes, rank fine"
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


def model_views(sets: dict[str, Encoded], sidecar: Sidecar) -> list[View]:
    """The model's codes, ordered as the service orders them: by rank `distance` and, of a model
    with a longer code, by rank `fine`; the same codes with equal distances left in row order; the
    64 outputs before they become bits; and, where the model shows it, the float embedding before
    the hash layer: the ceiling of what its codes can keep."""
    whole = {name: one.outputs for name, one in sets.items()}
    outputs = {name: rows[:, :CODE_BITS] for name, rows in whole.items()}
    codes = {name: one.codes for name, one in sets.items()}
    embeddings = {name: one.embedding for name, one in sets.items() if one.embedding is not None}
    views = [
        View(CODES, whole, lambda queries, gallery: by_rank(queries, pack(gallery))),
        View(BY_ROW, codes, by_hamming),
        View(OUTPUTS, outputs, by_cosine),
    ]
    if len(embeddings) == len(sets):
        views.append(View(EMBEDDING, embeddings, by_cosine))
    if sidecar.fine_bits:

        def by_fine(queries: np.ndarray, gallery: np.ndarray) -> Distances:
            return by_rank(queries, pack(gallery), sidecar.rank_weight)

        views.insert(1, View(FINE, whole, by_fine))
    return views
