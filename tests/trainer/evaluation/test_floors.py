"""Floors: what pictures without any training give."""

import numpy as np
import pytest

from trainer.evaluation.encode import Encoded
from trainer.evaluation.floors import PCA, RANDOM, RAW_PIXELS, _principal_axes, floors


def test_the_axes_are_those_of_the_covariance():
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 80)).astype(np.float32) * np.linspace(0.1, 2, 80)
    mean, axes = _principal_axes(rows.astype(np.float32))
    assert mean == pytest.approx(rows.mean(axis=0), abs=1e-5)
    covariance = np.cov(rows.T)
    kept = axes.T @ covariance @ axes  # diagonal: the 64 largest of its eigenvalues
    assert kept == pytest.approx(np.diag(np.linalg.eigvalsh(covariance)[-64:]), abs=1e-4)


def test_every_set_has_its_rows_in_every_floor():
    random = np.random.default_rng(0)

    def some(count: int) -> Encoded:
        return Encoded(None, None, random.random((count, 576)).astype(np.float32))

    sets = {"products": some(300), "photos": some(40)}
    views = {view.name: view for view in floors(sets, sets["products"].thumbnails[:200])}
    assert list(views) == [RAW_PIXELS, PCA, RANDOM]
    assert views[RAW_PIXELS].rows["photos"] is sets["photos"].thumbnails
    for name in (PCA, RANDOM):
        assert views[name].rows["products"].shape == (300, 8)
        assert views[name].rows["photos"].shape == (40, 8)
    chance = views[RANDOM].rows
    assert not np.array_equal(chance["products"][:40], chance["photos"])
    distances = views[RAW_PIXELS].between(chance["photos"] * 1.0, chance["photos"] * 1.0)
    assert distances(slice(0, 40)).argmin(axis=1).tolist() == list(range(40))
