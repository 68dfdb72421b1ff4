"""The losses of a step, by name: RelaHash and the terms that the recipe weighs."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from hashing.codes import CODE_BITS
from trainer import relahash
from trainer.examples import TrainingSet
from trainer.recipe import Recipe, Terms


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Two views each of n pictures that the instance term tells from each other."""

    rows: np.ndarray
    """int64 [n], of the training set."""
    outputs: torch.Tensor
    """float [2 n, outputs]: the one view of all, then the other."""


class Losses:
    """Takes what a network makes of a batch, gives the batch's losses, each times its weight."""

    def __init__(self, examples: TrainingSet, recipe: Recipe, device: torch.device):
        self.recipe = recipe
        self.labelled = CODE_BITS - recipe.own_bits
        targets = examples.targets
        self.centroids = relahash.centroids(len(targets.classes), self.labelled, recipe.seed)
        self.centroids = self.centroids.to(device)
        self.targets, self.groups, self.kinds, self.sources = (
            torch.from_numpy(values).to(device)
            for values in (targets.rows, examples.groups, examples.kinds, examples.sources)
        )
        self.classes = [torch.from_numpy(one).to(device) for one in targets.of_each_label()]

    def __call__(
        self,
        rows: np.ndarray,
        embeddings: torch.Tensor,
        outputs: torch.Tensor,
        pairs: Pairs | None = None,
    ) -> dict[str, torch.Tensor]:
        """rows: int64 [n].  embeddings, outputs: float [v * n, width] and [v * n, outputs], of all
        of them in one view, then in the next.  pairs: of the instance term; without, these n."""
        recipe, own = self.recipe, torch.from_numpy(rows).to(outputs.device)
        every = own.repeat(len(outputs) // len(rows))
        losses = {
            "relahash": relahash.loss(
                outputs[:, : self.labelled],
                self.targets[every],
                self.centroids,
                recipe.margin,
                recipe.scale,
            )
        }
        paired = pairs.outputs if pairs else outputs
        told = torch.from_numpy(pairs.rows).to(outputs.device) if pairs else own
        seen = slice(self.labelled if recipe.own_bits else 0, CODE_BITS)
        codes = [("", recipe.terms, slice(0, CODE_BITS), seen)]
        if recipe.fine_bits:
            fine = slice(CODE_BITS, CODE_BITS + recipe.fine_bits)
            codes.append(("fine ", recipe.fine_terms, fine, fine))
        for prefix, terms, bits, told_by in codes:
            losses |= {
                prefix + name: value
                for name, value in self._terms(
                    terms, every, embeddings, outputs[:, bits], told, paired[:, told_by]
                ).items()
            }
        return losses

    def _terms(
        self,
        terms: Terms,
        rows: torch.Tensor,
        embeddings: torch.Tensor,
        outputs: torch.Tensor,
        told: torch.Tensor,
        paired: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Of one of the codes.  told, paired: rows int [p] of the instance term's pairs and their
        outputs float [2 p, bits]."""
        losses = {}
        if terms.instance:
            similarities = relahash.code_similarities(paired)
            losses["instance"] = terms.instance * relahash.instance_term(
                similarities, self.groups[told]
            )
        if terms.embedding or terms.across or terms.spread:
            similarities = relahash.code_similarities(outputs)
            kinds, sources = self.kinds[rows], self.sources[rows]
        if terms.embedding:
            losses["embedding"] = terms.embedding * relahash.embedding_term(
                similarities, embeddings
            )
        if terms.across:
            losses["across"] = terms.across * relahash.across_term(similarities, kinds, sources)
        if terms.spread:
            losses["spread"] = terms.spread * relahash.spread_term(similarities, kinds, sources)
        return losses

    def of_guides(
        self,
        rows: np.ndarray,
        embeddings: torch.Tensor,
        logits: list[torch.Tensor],
        projections: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """What the layers that are thrown away are for (`trainer.guides`): the embedding is to tell
        every label's classes, pictures and, across sources, kinds."""
        recipe, own = self.recipe, torch.from_numpy(rows).to(embeddings.device)
        every = own.repeat(len(embeddings) // len(rows))
        losses = {}
        if recipe.classifiers:
            weights = list(recipe.labels.values()) or [1.0] * len(logits)
            terms = [
                weight / max(weights) * _of_known(given.float(), classes[every])
                for weight, given, classes in zip(weights, logits, self.classes, strict=True)
            ]
            losses["classes"] = recipe.classifiers * torch.stack(terms).sum()
            term = relahash.across_term(
                relahash.cosines(embeddings), self.kinds[every], self.sources[every]
            )
            losses["kinds"] = recipe.classifiers / 2 * term
        if recipe.projection and len(every) == 2 * len(own):
            unit = F.normalize(projections.float(), dim=1)
            losses["projection"] = recipe.projection * relahash.instance_term(
                unit @ unit.T, self.groups[own]
            )
        return losses


def _of_known(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, classes smoothed a little, of rows whose class is known: -1 is not."""
    loss = F.cross_entropy(logits, classes, ignore_index=-1, label_smoothing=0.05, reduction="sum")
    return loss / (classes >= 0).sum().clamp_min(1)
