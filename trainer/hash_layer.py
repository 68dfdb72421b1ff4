"""Training of the hash layer alone, on what the backbone sees of a few fixed views of every
picture: they are looked at once, and batches may then be large."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import faiss
import numpy as np
import torch
from torch import nn

from machine import progress
from machine.files import written_whole
from trainer import processes
from trainer.examples import TrainingSet
from trainer.losses import Losses, Pairs
from trainer.network import BothCodes, HashNetwork
from trainer.recipe import Recipe
from trainer.views import Views, strengths

PICTURES = 64
"""Looked at at a time."""
NEIGHBOURHOODS = 4096
"""At most: assigning a million pictures to more would take hours."""


class HashLayer:
    """What a step of such a training computes; all processes compute the same.

    Where the recipe says so, the instance term has batches of its own: of pictures that lie next to
    each other, since most are told apart anyway, and these would share a code.
    """

    def __init__(
        self,
        network: HashNetwork,
        examples: TrainingSet,
        recipe: Recipe,
        device: torch.device,
        precision: torch.dtype,
        folder: Path,
        tell: progress.Tell = progress.nobody,
    ):
        """Looks at all pictures.  folder: keeps what is seen, by what it depends on."""
        self.examples, self.recipe, self.device = examples, recipe, device
        self.hash = network.hash
        self.autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
        self.losses_of = Losses(examples, recipe, device)
        self.guides = torch.nn.Identity()
        look = Views(examples, recipe, device)
        backbone = network.backbone.eval().requires_grad_(False)
        name = self._digest(backbone)
        self.views = []
        for view, how in enumerate(self._strengths(), 1):
            path = folder / f"embeddings-{name}-{view}-{how}.npy"
            self.views.append(self._embedded(backbone, look, view, how, path, tell))
        self.near_views = self.views[:2]
        self.neighbourhoods: np.ndarray | None = None
        if recipe.neighbours:
            path = folder / f"neighbourhoods-{name}-{recipe.neighbours}.npy"
            self.neighbourhoods = neighbourhoods(self.views[0], recipe.neighbours, path)
            del self.views[0]  # the picture as it is belongs to them alone
        if isinstance(network.hash, BothCodes):
            begin_with_axes(network.hash.fine, self.views[0], recipe.seed)

    def losses(self, number: int) -> dict[str, torch.Tensor]:
        """Losses of step `number`, by name."""
        rows, draw = self.examples.drawn(self.recipe, number)
        embeddings = self._embeddings(rows, self.views, draw)
        if self.neighbourhoods is None:
            return self.losses_of(rows, embeddings, self._outputs(embeddings))
        near, near_embeddings = self._near(number, self.neighbourhoods)
        outputs = self._outputs(torch.cat([embeddings, near_embeddings]))
        outputs, near_outputs = outputs.split([len(embeddings), len(near_embeddings)])
        return self.losses_of(rows, embeddings, outputs, Pairs(near, near_outputs))

    def _outputs(self, embeddings: torch.Tensor) -> torch.Tensor:
        with self.autocast:
            return self.hash(embeddings)

    def _near(self, number: int, neighbourhoods: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """Rows [b] of pictures that a step tells from each other, of each drawn neighbourhood at
        most as many as the recipe says; the embeddings of both views."""
        draw = np.random.default_rng([self.recipe.seed, number, 1])
        size = self.recipe.neighbours
        drawn = draw.integers(len(self.examples), size=self.recipe.batch_size // size)
        there = [np.flatnonzero(neighbourhoods == one) for one in neighbourhoods[drawn]]
        rows = np.concatenate([draw.permutation(members)[:size] for members in there])
        return rows, self._embeddings(rows, self.near_views, draw)

    def _embeddings(
        self, rows: np.ndarray, views: list[np.ndarray], draw: np.random.Generator
    ) -> torch.Tensor:
        """Embeddings of the pictures `rows`, float [views * rows, width]: of the first view and of
        one of the others, or of any where one is enough."""
        if len(strengths(self.recipe)) > 1:
            chosen = [np.zeros(len(rows), np.int64), draw.integers(1, len(views), len(rows))]
        else:
            chosen = [draw.integers(len(views), size=len(rows))]
        values = [
            views[view][row] for those in chosen for view, row in zip(those, rows, strict=True)
        ]
        return torch.from_numpy(np.stack(values)).float().to(self.device)

    def _strengths(self) -> list[str]:
        """Of the fixed views: those of any training, the last as often as wanted; before them the
        picture as it is, where neighbours are to be told apart."""
        recipe = self.recipe
        first = [*(["none"] if recipe.neighbours else []), *strengths(recipe)]
        return [*first, *[recipe.augmentation] * recipe.fixed_views][: recipe.fixed_views]

    def _embedded(
        self,
        backbone: torch.nn.Module,
        look: Views,
        view: int,
        how: str,
        path: Path,
        tell: progress.Tell,
    ) -> np.ndarray:
        def see(rows: np.ndarray) -> torch.Tensor:
            recipe, draw = self.recipe, np.random.default_rng([self.recipe.seed, view - 1, rows[0]])
            seen = look(rows, [how], recipe.input_size, draw)[0]
            return backbone(seen.contiguous(memory_format=torch.channels_last))

        what = f"view {view} of {self.recipe.fixed_views}"
        return embedded(see, len(self.examples), path, what, tell)

    def _digest(self, backbone: torch.nn.Module) -> str:
        """Of all that the embeddings depend on."""
        recipe = self.recipe
        how = (dataclasses.astuple(recipe.sidecar()), recipe.seed)
        digest = hashlib.sha256(repr(how).encode() + self.examples.groups.tobytes())
        for value in backbone.state_dict().values():
            digest.update(value.cpu().contiguous().numpy())
        return digest.hexdigest()[:16]


@torch.no_grad()
def begin_with_axes(layer: nn.Sequential, embeddings: np.ndarray, seed: int) -> None:
    """Set a linear layer and its batch norm to the code that needs no training: the first principal
    axes of the embeddings float [n, width], each divided by the root of its singular value, turned
    at random so that all outputs tell as much.

    The idea of turning is from Gong and Lazebnik, "Iterative Quantization", CVPR 2011.
    """
    linear, norm = cast(nn.Linear, layer[0]), cast(nn.BatchNorm1d, layer[1])
    bits, width = linear.weight.shape
    values = torch.from_numpy(np.array(embeddings)).to(linear.weight.device)
    mean = values.mean(dim=0, dtype=torch.float64)
    scatter = torch.zeros(width, width, dtype=torch.float64, device=values.device)
    for part in values.split(8192):
        part = part - mean
        scatter += part.T @ part
    variances, axes = (one.flip(-1) for one in torch.linalg.eigh(scatter))
    count = min(bits, width)
    axes = axes[:, :count] * variances[:count].clamp_min(1e-9) ** -0.25
    random = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(bits, bits, generator=random, dtype=torch.float64)).Q
    axes = axes @ turn[:count].to(axes)
    linear.weight.copy_(axes.T * (len(values) / (axes.T @ scatter @ axes).diagonal().mean()) ** 0.5)
    norm.get_buffer("running_mean").copy_(linear.weight @ mean.float())
    norm.get_buffer("running_var").fill_(1)


def embedded(
    see: Callable[[np.ndarray], torch.Tensor],
    n: int,
    path: Path,
    what: str = "",
    tell: progress.Tell = progress.nobody,
) -> np.ndarray:
    """Embeddings float16 [n, width] of one view of all n pictures, memory-mapped.

    see: rows int64 [r] -> embeddings float [r, width] of these pictures.  path: the file that keeps
    them; if it is there, nothing is computed.  Under torchrun the processes share the work.
    """
    is_first, staged = processes.rank() == 0, path.with_suffix(".new")
    if not path.exists():
        starts = range(0, n, PICTURES)[processes.rank() :: processes.count()]
        with (
            written_whole(path, staged) if is_first else contextlib.nullcontext(),
            torch.inference_mode(),
        ):
            if is_first:
                width = see(np.arange(1)).shape[1]
                np.lib.format.open_memmap(staged, "w+", np.float16, (n, width))
            processes.wait_for_all()
            values = np.load(staged, mmap_mode="r+")
            steps = progress.told(starts, what, len(starts), tell if is_first else progress.nobody)
            for start in steps:
                rows = np.arange(start, min(start + PICTURES, n))
                values[rows] = see(rows).half().cpu().numpy()
            values.flush()
            processes.wait_for_all()
        processes.wait_for_all()
    return np.load(path, mmap_mode="r")


def neighbourhoods(embeddings: np.ndarray, size: int, path: Path) -> np.ndarray:
    """Number of the neighbourhood of every picture, int64 [n]: clusters by k-means of about `size`
    pictures, more where these would be over NEIGHBOURHOODS.

    embeddings: float [n, width].  path: the file that keeps them; if it is there, nothing is
    computed.
    """
    if processes.rank() == 0 and not path.exists():
        values = np.asarray(embeddings, np.float32)
        count = max(1, min(len(values) // size, NEIGHBOURHOODS))
        clusters = faiss.Kmeans(values.shape[1], count, niter=8, seed=1, min_points_per_centroid=1)
        clusters.train(values)
        with written_whole(path) as file:
            np.save(file, clusters.index.search(values, 1)[1][:, 0])
    processes.wait_for_all()
    return np.load(path)
