"""The program that made what `efiss fit` starts from."""

import numpy as np
import pytest
import torch

from release.fit_data import (
    WEIGHTS,
    backbone_weights,
    pictures,
    prior_of_kinds,
    priors_apart,
    weights_apart,
)
from trainer.data import is_held_out
from trainer.fit.closed_form import covariance_of
from trainer.fit.run import HERE


def test_the_shipped_weights_are_those_of_the_package(tmp_path):
    made = backbone_weights()
    shipped = torch.load(HERE / WEIGHTS, weights_only=True)
    torch.testing.assert_close(made, shipped)  # types and shapes as well
    name = next(reversed(made))
    torch.save({**made, name: made[name] + 1}, tmp_path / WEIGHTS)
    assert weights_apart(tmp_path / WEIGHTS, HERE / WEIGHTS) == pytest.approx(1, rel=1e-2)


def test_kinds_of_pictures_count_alike_however_many_and_varied():
    random = np.random.default_rng(0)
    few, many = (random.standard_normal((n, 300)).astype(np.float32) for n in (40, 400))
    prior = prior_of_kinds([few, many])
    assert float(prior.covariance().trace()) == pytest.approx(1, rel=1e-3)
    assert priors_apart(prior_of_kinds([5 * few + 1, np.concatenate([many, many])]), prior) < 1e-3
    assert priors_apart(prior_of_kinds([few]), prior) > 0.1
    mean = sum(one / one.trace() for one in map(covariance_of, (few, many))) / 2
    assert float((prior.covariance() - mean).norm() / mean.norm()) < 0.1


def test_pictures_are_those_that_no_training_saw(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    groups = [str(i) for i in range(100)]
    encoded = [group.encode() for group in groups]
    labels = dict.fromkeys(("article_type", "base_colour", "gender"), groups)
    table = pa.table({"jpeg": encoded, "dup_group": groups, **labels})
    pq.write_table(table, tmp_path / "fashion_products-0.parquet")
    parts = ["train", "test"] * 50
    pq.write_table(pa.table({"jpeg": encoded, "part": parts}), tmp_path / "cifar10-0.parquet")
    products, cifar10, demo = pictures(tmp_path)
    assert [products.encoded(row).decode() for row in range(len(products))] == list(
        filter(is_held_out, groups)
    )
    assert [cifar10.encoded(row) for row in range(len(cifar10))] == encoded[1::2]
    assert len(demo) == 326 and demo.encoded(0)[:2] == demo.encoded(325)[:2] == b"\xff\xd8"
