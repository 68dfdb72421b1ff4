"""Training of all layers: every step sees new views of its pictures."""

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainer import processes
from trainer.examples import TrainingSet
from trainer.losses import Losses
from trainer.network import HashNetwork
from trainer.recipe import Recipe
from trainer.views import strengths, views_of


class WholeNetwork:
    """What a step of such a training computes; several processes share out its views."""

    def __init__(
        self,
        network: HashNetwork,
        examples: TrainingSet,
        recipe: Recipe,
        device: torch.device,
        precision: torch.dtype,
    ):
        self.examples, self.recipe, self.device = examples, recipe, device
        step = _Step(network)
        self.forward = DistributedDataParallel(step) if processes.count() > 1 else step
        self.autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
        self.losses_of = Losses(examples, recipe, device)

    def losses(self, number: int) -> dict[str, torch.Tensor]:
        """Losses of step `number`, by name."""
        rows, views = self.batch(number)
        with self.autocast:
            embeddings, outputs = self.forward(views)
        return self.losses_of(rows, embeddings, outputs)

    def batch(self, number: int) -> tuple[np.ndarray, torch.Tensor]:
        """Rows of a step's pictures and this process's views of them."""
        rows, draw = self.examples.drawn(self.recipe, number)
        share = processes.share(len(rows))
        how, size = strengths(self.recipe), self._size(number)
        views = views_of(rows, self.examples, self.recipe, how, size, draw, share)
        return rows, views.to(self.device)

    def _size(self, number: int) -> int:
        sizes = self.recipe.training_sizes
        epoch = number // self.examples.steps_an_epoch(self.recipe)
        return sizes[epoch * len(sizes) // self.recipe.epochs]


class _Step(nn.Module):
    """The forward pass of a step: this process's views -> embeddings and outputs of all views."""

    def __init__(self, network: HashNetwork):
        super().__init__()
        self.network = network

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float [v, n, 3, s, s] -> float [v * n of all processes, width] and [.., bits]."""
        inputs = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        embeddings = self.network.backbone(inputs)
        embeddings = processes.gather(embeddings.unflatten(0, views.shape[:2])).flatten(0, 1)
        return embeddings, self.network.hash(embeddings)
