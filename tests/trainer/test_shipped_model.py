"""The shipped model on real photographs that it was not trained on."""

import dataclasses

import numpy as np
import pytest

from tests import real_data
from trainer.data import read_products
from trainer.evaluate import evaluate

pytestmark = real_data.needed


@pytest.fixture(scope="module")
def some_products(model, tmp_path_factory):
    """Every held-out product of one of the files, and 3,000 others as the gallery."""
    folder = tmp_path_factory.mktemp("data")
    file = sorted(real_data.FOLDER.glob("fashion_products-*.parquet"))[-1]
    (folder / file.name).symlink_to(file)
    rows = read_products(folder, model.sidecar.input_size, model.sidecar.resampling)
    kept = np.flatnonzero(rows.held_out | (np.cumsum(~rows.held_out) <= 3000))
    return dataclasses.replace(
        rows, **{f.name: getattr(rows, f.name)[kept] for f in dataclasses.fields(rows)}
    )


def test_codes_find_the_type_better_than_what_needs_no_training(model, some_products):
    result = evaluate(model, some_products, some_products)
    ours = result["figures"]["article type"]
    floors = result["floors (article type)"]
    best_floor = max(floor["precision"] for floor in floors.values())
    assert ours["queries"] > 200 and ours["gallery"] == 3000
    assert ours["precision"] > best_floor + 0.08
    assert ours["macro_precision"] > max(f["macro_precision"] for f in floors.values()) + 0.08
    assert result["codes"]["distinct"] > 0.8 * result["codes"]["rows"]
