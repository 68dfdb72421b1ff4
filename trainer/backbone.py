"""The network: a small residual network from pixels to 64 real-valued outputs."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Basic residual block; the shortcut averages where the block halves the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, outputs, stride),
            nn.ReLU(inplace=True),
            *convolution(outputs, outputs),
        )
        shortcut = [nn.AvgPool2d(stride)] if stride > 1 else []
        if inputs != outputs:
            shortcut += convolution(inputs, outputs, kernel=1)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """float [n, 3, size, size], normalised -> float [n, bits].

    The last layer is a linear one without bias and a batch norm: the sign of an output is a bit, so
    its mean over the data belongs at zero.
    """

    def __init__(self, bits: int = 64, widths: tuple[int, ...] = (64, 128, 256, 512)):
        super().__init__()
        self.stem = nn.Sequential(
            *convolution(3, 32, stride=2),
            nn.ReLU(inplace=True),
            *convolution(32, 32),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        inputs = (32, *widths)
        self.stages = nn.Sequential(
            *(Block(inputs[i], width, stride=1 if i == 0 else 2) for i, width in enumerate(widths))
        )
        self.hash = nn.Sequential(nn.Linear(widths[-1], bits, bias=False), nn.BatchNorm1d(bits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stages(self.stem(x)).mean(dim=(2, 3))
        return self.hash(features)


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride) and its batch norm."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
