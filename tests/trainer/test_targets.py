"""Training targets: weights shared out, rare classes, rows that are never trained on."""

import numpy as np
import pytest

from tests.training import groups, pictures
from trainer.data import DataError
from trainer.recipe import Recipe
from trainer.targets import joined, targets_of, trained_on

LABELS = {
    "article_type": np.array(["Caps", "Caps", "Ties", "", ""]),
    "colour": np.array(["Red", "", "Red", "Blue", ""]),
}


def row_of(targets, row: int) -> dict:
    """Weights of a row's classes that are not 0."""
    pairs = zip(targets.classes, targets.rows[row].tolist(), strict=True)
    return {name: pytest.approx(weight) for name, weight in pairs if weight}


def test_a_rows_weight_is_shared_out_among_the_labels_that_it_has():
    targets = targets_of(LABELS, Recipe(labels={"article_type": 3.0, "colour": 1.0}))
    assert targets.classes == [
        "article_type=Caps", "article_type=Ties", "colour=Blue", "colour=Red"
    ]  # fmt: skip
    assert targets.rows.dtype == np.float32 and targets.rows.shape == (5, 4)
    assert row_of(targets, 0) == {"article_type=Caps": 0.75, "colour=Red": 0.25}
    assert row_of(targets, 1) == {"article_type=Caps": 1.0}
    assert row_of(targets, 2) == {"article_type=Ties": 0.75, "colour=Red": 0.25}
    assert row_of(targets, 3) == {"colour=Blue": 1.0}


def test_labels_count_alike_where_the_recipe_weighs_none():
    assert row_of(targets_of(LABELS, Recipe()), 0) == {"article_type=Caps": 0.5, "colour=Red": 0.5}


def test_labels_that_the_recipe_does_not_name_are_not_learned():
    targets = targets_of(LABELS, Recipe(labels={"colour": 1.0}))
    assert targets.classes == ["colour=Blue", "colour=Red"]


def test_a_row_without_any_class_is_never_sampled():
    targets = targets_of(LABELS, Recipe())
    assert not targets.rows[4].any() and targets.sampling[4] == 0
    assert (targets.sampling[:4] > 0).all() and targets.sampling.sum() == pytest.approx(1)


def test_values_of_too_few_pictures_are_no_classes():
    labels = {"article_type": np.array(["Caps"] * 3 + ["Ties"] * 2 + ["Bags"] * 3)}
    targets = targets_of(labels, Recipe(minimum_count=3))
    assert targets.classes == ["article_type=Bags", "article_type=Caps"]
    assert not targets.sampling[3:5].any()


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_rows_are_sampled_by_the_size_of_their_first_labels_class(power):
    labels = {
        "article_type": np.array(["rare"] * 4 + ["common"] * 16),
        "colour": np.array(["Red", "Blue"] * 10),
    }
    targets = targets_of(labels, Recipe(sampling_power=power))
    rare, common = 4 * 4**-power, 16 * 16**-power
    assert targets.sampling[:4].sum() == pytest.approx(rare / (rare + common))
    assert np.ptp(targets.sampling[:4]) == np.ptp(targets.sampling[4:]) == 0


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(labels={"sleeve": 1.0}), "no label sleeve; it has article_type, colour"),
        (Recipe(minimum_count=3), "fewer than two classes"),
        (Recipe(minimum_count=2, labels={"article_type": 1.0}), "fewer than two classes"),
    ],
)
def test_labels_that_do_not_do_are_said(recipe, words):
    with pytest.raises(DataError, match=words):
        targets_of(LABELS, recipe)


def test_held_out_rows_and_left_out_values_are_not_trained_on():
    names = groups(6)
    names[2:3] = groups(1, held_out=True)
    types = np.array(["Caps", "Ties", "Caps", "Bags", "", "Ties"])
    part = pictures(6, labels={"article_type": types}, groups=np.array(names))
    assert trained_on(part, {}).tolist() == [True, True, False, True, True, True]
    left_out = {"article_type": ["Ties", "Bags"], "colour": ["Red"]}
    assert trained_on(part, left_out).tolist() == [True, False, False, False, True, False]


def test_a_label_that_one_source_lacks_is_empty_there():
    types, colours = np.array(["Caps", "Trousers", "Caps"]), np.array(["Red", "Blue", "Blue"])
    products = pictures(3, labels={"article_type": types, "colour": colours})
    photos = pictures(2, labels={"article_type": np.array(["Flip Flops", "Caps"])})
    labels = joined([photos, products], [np.array([True, False]), np.array([True, False, True])])
    assert {name: values.tolist() for name, values in labels.items()} == {
        "article_type": ["Flip Flops", "Caps", "Caps"],
        "colour": ["", "Red", "Blue"],
    }
