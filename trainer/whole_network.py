"""Training of all layers: every step sees new views of its pictures."""

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainer import processes
from trainer.backbone import drop_blocks, settle, width_of
from trainer.examples import TrainingSet
from trainer.guides import Guides
from trainer.losses import Losses
from trainer.network import HashNetwork
from trainer.recipe import Recipe
from trainer.views import Views, strengths


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
        self.views = Views(examples, recipe, device)
        self.losses_of = Losses(examples, recipe, device)
        self.guides = self._guides(network).to(device)
        drop_blocks(network.backbone, recipe.drop)
        if recipe.start:
            settle(network.backbone, self.batch(0)[1].flatten(0, 1))
        step = _Step(network, self.guides)
        self.forward = DistributedDataParallel(step) if processes.count() > 1 else step
        self.autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)

    def _guides(self, network: HashNetwork) -> nn.Module:
        recipe = self.recipe
        if not (recipe.classifiers or recipe.projection):
            return nn.Identity()
        width = width_of(network.backbone, recipe.input_size)
        return Guides(width, [int(one.max()) + 1 for one in self.losses_of.classes])

    def losses(self, number: int) -> dict[str, torch.Tensor]:
        """Losses of step `number`, by name."""
        rows, views = self.batch(number)
        with self.autocast:
            embeddings, outputs, guided = self.forward(views)
        losses = self.losses_of(rows, embeddings, outputs)
        return losses | self.losses_of.of_guides(rows, embeddings, *guided) if guided else losses

    def batch(self, number: int) -> tuple[np.ndarray, torch.Tensor]:
        """Rows of a step's pictures and this process's views of them."""
        rows, draw = self.examples.drawn(self.recipe, number)
        share, how = processes.share(len(rows)), strengths(self.recipe)
        return rows, self.views(rows, how, self._size(number), draw, share)

    def _size(self, number: int) -> int:
        sizes = self.recipe.training_sizes
        epoch = number // self.examples.steps_an_epoch(self.recipe)
        return sizes[epoch * len(sizes) // self.recipe.epochs]


class _Step(nn.Module):
    """The forward pass of a step: this process's views -> embeddings and outputs of all views, and
    what the guides make of the embeddings."""

    def __init__(self, network: HashNetwork, guides: nn.Module):
        super().__init__()
        self.network, self.guides = network, guides

    def forward(self, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple]:
        """float [v, n, 3, s, s] -> float [v * n of all processes, width] and [.., outputs]; logits
        and projections, or nothing."""
        inputs = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        embeddings = self.network.backbone(inputs)
        embeddings = processes.gather(embeddings.unflatten(0, views.shape[:2])).flatten(0, 1)
        guided = self.guides(embeddings) if isinstance(self.guides, Guides) else ()
        return embeddings, self.network.hash(embeddings), guided
