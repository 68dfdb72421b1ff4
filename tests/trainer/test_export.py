"""Export: the written model gives the network's codes, or nothing is written."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

from hashing.codes import pack
from hashing.model import Model
from tests.training import RECIPE
from trainer.export import ExportError, export
from trainer.network import make_network
from trainer.recipe import Recipe


@pytest.fixture
def network():
    torch.manual_seed(1)
    return make_network(RECIPE).eval()


def codes_of(network, pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    inputs = (pixels / 255 - np.array(recipe.mean)) / np.array(recipe.std)
    with torch.inference_mode():
        return pack(network(torch.from_numpy(inputs).permute(0, 3, 1, 2).float()).numpy())


@pytest.mark.slow("compiles whole networks")
@pytest.mark.parametrize(
    "values",
    [
        {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "resampling": "bicubic"},
        {"backbone": "residual-small", "input_size": 48},
        {"backbone": "efficientnet-lite0", "pretrained": True, "input_size": 33},
    ],
    ids=str,
)
def test_the_exported_model_gives_the_networks_codes(tmp_path, values):
    recipe = dataclasses.replace(RECIPE, **values)
    torch.manual_seed(1)
    network = make_network(recipe).eval()
    export(network, tmp_path / "out" / "small.pt", recipe)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"small.pt", "small.json"}
    size = recipe.input_size
    pixels = np.random.default_rng(2).integers(0, 256, (40, size, size, 3), np.uint8)
    codes = Model.load(tmp_path / "out" / "small.pt").codes(pixels)
    wanted = codes_of(network, pixels, recipe)
    assert np.bitwise_count(codes ^ wanted).sum() <= 1  # the sign of float noise is nobody's
    assert len(np.unique(codes, axis=0)) > 5


def test_the_sidecar_says_what_the_recipe_says(network, tmp_path):
    recipe = dataclasses.replace(
        RECIPE,
        mean=(0.4, 0.5, 0.6),
        resampling="bicubic",
        framing="letter",
        data_in_words="drawn pictures",
    )
    sidecar = export(network, tmp_path / "small.pt", recipe)
    wanted = {
        "name": "small",
        "sha256": hashlib.sha256((tmp_path / "small.pt").read_bytes()).hexdigest(),
        "bits": 64,
        "input_size": 32,
        "resampling": "bicubic",
        "mean": [0.4, 0.5, 0.6],
        "std": [0.5, 0.5, 0.5],
        "training_data": "drawn pictures",
        "framing": "letter",
    }
    assert json.loads((tmp_path / "small.json").read_text()) == wanted
    assert Model.load(tmp_path / "small.pt").sidecar == sidecar


def test_a_network_in_training_is_exported_as_it_is_used(network, tmp_path):
    network(torch.randn(8, 3, 32, 32))
    export(network.train(), tmp_path / "small.pt", RECIPE)
    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), np.uint8)
    codes = Model.load(tmp_path / "small.pt").codes(pixels)
    assert np.array_equal(codes, codes_of(network.eval(), pixels, RECIPE))


def test_an_older_model_of_the_name_is_replaced(network, tmp_path):
    for name in ("small.pt", "small.json"):
        (tmp_path / name).write_text("older")
    export(network, tmp_path / "small.pt", RECIPE)
    assert Model.load(tmp_path / "small.pt").sidecar.name == "small"


class Fickle(nn.Module):
    """Computes something else when it is traced."""

    def __init__(self, network: nn.Module, change, scale: float = 1.0):
        super().__init__()
        self.network, self.change, self.scale = network, change, scale

    def forward(self, x):
        outputs = self.network(x) * self.scale
        return self.change(outputs) if torch.jit.is_tracing() else outputs


@pytest.mark.parametrize(
    ("change", "scale"),
    [
        (lambda outputs: -outputs, 1.0),
        (lambda outputs: -outputs, 1e-6),
        (lambda outputs: outputs * torch.tensor([1.0] * 63 + [-1.0]), 1.0),
        (lambda outputs: outputs + 0.05 * outputs.abs().max(), 1.0),
    ],
    ids=["all bits", "all bits of small outputs", "one bit", "a little"],
)
def test_an_export_that_computes_something_else_is_refused(network, tmp_path, change, scale):
    path = tmp_path / "fickle.pt"
    with pytest.raises(ExportError, match="codes of the exported program differ"):
        export(Fickle(network, change, scale), path, RECIPE)
    assert not list(tmp_path.iterdir())
    export(Fickle(network, lambda outputs: outputs, scale), path, RECIPE)
    assert path.exists()


def test_a_refused_export_leaves_the_older_model(network, tmp_path):
    before = export(network, tmp_path / "small.pt", RECIPE)
    with pytest.raises(ExportError):
        export(Fickle(network, torch.neg), tmp_path / "small.pt", RECIPE)
    assert Model.load(tmp_path / "small.pt").sidecar == before
    assert len(list(tmp_path.iterdir())) == 2
