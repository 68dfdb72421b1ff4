"""What is asked for where, on a few rows whose split is known."""

import numpy as np
import pytest

from trainer.data import DataError, Pictures, is_held_out
from trainer.evaluation.tasks import tasks


def names(held_out: bool, count: int, start: int = 0) -> list[str]:
    found = (f"group {i}" for i in range(start, 10_000))
    return [name for name in found if is_held_out(name) == held_out][:count]


def source(name: str, held: list[dict], shown: list[dict], groups=None) -> Pictures:
    """Pictures with these labels, a row each, the held-out ones first."""
    groups = groups or names(True, len(held)) + names(False, len(shown))
    rows = [*held, *shown]
    labels = {label: np.array([row[label] for row in rows]) for label in rows[0]}
    return Pictures(name, labels, np.array(groups), lambda row: b"")


def by_name(sources, leave_out=None) -> dict:
    return {name: task for task in tasks(sources, leave_out or {}) for name in task.labels}


def values(task, name: str) -> tuple[list[str], list[str]]:
    return tuple(rows.tolist() for rows in task.labels[name])


@pytest.fixture
def products():
    return source(
        "products",
        [{"type": "shirt", "colour": "red"}, {"type": "hat", "colour": ""}],
        [{"type": "shirt", "colour": "blue"}, {"type": "hat", "colour": "red"},
         {"type": "belt", "colour": "red"}],
    )  # fmt: skip


@pytest.fixture
def photos():
    return source("photos", [{"type": "shirt"}, {"type": "coat"}], [{"type": "shirt"}])


def test_a_source_is_asked_by_every_label_and_the_first_two_together(products):
    found = by_name([products])
    assert list(found) == ["products: type", "products: colour", "products: type and colour"]
    task = found["products: type"]
    assert task.query_rows.tolist() == [0, 1] and task.gallery_rows.tolist() == [2, 3, 4]
    assert values(task, "products: type") == (["shirt", "hat"], ["shirt", "hat", "belt"])
    assert values(task, "products: type and colour") == (
        ["shirt / red", ""], ["shirt / blue", "hat / red", "belt / red"]
    )  # fmt: skip


def test_a_later_source_is_asked_for_in_an_earlier_one_by_what_they_share(products, photos):
    found = by_name([products, photos])
    assert list(found)[3:] == ["photos: type", "photos to products: type"]
    task = found["photos to products: type"]
    # No product is a coat: left out.
    assert values(task, "photos to products: type") == (["shirt", ""], ["shirt", "hat", "belt"])
    assert (task.queries, task.gallery) == ("photos", "products")


def test_values_never_trained_on_are_asked_for_by_themselves_and_nowhere_else(products, photos):
    found = by_name([products, photos], {"type": ["hat"]})
    ordinary = found["products: type"]
    assert values(ordinary, "products: type") == (["shirt"], ["shirt", "belt"])
    task = found["products: type never trained on"]
    assert values(task, "products: type never trained on") == (
        ["hat", "hat"],
        ["shirt", "hat", "hat"],
    )
    assert task.gallery_rows.tolist() == [0, 1, 3]  # held out, or of a value that was left out
    assert task.copies[0].tolist() == products.groups[[1, 3]].tolist()
    assert values(found["photos to products: type"], "photos to products: type")[1] == [
        "shirt", "belt"
    ]  # fmt: skip


def test_a_value_that_no_picture_has_is_said(products):
    with pytest.raises(DataError, match="'hut' is to be left out of training, but no picture has"):
        tasks([products], {"type": ["hut"]})
