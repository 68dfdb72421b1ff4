"""Training: labelled pictures -> checkpoints as it goes -> a network.

What a step computes depends on the recipe, the data and the step's number alone, so that a stopped
run ends where an undisturbed one does, and several processes where one does.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainer import augment, data, processes, relahash
from trainer.checkpoint import first_network, resume, save
from trainer.data import Pictures
from trainer.embedded import embedded, neighbourhoods
from trainer.network import HashNetwork
from trainer.recipe import Recipe
from trainer.targets import Targets, joined, targets_of, trained_on

CHECKPOINT_SECONDS = 120
WARM_UP_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """pixels: uint8 [n, s, s, 3].  groups: int64 [n], the same number for copies of a picture."""

    pixels: np.ndarray
    targets: Targets
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def digest(self) -> str:
        """Of classes, targets and groups, row by row: equal for the same data alone."""
        digest = hashlib.sha256("\n".join(self.targets.classes).encode())
        for values in (self.targets.rows, self.targets.sampling, self.groups):
            digest.update(np.ascontiguousarray(values))
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is told of a run as it goes: losses by name, running averages over about 100 steps."""

    step: int
    steps: int
    losses: dict[str, float]
    learning_rate: float
    pictures_per_second: float
    seconds_left: float


def training_set(parts: list[Pictures], recipe: Recipe, cache: Path | None = None) -> TrainingSet:
    """Everything of `parts` that is to be trained on, decoded.

    cache: file for the pixels, which processes then share; in memory without.  Raises DataError.
    """
    known = {label for part in parts for label in part.labels}
    if missing := recipe.leave_out.keys() - known:
        raise data.DataError(
            f"the data has no label {min(missing)}; it has {', '.join(sorted(known))}; "
            "correct leave_out in the recipe"
        )
    kept = [trained_on(part, recipe.leave_out) for part in parts]
    targets = _weighed(targets_of(joined(parts, kept), recipe), parts, kept, recipe)
    size = recipe.input_size
    shape = (sum(int(rows.sum()) for rows in kept), size, size, 3)
    if processes.rank() == 0:
        pixels = np.lib.format.open_memmap(cache, "w+", np.uint8, shape) if cache else None
        pixels = pixels if cache else np.empty(shape, np.uint8)
        start = 0
        for part, rows in zip(parts, kept, strict=True):
            end = start + int(rows.sum())
            chosen = np.flatnonzero(rows)
            data.pixels(part, size, recipe.resampling, pixels[start:end], chosen)
            start = end
    processes.wait_for_all()
    if cache:
        pixels = np.load(cache, mmap_mode="r")
    names = [
        f"{number} {group}"
        for number, (part, rows) in enumerate(zip(parts, kept, strict=True))
        for group in part.groups[rows]
    ]
    return TrainingSet(pixels, targets, np.unique(names, return_inverse=True)[1])


def train(
    examples: TrainingSet,
    recipe: Recipe,
    checkpoint: Path,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
    tell: Callable[[Progress], None] | None = None,
) -> HashNetwork:
    """Train and return the network (the averaged one where the recipe averages), in evaluation
    mode.  Under torchrun all processes call this with the same arguments.

    A checkpoint is written every CHECKPOINT_SECONDS and at the end; a run that finds one continues
    there.  tell: called after every step, on the first process.  Raises CheckpointError,
    BackboneError.
    """
    run = _Run(examples, recipe, torch.device(device), precision)
    if recipe.fixed_views:
        run.fix_backbone(checkpoint.parent)
    parts = run.parts()
    digest = examples.digest()
    first = resume(checkpoint, recipe, digest, run.steps, parts)
    start = saved = time.monotonic()
    averages: dict[str, float] = {}
    for step in range(first, run.steps):
        for name, value in run.step(step).items():
            old = averages.get(name, value)
            averages[name] = old + (value - old) * max(0.01, 1 / (step - first + 1))
        now = time.monotonic()
        if processes.rank() == 0:
            if now - saved > CHECKPOINT_SECONDS or step + 1 == run.steps:
                save(checkpoint, recipe, digest, step + 1, run.steps, parts)
                saved = time.monotonic()
            if tell:
                done, left = step + 1 - first, run.steps - step - 1
                rate = done * recipe.batch_size / (now - start)
                seconds_left = left * (now - start) / done
                tell(Progress(step + 1, run.steps, averages, run.learning_rate, rate, seconds_left))
    processes.wait_for_all()
    return run.result.eval()


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


class _Run:
    """A run's network, optimizer and schedule, and what one step does."""

    def __init__(self, examples, recipe: Recipe, device: torch.device, precision: torch.dtype):
        torch.manual_seed(recipe.seed)
        self.examples, self.recipe, self.device = examples, recipe, device
        self.precision = precision
        self.steps_an_epoch = max(1, len(examples) // recipe.batch_size)
        self.steps = self.steps_an_epoch * recipe.epochs
        self.network = first_network(recipe).to(device).train()
        for part in list(self.network.backbone.children())[: recipe.frozen]:
            part.requires_grad_(False)
        if device.type == "cuda" and processes.count() > 1:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        # Of a fixed backbone: float16 [n, width] of every view of all pictures.
        self.embeddings: list[np.ndarray] = []
        # Where the instance term is to tell neighbours apart: of every picture, int64 [n], and the
        # two views of each.
        self.neighbourhoods: np.ndarray | None = None
        self.near_views: list[np.ndarray] = []
        step = _Step(self.network)
        self.forward = DistributedDataParallel(step) if processes.count() > 1 else step
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self.network.backbone.parameters(), "lr": recipe.backbone_learning_rate},
                {"params": self.network.hash.parameters(), "lr": recipe.learning_rate},
            ],
            weight_decay=recipe.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            [recipe.backbone_learning_rate, recipe.learning_rate],
            total_steps=self.steps + 1,
            pct_start=max(WARM_UP_SHARE, 2 / (self.steps + 1)),  # one step at least
            cycle_momentum=False,
        )
        self.average = None
        if recipe.averaging:
            # Over a tenth of the steps at most: a short run would else end near its start.
            decay = max(0.0, min(recipe.averaging, 1 - 10 / self.steps))
            self.average = AveragedModel(
                self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
            )
        self.centroids = relahash.centroids(
            len(examples.targets.classes), recipe.bits - recipe.own_bits, recipe.seed
        ).to(device)

    def fix_backbone(self, folder: Path) -> None:
        """Look at all pictures now, and train the hash layer alone.  folder: keeps the embeddings,
        by what they depend on."""
        backbone = self.network.backbone.eval().requires_grad_(False)
        recipe = self.recipe
        strengths = self._fixed_strengths()
        how = (recipe.input_size, recipe.seed, recipe.resampling, recipe.mean, recipe.std)
        digest = hashlib.sha256(repr(how).encode() + self.examples.groups.tobytes())
        for value in backbone.state_dict().values():
            digest.update(value.cpu().contiguous().numpy())
        name = digest.hexdigest()[:16]
        views = []
        for view, strength in enumerate(strengths):

            def see(rows: np.ndarray, view: int = view, strength: str = strength) -> torch.Tensor:
                draw = np.random.default_rng([recipe.seed, view, rows[0]])
                seen = self._views(rows, draw, [strength], recipe.input_size)[0]
                return backbone(seen.contiguous(memory_format=torch.channels_last))

            path = folder / f"embeddings-{name}-{view + 1}-{strength}.npy"
            label = f"view {view + 1} of {recipe.fixed_views}"
            views.append(embedded(see, len(self.examples), label, path))
        if recipe.neighbours:
            # The picture as it is belongs to them alone.
            path = folder / f"neighbourhoods-{name}-{recipe.neighbours}.npy"
            self.neighbourhoods = neighbourhoods(views[0], recipe.neighbours, path)
            self.near_views, views = views[:2], views[1:]
        self.embeddings = views
        self.forward = lambda embeddings: (embeddings, self.network.hash(embeddings))

    @property
    def result(self) -> HashNetwork:
        """The network to use."""
        return self.average.module if self.average else self.network

    @property
    def learning_rate(self) -> float:
        return self.schedule.get_last_lr()[-1]

    def parts(self) -> dict:
        """All that a checkpoint must hold."""
        parts = {"network": self.result, "optimizer": self.optimizer, "schedule": self.schedule}
        return parts | {"current": self.network, "average": self.average} if self.average else parts

    def step(self, number: int) -> dict[str, float]:
        """One step; its losses by name."""
        rows, seen = self._known(number) if self.embeddings else self._batch(number)
        told, neighbourhoods = rows, None
        if self.neighbourhoods is not None:
            told, neighbourhoods, seen_too = self._neighbours(number)
            seen = torch.cat([seen, seen_too])
        targets = torch.from_numpy(self.examples.targets.rows[rows]).to(self.device)
        with torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            embeddings, outputs = self.forward(seen)
        recipe, labelled = self.recipe, self.recipe.bits - self.recipe.own_bits
        to_tell = outputs[-2 * len(told) :, labelled if recipe.own_bits else 0 :]
        if neighbourhoods is not None:
            embeddings, outputs = embeddings[: -len(to_tell)], outputs[: -len(to_tell)]
        losses = {
            "relahash": relahash.loss(
                outputs[:, :labelled],
                targets.repeat(len(outputs) // len(rows), 1),
                self.centroids,
                recipe.margin,
                recipe.scale,
            )
        }
        if recipe.instance:
            groups = torch.from_numpy(self.examples.groups[told]).to(self.device)
            term = relahash.instance_term(to_tell, groups, neighbourhoods)
            losses["instance"] = recipe.instance * term
        if recipe.embedding:
            losses["embedding"] = recipe.embedding * relahash.embedding_term(outputs, embeddings)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.network)
        return {name: value.item() for name, value in losses.items()}

    def _rows(self, number: int) -> tuple[np.ndarray, np.random.Generator]:
        """Rows int64 [batch] of a step's pictures, and the generator of all else that is drawn."""
        draw = np.random.default_rng([self.recipe.seed, number])
        sampling = self.examples.targets.sampling
        return draw.choice(len(sampling), size=self.recipe.batch_size, p=sampling), draw

    def _batch(self, number: int) -> tuple[np.ndarray, torch.Tensor]:
        """Rows of a step's pictures and this process's views of them."""
        rows, draw = self._rows(number)
        return rows, self._views(rows, draw, self._strengths(), self._size(number))

    def _known(self, number: int) -> tuple[np.ndarray, torch.Tensor]:
        """Rows of a step's pictures and the embeddings of their views."""
        rows, draw = self._rows(number)
        return rows, self._embeddings_of(rows, self.embeddings, draw)

    def _neighbours(self, number: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        """Rows [b] of pictures that a step tells from their neighbours, of each drawn neighbourhood
        at most as many as the recipe says; its number int64 [b]; the embeddings of both views."""
        draw = np.random.default_rng([self.recipe.seed, number, 1])
        size = self.recipe.neighbours
        drawn = draw.integers(len(self.examples), size=self.recipe.batch_size // size)
        there = [np.flatnonzero(self.neighbourhoods == one) for one in self.neighbourhoods[drawn]]
        rows = np.concatenate([draw.permutation(members)[:size] for members in there])
        numbers = torch.from_numpy(self.neighbourhoods[rows]).to(self.device)
        return rows, numbers, self._embeddings_of(rows, self.near_views, draw)

    def _embeddings_of(
        self, rows: np.ndarray, views: list[np.ndarray], draw: np.random.Generator
    ) -> torch.Tensor:
        """Embeddings of the pictures `rows`, float [views * rows, width]: of the first view and of
        one of the others, or of any where one is enough."""
        if len(self._strengths()) > 1:
            chosen = [np.zeros(len(rows), np.int64), draw.integers(1, len(views), len(rows))]
        else:
            chosen = [draw.integers(len(views), size=len(rows))]
        values = [
            views[view][row] for those in chosen for view, row in zip(those, rows, strict=True)
        ]
        return torch.from_numpy(np.stack(values)).float().to(self.device)

    def _strengths(self) -> list[str]:
        """How strongly the views of a picture are augmented: two where they are to get one code, as
        it is in a catalogue and as a phone sees it."""
        strengths = [self.recipe.augmentation]
        if self.recipe.instance:
            strengths.insert(0, "none" if self.recipe.augmentation == "none" else "mild")
        return strengths

    def _fixed_strengths(self) -> list[str]:
        """The same of the fixed views, the last strength as often as wanted; before them the
        picture as it is, where neighbours are to be told apart."""
        recipe = self.recipe
        strengths = [*(["none"] if recipe.neighbours else []), *self._strengths()]
        return [*strengths, *[recipe.augmentation] * recipe.fixed_views][: recipe.fixed_views]

    def _views(self, rows: np.ndarray, draw, strengths: list[str], size: int) -> torch.Tensor:
        """This process's views of the pictures `rows`, float [views, share of them, 3, size, size],
        normalised.  draw: the step's numpy generator."""
        random = torch.Generator().manual_seed(int(draw.integers(2**62)))
        torch.manual_seed(int(draw.integers(2**62)))  # for layers that draw, such as dropout
        drawn = [augment.draw(len(rows), random) for _ in strengths]
        # The pictures that a fixed backbone looks at in advance are shared out before.
        share = slice(None) if self.recipe.fixed_views else processes.share(len(rows))
        images = torch.from_numpy(self.examples.pixels[rows[share]]).permute(0, 3, 1, 2).float()
        images = images / 255
        views = [
            augment.apply(images, {name: value[share] for name, value in one.items()}, size, how)
            for one, how in zip(drawn, strengths, strict=True)
        ]
        views = torch.stack(views).to(self.device)
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 1, 3, 1, 1)
            for values in (self.recipe.mean, self.recipe.std)
        )
        return (views - mean) / std

    def _size(self, number: int) -> int:
        sizes = self.recipe.training_sizes
        epoch = number // self.steps_an_epoch
        return sizes[epoch * len(sizes) // self.recipe.epochs]


def _weighed(
    targets: Targets, parts: list[Pictures], kept: list[np.ndarray], recipe: Recipe
) -> Targets:
    """The targets, each source's pictures drawn as often as its weight says."""
    weights = {source.name: source.weight for source in recipe.data}
    rows = [
        np.full(own.sum(), weights.get(part.name, 1.0))
        for part, own in zip(parts, kept, strict=True)
    ]
    sampling = targets.sampling * np.concatenate(rows)
    return dataclasses.replace(targets, sampling=sampling / sampling.sum())
