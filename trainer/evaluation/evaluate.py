"""How well codes retrieve, beside what needs no training and beside what they were made from."""

import functools
import hashlib
from collections.abc import Iterable

import numpy as np

from hashing.changed import CHANGES, changed
from hashing.codes import pack
from hashing.model import Model
from machine import progress
from searcher.hubs import hub_share
from trainer.data import DataError, Pictures
from trainer.evaluation.another_picture import DEGREES, another_picture
from trainer.evaluation.bits import Histogram, code_figures, distance_histogram
from trainer.evaluation.distances import by_hamming
from trainer.evaluation.encode import Encoded, encode
from trainer.evaluation.figures import Evaluation, FirstHits, Named, Recall, Retrieval, Size
from trainer.evaluation.floors import floors
from trainer.evaluation.measures import DIGITS, first_hits, found, retrieval
from trainer.evaluation.nearness import Asked, nearness
from trainer.evaluation.tasks import Task, row_name, tasks
from trainer.evaluation.views import BY_ROW, CODES, FINE, View, model_views
from trainer.evaluation.weights import by_weight
from trainer.targets import trained_on

QUERIES = 1000
"""Pictures that are asked for with each change, at most."""


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
    some = _some(catalogue, held)
    sets = {source.name: source for source in sources}
    for degree, how in DEGREES.items():
        make_other = functools.partial(another_picture, transform=how)
        sets[degree] = catalogue.changed(held, make_other, f"{catalogue.name}, {degree}")
    for name, how_changed in CHANGES.items():
        make_changed = functools.partial(changed, change=how_changed)
        sets[name] = catalogue.changed(some, make_changed, f"{catalogue.name}, {name}")
    encoded = {name: encode(one, model, tell) for name, one in sets.items()}
    seen = encoded[catalogue.name].thumbnails[trained_on(catalogue, leave_out)]
    ours = model_views(encoded, model.sidecar)
    views = ours + floors(encoded, seen)
    ranks = [view for view in ours if view.name in (CODES, FINE)]
    figures = _ranked(todo, views, k, tell)
    types = _asked_for_type(todo, catalogue, encoded)
    standard, *_, least = DEGREES  # the last one loses nothing but resolution
    products = [
        _asked_for_product(degree, catalogue, held, encoded) for degree in (standard, least)
    ]
    weight = model.sidecar.rank_weight if model.sidecar.fine_bits else None
    return Evaluation(
        model=Named(model.sidecar.name, model.sidecar.sha256),
        k=k,
        data={one.name: Size(len(one), int(one.held_out.sum())) for one in sources},
        left_out_of_training=leave_out,
        first_row=_first_row(catalogue),
        retrieval=figures,
        gain_of_order_in_ties=_gains(figures),
        another_picture=_found_again(DEGREES, held, [catalogue], views, k, tell),
        transform_of_another_picture=DEGREES,
        changed_picture=_found_again(CHANGES, some, sources, ranks, k, tell),
        first_hits=_first_hits(todo, ranks),
        distances=_histograms(todo, encoded),
        codes={
            one.name: code_figures(encoded[one.name].codes, next(iter(one.labels.values())))
            for one in sources
        },
        rank_weights={} if weight is None else by_weight(types, products[0], k),
        match=nearness(list(types.values()), products, weight),
    )


def _asked_for_type(
    todo: list[Task], catalogue: Pictures, encoded: dict[str, Encoded]
) -> dict[str, Asked]:
    """By the first label of every task into the catalogue that does not ask for itself: row ->
    what is asked."""
    return {
        task.answerable()[0]: Asked(
            encoded[task.queries].outputs[task.query_rows],
            pack(encoded[catalogue.name].outputs[task.gallery_rows]),
            *task.labels[task.answerable()[0]],
        )
        for task in todo
        if task.gallery == catalogue.name and task.answerable() and not task.copies
    }


def _asked_for_product(
    degree: str, catalogue: Pictures, held: np.ndarray, encoded: dict[str, Encoded]
) -> Asked:
    """Other pictures of this degree, asked for in the whole catalogue."""
    whole = pack(encoded[catalogue.name].outputs)
    return Asked(encoded[degree].outputs, whole, catalogue.groups[held], catalogue.groups)


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


def _found_again(
    changes: Iterable[str],
    rows: np.ndarray,
    galleries: list[Pictures],
    views: list[View],
    k: int,
    tell: progress.Tell,
) -> dict[str, dict[str, Recall]]:
    """Recall of a picture, or of a copy of it, from what a change made of it: by change and view.
    rows: of the first gallery, those that were changed."""
    table: dict[str, dict[str, Recall]] = {change: {} for change in changes}
    steps = [(change, view) for change in table for view in views]
    groups = np.concatenate([np.char.add(f"{one.name} ", one.groups) for one in galleries])
    for change, view in progress.told(steps, "finding changed pictures", len(steps), tell):
        gallery = np.concatenate([view.rows[one.name] for one in galleries])
        distances = view.between(view.rows[change], gallery)
        at_1, at_k = found(distances, groups[rows], groups, (1, k))
        table[change][view.name] = Recall(len(rows), len(groups), at_1, at_k)
    return table


def _some(catalogue: Pictures, held: np.ndarray) -> np.ndarray:
    """At most QUERIES of the held-out rows: those whose groups have the smallest sha256."""

    def digest(row: int) -> str:
        return hashlib.sha256(str(catalogue.groups[row]).encode()).hexdigest()

    return np.array(sorted(held.tolist(), key=digest)[:QUERIES])


def _first_hits(todo: list[Task], ranks: list[View]) -> dict[str, dict[str, FirstHits]]:
    """Of every task from one source into another."""
    hits: dict[str, dict[str, FirstHits]] = {}
    for task in todo:
        if task.queries == task.gallery or not task.answerable():
            continue
        for view in ranks:
            distances = view.between(
                view.rows[task.queries][task.query_rows], view.rows[task.gallery][task.gallery_rows]
            )
            firsts = first_hits(distances, len(task.query_rows))
            hubs = round(hub_share(firsts), DIGITS)
            for name in task.answerable():
                wanted, there = task.labels[name]
                right = (there[firsts] == wanted)[wanted != ""].mean()
                own = FirstHits(len(wanted), round(float(right), DIGITS), hubs)
                hits.setdefault(name, {})[view.name] = own
    return hits


def _histograms(todo: list[Task], encoded: dict[str, Encoded]) -> dict[str, Histogram]:
    """Distances of pairs by the first label of every task that does not ask for itself."""
    histograms = {}
    for task in todo:
        if (names := task.answerable()[:1]) and not task.copies:
            queries = encoded[task.queries].codes[task.query_rows]
            gallery = encoded[task.gallery].codes[task.gallery_rows]
            distances = by_hamming(queries, gallery)
            histograms[names[0]] = distance_histogram(distances, *task.labels[names[0]])
    return histograms
