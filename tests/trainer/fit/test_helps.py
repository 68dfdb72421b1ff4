"""Figures of a fitted model beside another, and the advice."""

import dataclasses

import numpy as np
import pytest

from trainer.fit.helps import Helps, advice, precision, read_labels, table
from trainer.fit.seen import FitError

MINE = Helps("mine", 0.9, 0.95, 0.97, 0.55, 1.0, 1, 0.05, 1.0, 9.0, None, None)
OTHER = dataclasses.replace(MINE, name="other", strength=0.9)


def other(**changes) -> Helps:
    return dataclasses.replace(OTHER, **changes)


def test_labels_decide_whatever_else_is_said():
    mine = dataclasses.replace(MINE, precision=0.5)
    assert advice(mine, other(precision=0.6, strength=0.1)).startswith("Take other: by the labels")
    assert advice(mine, other(precision=0.4)).startswith("Take mine: by the labels 0.500")


def test_without_labels_a_model_of_other_pictures_gives_way():
    assert advice(MINE, other(strength=0.48)).startswith("Take mine: other was made from other")
    assert advice(MINE, other(strength=0.78)).startswith("Keep other: it was made from pictures")


def test_without_labels_a_familiar_model_that_finds_clearly_less_gives_way():
    text = advice(MINE, other(found_first=0.6, found_first_fine=None))
    assert text.startswith("Take mine: 35 % more of the changed pictures")


def test_the_table_has_precision_only_with_labels():
    assert "precision" not in table(MINE, OTHER)
    shown = table(dataclasses.replace(MINE, precision=0.5), OTHER)
    assert next(line for line in shown.splitlines() if "precision@10" in line).split()[-2:] == [
        "0.500", "-",
    ]  # fmt: skip


def test_precision_passes_over_the_picture_itself_and_what_has_no_label():
    random = np.random.default_rng(0)
    centres = random.standard_normal((2, 64))
    labels = np.array(["a", "b"] * 15 + [""] * 30)
    outputs = np.concatenate([centres[np.arange(30) % 2], random.standard_normal((30, 64))])
    outputs = (outputs + 0.01 * random.standard_normal(outputs.shape)).astype(np.float32)
    assert precision(outputs, labels) == 1
    only = np.array(["a", *"b" * 11] + [""] * 48)  # nobody else has the first one's label
    assert precision(np.repeat(outputs[:1], 60, axis=0), only) < 1


def test_labels_are_found_by_path(tmp_path):
    paths = [f"data/{i}.jpg" for i in range(30)]
    file = tmp_path / "labels.csv"
    file.write_text("path,label\n" + "".join(f"{path},chair\n" for path in paths[:20]))
    assert read_labels(file, paths).tolist() == ["chair"] * 20 + [""] * 10
    file.write_text("path,label\ndata/0.jpg,chair\n")
    with pytest.raises(FitError, match=r"labels of 1 of the 30 .* spelled as in the catalogue"):
        read_labels(file, paths)
    file.write_text("file,kind\n")
    with pytest.raises(FitError, match="must have the columns path and label"):
        read_labels(file, paths)
    with pytest.raises(FitError, match=r"gone\.csv cannot be read"):
        read_labels(tmp_path / "gone.csv", paths)
