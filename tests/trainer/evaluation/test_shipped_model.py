"""The shipped model on real photographs that it was not trained on."""

import dataclasses

import numpy as np
import pytest

from tests import real_data
from trainer.data import Pictures
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.floors import PCA, RANDOM, RAW_PIXELS
from trainer.evaluation.views import CODES
from trainer.layouts import read
from trainer.recipe import read_recipe

pytestmark = real_data.needed


@pytest.fixture(scope="module")
def some_products() -> Pictures:
    """120 held-out products of one of the files, and 800 others as the gallery."""
    source = read_recipe("fashion").data[0]
    file = sorted(real_data.FOLDER.glob(source.files))[-1]
    products = read(real_data.FOLDER, dataclasses.replace(source, files=file.name))
    held = products.held_out
    first = np.where(held, np.cumsum(held) <= 120, np.cumsum(~held) <= 800)
    rows = np.flatnonzero(first)
    return dataclasses.replace(
        products,
        labels={"article_type": products.labels["article_type"][rows]},
        groups=products.groups[rows],
        encoded=lambda row: products.encoded(int(rows[row])),
    )


@pytest.mark.slow("hashes 1,500 real photographs")
def test_codes_find_more_than_what_needs_no_training(model, some_products, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.evaluate.QUERIES", 20)
    result = evaluate(model, [some_products])
    views = result.retrieval["products: article_type"]
    ours, floors = views[CODES], [views[RAW_PIXELS], views[PCA]]
    assert ours.queries == 120 and ours.gallery == 800
    for mean in ("micro", "macro"):
        for measure, margin in {"precision_at_k": 0.08, "map": 0.15}.items():
            assert (
                getattr(ours, mean)[measure]
                > max(getattr(f, mean)[measure] for f in floors) + margin
            )
    codes = result.codes["products"]
    assert codes.distinct_share > 0.8
    assert codes.bits.entropy_mean > 0.95
    same = result.another_picture["a quarter of the pixels"]
    assert same[CODES].recall_at_k > 3 * same[RANDOM].recall_at_k
