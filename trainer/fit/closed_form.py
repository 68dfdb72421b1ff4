"""Codes in closed form: embeddings of a catalogue's pictures -> the linear layers whose signs are
its codes."""

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

    def covariance(self) -> np.ndarray:
        """float64 [width, width]."""
        axes = self.axes.astype(np.float64)
        return self.rest * np.eye(axes.shape[1]) + (axes.T * (self.variances - self.rest)) @ axes


def read_prior(path: Path) -> Prior:
    """What `prior_of` gave."""
    with np.load(path) as file:
        return Prior(file["axes"], file["variances"], float(file["rest"]))


def prior_of(covariance: np.ndarray, axes: int) -> Prior:
    """The first principal axes of a covariance float [width, width], and the mean of the rest."""
    variances, vectors = _principal(covariance)
    return Prior(
        vectors[:, :axes].T.astype(np.float16),
        variances[:axes].astype(np.float32),
        float(variances[axes:].mean()),
    )


def covariance_of(embeddings: np.ndarray) -> np.ndarray:
    """float32 [n, width] -> float64 [width, width]."""
    centred = embeddings - embeddings.mean(axis=0, dtype=np.float64)
    return centred.T @ centred / len(embeddings)


def fit_layers(layers: BothCodes, embeddings: np.ndarray, prior: Prior, seed: int = 0) -> None:
    """Set the layers of both codes by embeddings float32 [n, width] of a catalogue's pictures.

    Both project the centred embeddings on principal axes, each divided by the root of its singular
    value.  The axes are those of the catalogue's covariance, shrunk towards the prior's: the fewer
    the pictures, the more.  The 64 are then rotated so that signs lose least (Gong and Lazebnik,
    "Iterative Quantization", CVPR 2011), the 256 at random, so that all bits tell as much.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    own, general = covariance_of(embeddings), prior.covariance()
    general *= np.trace(own) / np.trace(general)
    share = len(embeddings) / (len(embeddings) + PRIOR_PICTURES)
    covariance = share * own + (1 - share) * general
    random = np.random.default_rng(seed)
    variances, axes = _principal(covariance)
    for layer in (layers.code, layers.fine):
        bits = cast(nn.Linear, layer[0]).out_features
        projection = _projection(variances[:bits], axes[:, :bits])
        if layer is layers.code:
            turn = _itq((embeddings - mean) @ projection, random)
        else:
            turn = _random_rotation(bits, random)
        _set(layer, projection @ turn, mean)


def _projection(variances: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Principal axes [width, bits] divided by their singular values to the POWER, such that the
    outputs have a mean variance of 1."""
    variances = np.maximum(variances, 1e-9 * variances[0])
    scaled = axes * variances ** (-POWER / 2)
    return scaled / np.sqrt((variances ** (1 - POWER)).mean())


def _principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances, descending, and their axes: float64 [width] and [width, width]."""
    variances, axes = np.linalg.eigh(covariance)
    # An axis may point either way: float noise is not to choose.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    return np.maximum(variances[::-1], 0), (axes * np.sign(largest))[:, ::-1]


def _itq(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The rotation [bits, bits] of rows float64 [n, bits] that brings them near their signs."""
    turn = _random_rotation(rows.shape[1], random)
    for _ in range(ROUNDS):
        left, _, right = np.linalg.svd(rows.T @ np.where(rows @ turn > 0, 1.0, -1.0))
        turn = left @ right
    return turn


def _random_rotation(size: int, random: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(random.standard_normal((size, size)))[0]


@torch.no_grad()
def _set(layer: nn.Sequential, projection: np.ndarray, mean: np.ndarray) -> None:
    """Make the layer and its batch norm (embedding - mean) @ projection."""
    linear, norm = cast(nn.Linear, layer[0]), cast(nn.BatchNorm1d, layer[1])
    linear.weight.copy_(torch.from_numpy(projection.T.copy()))
    norm.get_buffer("running_mean").copy_(torch.from_numpy(mean @ projection))
    norm.get_buffer("running_var").fill_(1 - norm.eps)
