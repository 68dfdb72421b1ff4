"""Codes in closed form."""

import numpy as np
import pytest
import torch

from hashing.codes import pack, unpack
from trainer.fit.closed_form import Prior, covariance_of, fit_layers, prior_of, read_prior
from trainer.fit.run import BACKBONES, HERE
from trainer.network import HashNetwork

WIDTH = 300


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    """Of pictures that differ most along few axes, far from zero."""
    random = np.random.default_rng(seed)
    turned = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]
    values = random.standard_normal((count, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.5
    return (values @ turned + 3).astype(np.float32)


def fitted(values: np.ndarray, prior: Prior, seed: int = 0) -> np.ndarray:
    """Outputs float32 [n, 320] of the pictures that the layers were fitted to."""
    network = HashNetwork(torch.nn.Identity(), WIDTH, 64, 0, 256).eval()
    fit_layers(network.hash, values, prior, seed)
    with torch.inference_mode():
        return network(torch.from_numpy(values)).numpy()


@pytest.fixture(scope="module")
def prior():
    return prior_of(covariance_of(embeddings(2000, seed=9)), 256)


def test_outputs_have_mean_zero_and_variance_one_on_their_pictures(prior):
    outputs = fitted(embeddings(2000), prior)
    for part in (outputs[:, :64], outputs[:, 64:]):
        assert np.abs(part.mean(axis=0)).max() < 1e-3
        assert (part**2).mean() == pytest.approx(1, abs=0.2)
    ones = unpack(pack(outputs)).mean(axis=0)
    assert ones.min() > 0.4 and ones.max() < 0.6


def test_the_same_pictures_give_the_same_layers(prior):
    values = embeddings(100)
    assert np.array_equal(fitted(values, prior), fitted(values, prior))
    assert not np.array_equal(fitted(values, prior), fitted(values, prior, seed=1))


def test_fewer_pictures_than_axes_still_fill_every_bit(prior):
    ones = unpack(pack(fitted(embeddings(50), prior))).mean(axis=0)
    assert ones.min() > 0.05 and ones.max() < 0.95


def test_near_pictures_have_near_codes(prior):
    values = embeddings(1000)
    codes = unpack(pack(fitted(values, prior)))
    centred = values - values.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = np.argsort(-(unit[0] @ unit.T))[1:6]
    apart = (codes != codes[0]).sum(axis=1)
    assert apart[nearest].mean() < 0.9 * apart[1:].mean()


def test_a_prior_is_its_covariance_but_for_what_is_beyond_its_axes():
    covariance = covariance_of(embeddings(2000))
    kept = prior_of(covariance, 256).covariance()
    assert float(kept.trace()) == pytest.approx(float(covariance.trace()), rel=1e-3)
    assert (kept - covariance).abs().max() < 0.02 * covariance.abs().max()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_shipped_priors_are_of_the_networks_embeddings(backbone):
    prior = read_prior(HERE / f"prior-{backbone}.npz")
    assert prior.axes.shape == (256, 1280) and prior.rest > 0
    assert (np.diff(prior.variances) <= 0).all() and prior.variances[-1] >= prior.rest
    axes = prior.axes.astype(np.float32)
    assert np.abs(axes @ axes.T - np.eye(256)).max() < 0.01
