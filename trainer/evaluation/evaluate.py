"""How well codes retrieve, beside what needs no training and beside what they were made from."""

import numpy as np

from hashing.codes import pack
from hashing.model import Model
from machine import progress
from trainer.data import DataError, Pictures
from trainer.evaluation.another_picture import DEGREES, other_pictures
from trainer.evaluation.bits import Histogram, code_figures, distance_histogram
from trainer.evaluation.distances import by_hamming
from trainer.evaluation.encode import Encoded, encode
from trainer.evaluation.figures import Evaluation, Named, Recall, Retrieval, Size
from trainer.evaluation.floors import floors
from trainer.evaluation.measures import DIGITS, found, retrieval
from trainer.evaluation.tasks import Task, row_name, tasks
from trainer.evaluation.views import BY_ROW, CODES, View, model_views
from trainer.targets import trained_on


def evaluate(
    model: Model,
    sources: list[Pictures],
    leave_out: dict[str, list[str]] | None = None,
    k: int = 10,
    tell: progress.Tell = progress.nobody,
) -> Evaluation:
    """All figures of a model.

    sources: each with labels, the first is the catalogue.  leave_out: label -> values that the
    model was not trained on.  Raises DataError, also when nothing of the catalogue is held out.
    """
    leave_out = leave_out or {}
    todo = _tasks(sources, leave_out)
    catalogue = sources[0]
    held = np.flatnonzero(catalogue.held_out)
    sets = {source.name: source for source in sources} | {
        degree: other_pictures(catalogue, held, how) for degree, how in DEGREES.items()
    }
    encoded = {name: encode(one, model, tell) for name, one in sets.items()}
    seen = encoded[catalogue.name].thumbnails[trained_on(catalogue, leave_out)]
    views = model_views(encoded) + floors(encoded, seen)
    figures = _ranked(todo, views, k, tell)
    others = _other_pictures_found(catalogue, held, views, k, tell)
    return Evaluation(
        model=Named(model.sidecar.name, model.sidecar.sha256),
        k=k,
        data={one.name: Size(len(one), int(one.held_out.sum())) for one in sources},
        left_out_of_training=leave_out,
        first_row=_first_row(catalogue),
        retrieval=figures,
        gain_of_order_in_ties=_gains(figures),
        another_picture=others,
        transform_of_another_picture=DEGREES,
        distances=_histograms(todo, encoded),
        codes={
            source.name: code_figures(
                pack(encoded[source.name].outputs), next(iter(source.labels.values()))
            )
            for source in sources
        },
    )


def _tasks(sources: list[Pictures], leave_out: dict[str, list[str]]) -> list[Task]:
    for source in sources:
        if not source.labels or len(source) < 2:
            raise DataError(f"{source.name} has no labelled pictures; there is nothing to measure")
    todo = tasks(sources, leave_out)
    if _first_row(sources[0]) not in {name for task in todo for name in task.answerable()}:
        raise DataError(
            f"the data is too small to evaluate: no labelled picture of {sources[0].name} falls "
            "into the 5 % that training never sees"
        )
    return todo


def _first_row(catalogue: Pictures) -> str:
    return row_name(catalogue, next(iter(catalogue.labels)))


def _ranked(todo: list[Task], views: list[View], k: int, tell: progress.Tell) -> Retrieval:
    figures: Retrieval = {name: {} for task in todo for name in task.labels}
    steps = [(task, view) for task in todo if task.answerable() for view in views]
    for task, view in progress.told(steps, "ranking", len(steps), tell):
        distances = view.between(
            view.rows[task.queries][task.query_rows], view.rows[task.gallery][task.gallery_rows]
        )
        for name, own in retrieval(distances, task.labels, k, task.copies).items():
            figures[name][view.name] = own
    return figures


def _gains(figures: Retrieval) -> dict[str, dict[str, dict[str, float]]]:
    """What the order among equal distances adds to each measure."""

    def gain(with_it: dict[str, float], without: dict[str, float]) -> dict[str, float]:
        return {name: round(with_it[name] - without[name], DIGITS) for name in with_it}

    return {
        name: {
            "micro": gain(views[CODES].micro, views[BY_ROW].micro),
            "macro": gain(views[CODES].macro, views[BY_ROW].macro),
        }
        for name, views in figures.items()
        if views
    }


def _other_pictures_found(
    catalogue: Pictures, held: np.ndarray, views: list[View], k: int, tell: progress.Tell
) -> dict[str, dict[str, Recall]]:
    """Recall of a picture, or of a copy of it, from another picture of it: by degree and view."""
    table: dict[str, dict[str, Recall]] = {degree: {} for degree in DEGREES}
    steps = [(degree, view) for degree in DEGREES for view in views]
    groups = catalogue.groups
    for degree, view in progress.told(steps, "finding other pictures", len(steps), tell):
        distances = view.between(view.rows[degree], view.rows[catalogue.name])
        at_1, at_k = found(distances, groups[held], groups, (1, k))
        table[degree][view.name] = Recall(len(held), len(groups), at_1, at_k)
    return table


def _histograms(todo: list[Task], encoded: dict[str, Encoded]) -> dict[str, Histogram]:
    """Distances of pairs by the first label of every task that does not ask for itself."""
    histograms = {}
    for task in todo:
        if (names := task.answerable()[:1]) and not task.copies:
            queries = pack(encoded[task.queries].outputs[task.query_rows])
            gallery = pack(encoded[task.gallery].outputs[task.gallery_rows])
            distances = by_hamming(queries, gallery)
            histograms[names[0]] = distance_histogram(distances, *task.labels[names[0]])
    return histograms
