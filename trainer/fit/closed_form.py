"""Codes in closed form: embeddings of a catalogue's pictures -> the linear layers whose signs are
its codes.

All sums are torch's, in float64: numpy's depend on how many threads its BLAS has, torch's on the
number that it is set to.
"""

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from trainer.network import BothCodes

POWER = 0.5
"""Of the singular values by which the axes are divided: 0 leaves them as they are, and few bits
tell nearly all; 1 makes all alike, and many tell noise."""
PRIOR_PICTURES = 200
"""As many pictures of the catalogue count as much as the prior."""
ROUNDS = 50
"""Of ITQ."""


@dataclasses.dataclass(frozen=True)
class Prior:
    """How embeddings vary over pictures of all kinds, for catalogues that are too small to tell."""

    axes: np.ndarray
    """float16 [axes, width], of the largest variances, each of length 1."""
    variances: np.ndarray
    """float32 [axes]."""
    rest: float
    """Variance along every other axis."""

    def covariance(self) -> torch.Tensor:
        """float64 [width, width]."""
        axes, variances = _tensor(self.axes), _tensor(self.variances)
        every = self.rest * torch.eye(axes.shape[1], dtype=torch.float64)
        return every + (axes.T * (variances - self.rest)) @ axes


def read_prior(path: Path) -> Prior:
    """What `prior_of` gave."""
    with np.load(path) as file:
        return Prior(file["axes"], file["variances"], float(file["rest"]))


def prior_of(covariance: torch.Tensor, axes: int) -> Prior:
    """The first principal axes of a covariance float64 [width, width], and the mean of the rest."""
    variances, vectors = _principal(covariance)
    return Prior(
        vectors[:, :axes].T.numpy().astype(np.float16),
        variances[:axes].numpy().astype(np.float32),
        float(variances[axes:].mean()),
    )


def covariance_of(embeddings: np.ndarray) -> torch.Tensor:
    """float32 [n, width] -> float64 [width, width]."""
    centred = _tensor(embeddings)
    centred -= centred.mean(dim=0)
    return centred.T @ centred / len(centred)


def fit_layers(layers: BothCodes, embeddings: np.ndarray, prior: Prior, seed: int = 0) -> None:
    """Set the layers of both codes by embeddings float32 [n, width] of a catalogue's pictures.

    Both project the centred embeddings on principal axes, each divided by the root of its singular
    value.  The axes are those of the catalogue's covariance, shrunk towards the prior's: the fewer
    the pictures, the more.  The 64 are then rotated so that signs lose least (Gong and Lazebnik,
    "Iterative Quantization", CVPR 2011), the 256 at random, so that all bits tell as much.
    The same embeddings give the same layers, bit by bit, where torch has as many threads.
    """
    values = _tensor(embeddings)
    mean = values.mean(dim=0)
    own, general = covariance_of(embeddings), prior.covariance()
    general *= own.trace() / general.trace()
    share = len(embeddings) / (len(embeddings) + PRIOR_PICTURES)
    random = np.random.default_rng(seed)
    variances, axes = _principal(share * own + (1 - share) * general)
    for layer in (layers.code, layers.fine):
        bits = cast(nn.Linear, layer[0]).out_features
        projection = _projection(variances[:bits], axes[:, :bits])
        if layer is layers.code:
            turn = _itq((values - mean) @ projection, random)
        else:
            turn = _random_rotation(bits, random)
        _set(layer, projection @ turn, mean)


def _projection(variances: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    """Principal axes [width, bits] divided by their singular values to the POWER, such that the
    outputs have a mean variance of 1."""
    variances = variances.clamp_min(1e-9 * float(variances[0]))
    return axes * variances ** (-POWER / 2) / (variances ** (1 - POWER)).mean().sqrt()


def _principal(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances, descending, and their axes: float64 [width] and [width, width]."""
    variances, axes = torch.linalg.eigh(covariance)
    # An axis may point either way: float noise is not to choose.
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return variances.clamp_min(0).flip(-1), (axes * largest.sign()).flip(-1)


def _itq(rows: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """The rotation [bits, bits] of rows float64 [n, bits] that brings them near their signs."""
    turn = _random_rotation(rows.shape[1], random)
    for _ in range(ROUNDS):
        signs = (rows @ turn > 0).double() * 2 - 1
        left, _, right = torch.linalg.svd(rows.T @ signs)
        turn = left @ right
    return turn


def _random_rotation(size: int, random: np.random.Generator) -> torch.Tensor:
    return torch.linalg.qr(_tensor(random.standard_normal((size, size)))).Q


def _tensor(values: np.ndarray) -> torch.Tensor:
    """A copy, float64."""
    return torch.tensor(values, dtype=torch.float64)


@torch.no_grad()
def _set(layer: nn.Sequential, projection: torch.Tensor, mean: torch.Tensor) -> None:
    """Make the layer and its batch norm (embedding - mean) @ projection."""
    linear, norm = cast(nn.Linear, layer[0]), cast(nn.BatchNorm1d, layer[1])
    linear.weight.copy_(projection.T)
    norm.get_buffer("running_mean").copy_(mean @ projection)
    norm.get_buffer("running_var").fill_(1 - norm.eps)
