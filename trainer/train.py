"""Training: labelled pictures -> checkpoints as it goes -> a network.

What a step computes depends on the recipe, the data and the step's number alone, so that a stopped
run ends where an undisturbed one does, and several processes where one does.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from machine import progress
from trainer import processes
from trainer.checkpoint import first_network, resume, save
from trainer.examples import TrainingSet
from trainer.hash_layer import HashLayer
from trainer.network import BothCodes, HashNetwork
from trainer.recipe import Recipe
from trainer.whole_network import WholeNetwork

CHECKPOINT_SECONDS = 120
WARM_UP_SHARE = 0.1
LONGEST_GRADIENT = 5.0
FINE_RATE = 0.15
"""Of the hash layer alone: the longer code starts near where it ends, and learns so much slower."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is told of a run as it goes."""

    step: int
    steps: int
    losses: dict[str, float]
    """By name, running averages over about 100 steps."""
    learning_rate: float
    pictures_per_second: float
    seconds_left: float


def train(
    examples: TrainingSet,
    recipe: Recipe,
    checkpoint: Path,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
    tell: Callable[[Progress], None] = lambda progress: None,
    tell_looking: progress.Tell = progress.nobody,
    note: Callable[[str], None] = lambda sentence: None,
) -> HashNetwork:
    """Train and return the network (the averaged one where the recipe averages), in evaluation
    mode.  Under torchrun all processes call this with the same arguments.

    A checkpoint is written every CHECKPOINT_SECONDS and at the end; a run that finds one continues
    there.  tell: called after every step, on the first process.  tell_looking: of a training of the
    hash layer alone, while the pictures are looked at.  note: is given what happened in a sentence.
    Raises CheckpointError, BackboneError.
    """
    device = torch.device(device)
    steps = examples.steps_an_epoch(recipe) * recipe.epochs
    network = _start(recipe, device)
    training: WholeNetwork | HashLayer
    if recipe.fixed_views:
        folder = checkpoint.parent
        training = HashLayer(network, examples, recipe, device, precision, folder, tell_looking)
    else:
        training = WholeNetwork(network, examples, recipe, device, precision)
    optimizer = _Optimizer(network, training.guides, recipe, steps)
    digest = examples.digest()
    first = resume(checkpoint, recipe, digest, optimizer.parts())
    if first:
        note(f"{checkpoint}: continuing after step {first} of {steps}")
    start = saved = time.monotonic()
    averages: dict[str, float] = {}
    for step in range(first, steps):
        losses = training.losses(step)
        optimizer.step(losses)
        for name, loss in losses.items():
            old = averages.get(name, loss.item())
            averages[name] = old + (loss.item() - old) * max(0.01, 1 / (step - first + 1))
        now = time.monotonic()
        if processes.rank() == 0:
            if now - saved > CHECKPOINT_SECONDS or step + 1 == steps:
                save(checkpoint, recipe, digest, step + 1, steps, optimizer.parts())
                saved = time.monotonic()
            done, left = step + 1 - first, steps - step - 1
            rate = done * recipe.batch_size / (now - start)
            seconds_left = left * (now - start) / done
            rates = (optimizer.learning_rate, rate, seconds_left)
            tell(Progress(step + 1, steps, dict(averages), *rates))
    processes.wait_for_all()
    return optimizer.result.eval()


def _start(recipe: Recipe, device: torch.device) -> HashNetwork:
    torch.manual_seed(recipe.seed)
    network = first_network(recipe).to(device).train()
    for part in list(network.backbone.children())[: recipe.frozen]:
        part.requires_grad_(False).eval()
    if device.type == "cuda" and processes.count() > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network


class _Optimizer:
    """AdamW on a one-cycle schedule, and the moving average of the weights."""

    def __init__(self, network: HashNetwork, guides: nn.Module, recipe: Recipe, steps: int):
        self.network, self.guides = network, guides
        rates: list[tuple[float, list[nn.Module]]] = [
            (recipe.backbone_learning_rate, [network.backbone]),
            (recipe.learning_rate, [network.hash, guides]),
        ]
        if recipe.fixed_views and isinstance(network.hash, BothCodes):
            rates[1] = (recipe.learning_rate, [network.hash.code, guides])
            rates.append((FINE_RATE * recipe.learning_rate, [network.hash.fine]))
        groups = [group for rate, parts in rates for group in _groups(rate, parts, recipe)]
        self.optimizer = torch.optim.AdamW(groups)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            [group["lr"] for group in groups],
            total_steps=steps + 1,
            pct_start=max(WARM_UP_SHARE, 2 / (steps + 1)),  # one step at least
            cycle_momentum=False,
        )
        self.average = None
        if recipe.averaging:
            # Over a tenth of the steps at most: a short run would else end near its start.
            decay = max(0.0, min(recipe.averaging, 1 - 10 / steps))
            self.average = AveragedModel(
                network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
            )

    @property
    def result(self) -> HashNetwork:
        """The network to use."""
        return cast(HashNetwork, self.average.module) if self.average else self.network

    @property
    def learning_rate(self) -> float:
        return float(max(self.schedule.get_last_lr()))

    def parts(self) -> dict[str, Any]:
        """All that a checkpoint must hold."""
        parts: dict[str, Any] = {
            "network": self.result,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "guides": self.guides,
        }
        return parts | {"current": self.network, "average": self.average} if self.average else parts

    def step(self, losses: dict[str, torch.Tensor]) -> None:
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        trained = [*self.network.parameters(), *self.guides.parameters()]
        nn.utils.clip_grad_norm_(trained, LONGEST_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.network)


def _groups(rate: float, parts: list[nn.Module], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of one learning rate; scales and shifts do not decay."""
    trained = [value for part in parts for value in part.parameters() if value.requires_grad]
    kinds = (
        ([value for value in trained if value.dim() > 1], recipe.weight_decay),
        ([value for value in trained if value.dim() == 1], 0.0),
    )
    return [
        {"params": values, "lr": rate, "weight_decay": decay} for values, decay in kinds if values
    ]
