"""What a picture is trained towards: a distribution over the classes of all its labels."""

import dataclasses

import numpy as np

from trainer.data import DataError, Pictures
from trainer.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Targets:
    """What n pictures are trained towards."""

    classes: list[str]
    """Their names, `label=value`."""
    rows: np.ndarray
    """float32 [n, classes]; each sums to 1."""
    sampling: np.ndarray
    """float64 [n]: how probably each is drawn."""

    def of_each_label(self) -> list[np.ndarray]:
        """Of every label, the class of each row: int64 [n], -1 where it has none of them."""
        labels = np.array([name.split("=", 1)[0] for name in self.classes])
        found = []
        for label in dict.fromkeys(labels.tolist()):
            own = self.rows[:, labels == label]
            found.append(np.where(own.any(axis=1), own.argmax(axis=1), -1))
        return found

    def kinds(self, sources: np.ndarray) -> np.ndarray:
        """The first label's class of each row, int64 [n], -1 where only one of the sources, int
        [n], has the class."""
        first = self.of_each_label()[0]
        shared = [
            kind
            for kind in np.unique(first[first >= 0])
            if len(np.unique(sources[first == kind])) > 1
        ]
        return np.where(np.isin(first, shared), first, -1)


def trained_on(pictures: Pictures, leave_out: dict[str, list[str]]) -> np.ndarray:
    """bool [n]: rows to train on: not held out, among those of `training` where the source says
    how many, and without a label value of `leave_out`."""
    kept = ~pictures.held_out
    if pictures.training is not None:
        kept &= np.isin(pictures.groups, pictures.training)
    for label, values in leave_out.items():
        if label in pictures.labels:
            kept &= ~np.isin(pictures.labels[label], values)
    return kept


def joined(parts: list[Pictures], kept: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Labels of the kept rows of all parts, one after the other: label -> str [n], "" where a part
    does not have the label.  The labels are in the order in which they first appear."""
    names = dict.fromkeys(label for part in parts for label in part.labels)
    return {
        name: np.concatenate(
            [
                part.labels[name][rows] if name in part.labels else np.full(rows.sum(), "")
                for part, rows in zip(parts, kept, strict=True)
            ]
        )
        for name in names
    }


def targets_of(labels: dict[str, np.ndarray], recipe: Recipe) -> Targets:
    """Soft targets over the classes of all labels that the recipe weighs (all alike where it names
    none).  A row's weight is shared out among the labels that it has.

    Rows are sampled by the size of their first label's class to the power of -sampling_power: a
    plain draw would see 6,000 T-shirts for 50 of the rarest type, an even one would see the 50 a
    hundred times an epoch.  Raises DataError.
    """
    weights = recipe.labels or dict.fromkeys(labels, 1.0)
    if missing := weights.keys() - labels.keys():
        raise DataError(
            f"the data has no label {min(missing)}; it has {', '.join(labels)}; "
            "correct [labels] in the recipe"
        )
    classes, parts = [], []
    for label, weight in weights.items():
        names, counts = np.unique(labels[label][labels[label] != ""], return_counts=True)
        names = names[counts >= recipe.minimum_count]
        classes += [f"{label}={name}" for name in names]
        parts.append(weight * (labels[label][:, None] == names[None, :]))
    rows = np.concatenate(parts, axis=1)
    if rows.shape[1] < 2:
        raise DataError(
            "the data has fewer than two classes to tell apart; check the label columns, and "
            "minimum_count in the recipe"
        )
    # A row without a known class would have no target; it is never sampled.
    total = rows.sum(axis=1, keepdims=True)
    rows = rows / np.where(total > 0, total, 1)
    first = labels[next(iter(weights))]
    _, inverse, counts = np.unique(first, return_inverse=True, return_counts=True)
    sampling = (total[:, 0] > 0) * counts[inverse].astype(float) ** -recipe.sampling_power
    return Targets(classes, rows.astype(np.float32), sampling / sampling.sum())
