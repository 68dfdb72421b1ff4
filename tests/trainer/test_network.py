"""The network: a backbone and a hash layer whose outputs have their mean at zero."""

import dataclasses

import pytest
import torch

from tests.training import RECIPE, Tiny
from trainer.backbone import BackboneError
from trainer.network import make_network


def test_outputs_are_a_linear_function_of_the_embedding_normalised_over_the_batch():
    network = make_network(RECIPE).train()
    assert isinstance(network.backbone, Tiny)
    x = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outputs, projected = network(x), network.backbone(x) @ network.hash[0].weight.T
    assert outputs.shape == (12, 64)
    wanted = (projected - projected.mean(dim=0)) / (
        projected.var(dim=0, unbiased=False) + 1e-5
    ).sqrt()
    assert torch.allclose(outputs, wanted, atol=1e-4)


def test_a_hidden_layer_stands_before_the_last():
    network = make_network(dataclasses.replace(RECIPE, hidden=24))
    shapes = [value.shape for name, value in network.hash.named_parameters() if "weight" in name]
    assert shapes == [(24, 16), (24,), (64, 24), (64,)]
    assert network.train()(torch.randn(5, 3, 32, 32)).shape == (5, 64)


def test_a_seed_makes_the_same_network():
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(make_network(RECIPE).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["hash.0.weight"], states[2]["hash.0.weight"])


def test_a_backbone_that_is_no_good_is_said():
    with pytest.raises(BackboneError, match=r"it must give \[1, width\]"):
        make_network(dataclasses.replace(RECIPE, backbone="torch.nn:Identity"))
