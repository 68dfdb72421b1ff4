"""What is asked for where: the comparisons that labelled pictures allow.

Queries are pictures that training never saw (`Pictures.held_out`), the gallery is the others.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from trainer.data import DataError, Pictures


@dataclasses.dataclass(frozen=True)
class Task:
    """Rows of one source asked for in rows of another."""

    queries: str
    """Name of the source."""
    gallery: str
    """Name of the source."""
    query_rows: np.ndarray
    gallery_rows: np.ndarray
    labels: dict[str, tuple[np.ndarray, np.ndarray]]
    """Name of the figures -> values of the queries and of the gallery, as in
    `measures.retrieval`."""
    copies: tuple[np.ndarray, np.ndarray] | None = None
    """Groups of both, where a query's own copies are in the gallery."""

    def answerable(self) -> list[str]:
        """Names of the figures that have a query."""
        return [name for name, (queries, _) in self.labels.items() if (queries != "").any()]


def tasks(sources: list[Pictures], leave_out: dict[str, list[str]]) -> list[Task]:
    """All tasks of these sources.

    In every source by every label, and by the first two labels together; from every source into
    each one before it by the labels that they share, for values that the gallery has; and in every
    source by the values that training left out.  Raises DataError for values that no picture has.
    """
    unseen = {source.name: _with_value(source, leave_out) for source in sources}
    for label, values in leave_out.items():
        there = [source.labels[label] for source in sources if label in source.labels]
        for value in values:
            if not any((of_source == value).any() for of_source in there):
                raise DataError(
                    f"{value!r} is to be left out of training, but no picture has this {label}"
                )
    split = {
        source.name: (
            np.flatnonzero(source.held_out & ~unseen[source.name]),
            np.flatnonzero(~source.held_out & ~unseen[source.name]),
        )
        for source in sources
    }
    made = []
    for number, source in enumerate(sources):
        made.append(_within(source, *split[source.name]))
        for gallery in sources[:number]:
            made.append(_across(source, split[source.name][0], gallery, split[gallery.name][1]))
        for label in leave_out:
            if label in source.labels:
                made.append(_never_trained_on(source, label, leave_out, unseen[source.name]))
    return [task for task in made if task.labels]


def with_labels(
    sources: list[Pictures], labels: Sequence[str], needed: Iterable[str] = ()
) -> list[Pictures]:
    """The sources with the labels that are named, and those needed besides; as they are where none
    is named.  Raises DataError for a label that none has."""
    if not labels:
        return sources
    there = dict.fromkeys(label for source in sources for label in source.labels)
    if missing := [label for label in labels if label not in there]:
        raise DataError(f"the data has no label {missing[0]}; it has {', '.join(there)}")
    kept = dict.fromkeys([*labels, *needed])
    chosen = [
        {label: source.labels[label] for label in kept if label in source.labels}
        for source in sources
    ]
    return [
        dataclasses.replace(source, labels=own)
        for source, own in zip(sources, chosen, strict=True)
        if own
    ]


def row_name(source: Pictures, label: str) -> str:
    """What the figures of a source by one label are called."""
    return f"{source.name}: {label}"


def with_first_two_together(labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels, and one more for the first two together: "" where one of them is not known."""
    if len(labels) < 2:
        return labels
    (first, ours), (second, theirs) = list(labels.items())[:2]
    both = np.char.add(np.char.add(ours, " / "), theirs)
    return {
        **labels,
        f"{first} and {second}": np.where((ours == "") | (theirs == ""), "", both),
    }


def _within(source: Pictures, queries: np.ndarray, gallery: np.ndarray) -> Task:
    values = with_first_two_together(source.labels)
    labels = {
        row_name(source, name): (rows[queries], rows[gallery]) for name, rows in values.items()
    }
    return Task(source.name, source.name, queries, gallery, labels)


def _across(source: Pictures, queries: np.ndarray, gallery: Pictures, rows: np.ndarray) -> Task:
    labels = {}
    for label in (label for label in source.labels if label in gallery.labels):
        there = gallery.labels[label][rows]
        wanted = source.labels[label][queries]
        has_counterpart = np.isin(wanted, there)
        labels[f"{source.name} to {gallery.name}: {label}"] = (
            np.where(has_counterpart, wanted, ""),
            there,
        )
    return Task(source.name, gallery.name, queries, rows, labels)


def _never_trained_on(
    source: Pictures, label: str, leave_out: dict[str, list[str]], unseen: np.ndarray
) -> Task:
    values = source.labels[label]
    queries = np.flatnonzero(np.isin(values, leave_out[label]))
    gallery = np.flatnonzero(source.held_out | unseen)
    return Task(
        source.name,
        source.name,
        queries,
        gallery,
        {f"{source.name}: {label} never trained on": (values[queries], values[gallery])},
        (source.groups[queries], source.groups[gallery]),
    )


def _with_value(source: Pictures, leave_out: dict[str, list[str]]) -> np.ndarray:
    """bool [n]: rows with a value that training left out."""
    rows = np.zeros(len(source), bool)
    for label, values in leave_out.items():
        if label in source.labels:
            rows |= np.isin(source.labels[label], values)
    return rows
