"""Training: labelled pictures -> a checkpoint after every epoch -> TorchScript and its sidecar."""

import dataclasses
import time
from pathlib import Path

import click
import numpy as np
import torch

from trainer import relahash
from trainer.augment import augment
from trainer.backbone import ResidualNetwork
from trainer.checkpoint import resume, save
from trainer.data import Labelled
from trainer.recipe import Recipe

LABEL_WEIGHTS = {"article_type": 2.0, "colour": 1.0, "gender": 0.5}
MINIMUM_COLOUR_COUNT = 100


@dataclasses.dataclass(frozen=True)
class Targets:
    """Training targets: names of the classes (`column=value`), float32 [n, classes] whose rows sum
    to 1, and the sampling weight float64 [n] of each row."""

    classes: list[str]
    rows: np.ndarray
    sampling: np.ndarray


def targets_of(data: Labelled) -> Targets:
    """Soft targets over the classes of all label columns, each column with its weight.

    Rows are sampled by 1/sqrt(size of their article type): a plain draw would see 6,000 T-shirts
    for 50 of the rarest type, an even one would see the 50 a hundred times an epoch.
    """
    classes, parts = [], []
    for column, weight in LABEL_WEIGHTS.items():
        values = getattr(data, column)
        names, counts = np.unique(values[values != ""], return_counts=True)
        if column == "colour":
            names = names[counts >= MINIMUM_COLOUR_COUNT]
        classes += [f"{column}={name}" for name in names]
        parts.append(weight * (values[:, None] == names[None, :]))
    rows = np.concatenate(parts, axis=1)
    rows /= rows.sum(axis=1, keepdims=True)
    _, inverse, counts = np.unique(data.article_type, return_inverse=True, return_counts=True)
    sampling = 1 / np.sqrt(counts[inverse])
    return Targets(classes, rows.astype(np.float32), sampling / sampling.sum())


def train(data: Labelled, recipe: Recipe, checkpoint: Path) -> ResidualNetwork:
    """Train on `data` and return the network in evaluation mode.

    A checkpoint is written after every epoch; a run that finds one continues after it, and ends up
    where an undisturbed run would.  Raises CheckpointError.
    """
    torch.manual_seed(recipe.seed)
    targets = targets_of(data)
    centroids = relahash.centroids(len(targets.classes), recipe.bits, recipe.seed)
    network = ResidualNetwork(recipe.bits).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = len(data) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs
    )
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    first = resume(checkpoint, recipe, parts)
    for epoch in range(first, recipe.epochs):
        _train_epoch(data, targets, centroids, recipe, epoch, network, optimizer, schedule)
        save(checkpoint, recipe, epoch + 1, parts)
    return network.eval()


def _train_epoch(data, targets, centroids, recipe, epoch, network, optimizer, schedule) -> None:
    draw = np.random.default_rng([recipe.seed, epoch])
    random = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
    order = draw.choice(len(data), size=len(data), p=targets.sampling)
    batches = order[: len(order) // recipe.batch_size * recipe.batch_size]
    batches = batches.reshape(-1, recipe.batch_size)
    mean = torch.tensor(recipe.mean).view(1, 3, 1, 1)
    std = torch.tensor(recipe.std).view(1, 3, 1, 1)
    network.train()
    average, start = 0.0, time.monotonic()
    label = f"epoch {epoch + 1}/{recipe.epochs}"
    with click.progressbar(batches, label=label, item_show_func=lambda text: text) as bar:
        for step, rows in enumerate(batches):
            images = torch.from_numpy(data.pixels[rows]).permute(0, 3, 1, 2).float() / 255
            images = (augment(images, random) - mean) / std
            with torch.autocast("cpu", torch.bfloat16):
                outputs = network(images.contiguous(memory_format=torch.channels_last))
            value = relahash.loss(outputs, torch.from_numpy(targets.rows[rows]), centroids)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            average += (value.item() - average) * max(0.01, 1 / (step + 1))
            rate = (step + 1) * recipe.batch_size / (time.monotonic() - start)
            bar.update(1, f"loss {average:.3f}, {rate:.0f} pictures/s")
    click.echo(f"{label}: loss {average:.3f}, {rate:.0f} pictures/s")
