"""The losses of a step, by name: RelaHash and the terms that the recipe weighs."""

import dataclasses

import numpy as np
import torch

from trainer import relahash
from trainer.examples import TrainingSet
from trainer.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Two views each of n pictures that the instance term tells from each other."""

    rows: np.ndarray
    """int64 [n], of the training set."""
    outputs: torch.Tensor
    """float [2 n, bits]: the one view of all, then the other."""
    neighbourhoods: torch.Tensor | None = None
    """int64 [n]: pictures are told from those of the same number only; None: from all."""


class Losses:
    """Takes what a network makes of a batch, gives the batch's losses, each times its weight."""

    def __init__(self, examples: TrainingSet, recipe: Recipe, device: torch.device):
        self.examples, self.recipe, self.device = examples, recipe, device
        self.labelled = recipe.bits - recipe.own_bits
        classes = len(examples.targets.classes)
        self.centroids = relahash.centroids(classes, self.labelled, recipe.seed).to(device)

    def __call__(
        self,
        rows: np.ndarray,
        embeddings: torch.Tensor,
        outputs: torch.Tensor,
        pairs: Pairs | None = None,
    ) -> dict[str, torch.Tensor]:
        """rows: int64 [n].  embeddings, outputs: float [v * n, width] and [v * n, bits], of all of
        them in one view, then in the next.  pairs: of the instance term; without, these n."""
        recipe = self.recipe
        targets = torch.from_numpy(self.examples.targets.rows[rows]).to(self.device)
        losses = {
            "relahash": relahash.loss(
                outputs[:, : self.labelled],
                targets.repeat(len(outputs) // len(rows), 1),
                self.centroids,
                recipe.margin,
                recipe.scale,
            )
        }
        if recipe.instance:
            term = self._instance_term(pairs or Pairs(rows, outputs))
            losses["instance"] = recipe.instance * term
        if recipe.embedding:
            losses["embedding"] = recipe.embedding * relahash.embedding_term(outputs, embeddings)
        return losses

    def _instance_term(self, pairs: Pairs) -> torch.Tensor:
        groups = torch.from_numpy(self.examples.groups[pairs.rows]).to(self.device)
        seen = pairs.outputs[:, self.labelled if self.recipe.own_bits else 0 :]
        return relahash.instance_term(seen, groups, pairs.neighbourhoods)
