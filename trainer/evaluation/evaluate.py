"""How well codes retrieve, beside what needs no training and beside what they were made from."""

import dataclasses

import click
import numpy as np

from hashing.codes import pack
from hashing.model import Model
from trainer.data import DataError, Pictures
from trainer.evaluation.another_picture import DEGREES, other_pictures
from trainer.evaluation.bits import bit_measures, bucket_measures, distance_histogram
from trainer.evaluation.distances import by_hamming
from trainer.evaluation.encode import Encoded, Encoder, encode
from trainer.evaluation.floors import floors
from trainer.evaluation.measures import DIGITS, found, retrieval
from trainer.evaluation.tasks import Task, row_name, tasks
from trainer.evaluation.views import BY_ROW, CODES, EMBEDDING, View, model_views
from trainer.targets import trained_on

NOT_AVAILABLE = "not available for this model"
NO_QUERY = "no held-out picture has a value that the gallery has"


def evaluate(
    model: Model,
    encoder: Encoder,
    sources: list[Pictures],
    leave_out: dict[str, list[str]] | None = None,
    k: int = 10,
) -> dict:
    """All figures of a model as a JSON-ready dict; docs/training.md says what stands in it.

    sources: each with labels, the first is the catalogue.  leave_out: label -> values that the
    model was not trained on.  Raises DataError, also when nothing of the catalogue is
    held out.
    """
    for source in sources:
        if not source.labels or len(source) < 2:
            raise DataError(f"{source.name} has no labelled pictures; there is nothing to measure")
    todo = tasks(sources, leave_out or {})
    catalogue, first_row = sources[0], row_name(sources[0], next(iter(sources[0].labels)))
    if first_row not in {name for task in todo for name in _answerable(task)}:
        raise DataError(
            f"the data is too small to evaluate: no labelled picture of {catalogue.name} falls "
            "into the 5 % that training never sees"
        )
    held = np.flatnonzero(catalogue.held_out)
    sets = {source.name: source for source in sources} | {
        degree: other_pictures(catalogue, held, how) for degree, how in DEGREES.items()
    }
    size, resampling = model.sidecar.input_size, model.sidecar.resampling
    encoded = {name: encode(one, encoder, size, resampling) for name, one in sets.items()}
    seen = encoded[catalogue.name].thumbnails[trained_on(catalogue, leave_out or {})]
    views = model_views(encoded) + floors(encoded, seen)
    figures = _ranked(todo, views, k)
    others = _other_pictures_found(catalogue, held, views, k)
    if EMBEDDING not in {view.name for view in views}:
        for table in (*figures.values(), *others.values()):
            if isinstance(table, dict):
                table[EMBEDDING] = NOT_AVAILABLE
    return {
        "model": {"name": model.sidecar.name, "sha256": model.sidecar.sha256},
        "k": k,
        "data": {
            source.name: {"pictures": len(source), "held_out": int(source.held_out.sum())}
            for source in sources
        },
        "left_out_of_training": leave_out or {},
        "first_row": first_row,
        "retrieval": figures,
        "gain_of_order_in_ties": _gains(figures),
        "another_picture": others,
        "transform_of_another_picture": {
            degree: dataclasses.asdict(how) for degree, how in DEGREES.items()
        },
        "distances": _histograms(todo, encoded),
        "codes": {source.name: _code_figures(source, encoded[source.name]) for source in sources},
    }


def _answerable(task: Task) -> list[str]:
    return [name for name, (queries, _) in task.labels.items() if (queries != "").any()]


def _ranked(todo: list[Task], views: list[View], k: int) -> dict[str, dict | str]:
    """Figures by row and view; a sentence for a row that has no query."""
    figures = {name: {} for task in todo for name in task.labels}
    steps = [(task, view) for task in todo if _answerable(task) for view in views]
    with click.progressbar(steps, label="ranking") as bar:
        for task, view in bar:
            distances = view.between(
                view.rows[task.queries][task.query_rows], view.rows[task.gallery][task.gallery_rows]
            )
            for name, own in retrieval(distances, task.labels, k, task.copies).items():
                figures[name][view.name] = dataclasses.asdict(own)
    return {name: own or NO_QUERY for name, own in figures.items()}


def _gains(figures: dict[str, dict | str]) -> dict[str, dict]:
    """What the order among equal distances adds to each measure."""

    def gain(own: dict, mean: str) -> dict[str, float]:
        with_it, without = own[CODES][mean], own[BY_ROW][mean]
        return {name: round(with_it[name] - without[name], DIGITS) for name in with_it}

    return {
        name: {mean: gain(own, mean) for mean in ("micro", "macro")}
        for name, own in figures.items()
        if isinstance(own, dict)
    }


def _other_pictures_found(
    catalogue: Pictures, held: np.ndarray, views: list[View], k: int
) -> dict[str, dict]:
    """Recall of a picture, or of a copy of it, from another picture of it: by degree and view."""
    table = {degree: {} for degree in DEGREES}
    steps = [(degree, view) for degree in DEGREES for view in views]
    with click.progressbar(steps, label="finding other pictures") as bar:
        for degree, view in bar:
            distances = view.between(view.rows[degree], view.rows[catalogue.name])
            groups = catalogue.groups
            at_1, at_k = found(distances, groups[held], groups, (1, k))
            table[degree][view.name] = {
                "queries": len(held),
                "gallery": len(groups),
                "recall_at_1": at_1,
                "recall_at_k": at_k,
            }
    return table


def _histograms(todo: list[Task], encoded: dict[str, Encoded]) -> dict[str, dict]:
    """Distances of pairs by the first label of every task that does not ask for itself."""
    histograms = {}
    for task in todo:
        if (names := _answerable(task)[:1]) and not task.copies:
            queries = pack(encoded[task.queries].outputs[task.query_rows])
            gallery = pack(encoded[task.gallery].outputs[task.gallery_rows])
            distances = by_hamming(queries, gallery)
            histograms[names[0]] = distance_histogram(distances, *task.labels[names[0]])
    return histograms


def _code_figures(source: Pictures, encoded: Encoded) -> dict:
    codes, values = pack(encoded.outputs), next(iter(source.labels.values()))
    names = np.unique(values[values != ""])
    return {
        **bucket_measures(codes),
        "bits": bit_measures(codes),
        "by_class": {str(name): bucket_measures(codes[values == name]) for name in names},
    }
