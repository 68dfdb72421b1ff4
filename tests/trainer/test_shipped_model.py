"""The shipped model on real photographs that it was not trained on."""

import dataclasses

import numpy as np
import pytest

from tests import real_data
from trainer.another_picture import read_other_pictures
from trainer.data import read_products
from trainer.evaluate import evaluate

pytestmark = real_data.needed


@pytest.fixture(scope="module")
def some_products(model, tmp_path_factory):
    """Every held-out product of one of the files, 3,000 others as the gallery, and another picture
    of each of the held-out ones."""
    folder = tmp_path_factory.mktemp("data")
    file = sorted(real_data.FOLDER.glob("fashion_products-*.parquet"))[-1]
    (folder / file.name).symlink_to(file.resolve())
    size, resampling = model.sidecar.input_size, model.sidecar.resampling
    rows = read_products(folder, size, resampling)
    others = read_other_pictures(folder, size, resampling)
    kept = np.flatnonzero(rows.held_out | (np.cumsum(~rows.held_out) <= 3000))
    products = dataclasses.replace(
        rows, **{f.name: getattr(rows, f.name)[kept] for f in dataclasses.fields(rows)}
    )
    return products, dataclasses.replace(others, product_groups=others.product_groups[kept])


def test_codes_find_more_than_what_needs_no_training(model, some_products):
    products, others = some_products
    result = evaluate(model, products, products, others)
    ours = result["labels"]["article type"]
    floors = [result["article_type"][n] for n in ("raw pixels, 12x16", "signs of 64 PCA axes")]
    assert ours["queries"] > 200 and ours["gallery"] == 3000
    for mean in ("micro", "macro"):
        for measure, margin in {"precision_at_k": 0.08, "map": 0.15}.items():
            assert ours[mean][measure] > max(f[mean][measure] for f in floors) + margin
    assert result["codes"]["distinct"] > 0.8 * result["codes"]["rows"]
    assert result["codes"]["bits"]["entropy_mean"] > 0.95
    same = result["another_picture"]
    assert same["codes"]["recall_at_k"] > 3 * same["random codes"]["recall_at_k"]
