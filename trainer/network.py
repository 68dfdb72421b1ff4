"""The network that is trained and exported: a backbone and the hash layer on top of it."""

import torch
from torch import nn

from trainer.backbone import make_backbone, width_of
from trainer.recipe import Recipe


class HashNetwork(nn.Module):
    """float [n, 3, size, size], normalised -> float [n, bits], or [n, bits + fine_bits]."""

    def __init__(
        self, backbone: nn.Module, width: int, bits: int, hidden: int = 0, fine_bits: int = 0
    ):
        super().__init__()
        self.backbone = backbone
        code = _code_layer(width, bits, hidden)
        self.hash = BothCodes(code, _code_layer(width, fine_bits)) if fine_bits else code

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.hash(self.backbone(x))


class BothCodes(nn.Module):
    """The hash layer of a network with a longer code: float [n, width] -> float [n, bits +
    fine_bits], the outputs of the code first."""

    def __init__(self, code: nn.Sequential, fine: nn.Sequential):
        super().__init__()
        self.code, self.fine = code, fine

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.code(embeddings), self.fine(embeddings)], dim=1)


def _code_layer(width: int, bits: int, hidden: int = 0) -> nn.Sequential:
    """It ends in a linear layer without bias and a batch norm: the sign of an output is a bit, so
    its mean over the data belongs at zero.  hidden: width of a layer before it, 0 without."""
    layers: list[nn.Module] = []
    if hidden:
        layers = [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    layer = nn.Sequential(
        *layers, nn.Linear(hidden or width, bits, bias=False), nn.BatchNorm1d(bits)
    )
    # The loss does not see a shift of all outputs; a bias would follow rounding errors alone.
    layer[-1].bias.requires_grad_(False)
    return layer


def make_network(recipe: Recipe, with_weights: bool = True) -> HashNetwork:
    """The recipe's network, at its start.  with_weights: load pretrained ones where the recipe says
    so; without, for a network whose weights are loaded next.  Raises BackboneError."""
    backbone = make_backbone(recipe.backbone, recipe.pretrained, with_weights, recipe.weights)
    width = width_of(backbone, recipe.input_size)
    network = HashNetwork(backbone, width, recipe.bits, recipe.hidden, recipe.fine_bits)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
