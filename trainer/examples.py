"""What a network is trained on: the decoded pictures of all sources, their targets and groups."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np

from machine import progress
from trainer import processes
from trainer.data import DataError, Pictures, Source, fill_pixels
from trainer.recipe import Recipe
from trainer.targets import Targets, joined, targets_of, trained_on


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """n pictures, row by row."""

    pixels: np.ndarray
    """uint8 [n, s, s, 3], as the recipe's sidecar makes them."""
    targets: Targets
    groups: np.ndarray
    """int64 [n], the same number for copies of a picture."""
    sources: np.ndarray
    """int64 [n], in the recipe's order."""
    backdrops: np.ndarray
    """int64 [b]: rows whose borders may be put behind products before white."""

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        """int64 [n]: the first label's class, -1 where only one source has it."""
        return self.targets.kinds(self.sources)

    def __len__(self) -> int:
        return len(self.pixels)

    def digest(self) -> str:
        """Of classes, targets and groups, row by row: equal for the same data alone."""
        digest = hashlib.sha256("\n".join(self.targets.classes).encode())
        for values in (self.targets.rows, self.targets.sampling, self.groups, self.sources):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def steps_an_epoch(self, recipe: Recipe) -> int:
        return max(1, len(self) // recipe.batch_size)

    def drawn(self, recipe: Recipe, number: int) -> tuple[np.ndarray, np.random.Generator]:
        """Rows int64 [batch] of a step's pictures, and the generator of all else that it draws."""
        draw = np.random.default_rng([recipe.seed, number])
        sampling = self.targets.sampling
        return draw.choice(len(sampling), size=recipe.batch_size, p=sampling), draw


def training_set(
    parts: list[Pictures],
    recipe: Recipe,
    cache: Path | None = None,
    tell: progress.Tell = progress.nobody,
) -> TrainingSet:
    """Everything of `parts` that is to be trained on, decoded.

    cache: file for the pixels, which processes then share; in memory without.  Raises DataError.
    """
    known = {label for part in parts for label in part.labels}
    if missing := recipe.leave_out.keys() - known:
        raise DataError(
            f"the data has no label {min(missing)}; it has {', '.join(sorted(known))}; "
            "correct leave_out in the recipe"
        )
    kept = [trained_on(part, recipe.leave_out) for part in parts]
    sources = np.repeat(np.arange(len(parts)), [int(rows.sum()) for rows in kept])
    of_part = {source.name: source for source in recipe.data}
    said = [of_part.get(part.name, Source(part.name, "")) for part in parts]
    weights = np.array([source.weight for source in said])
    targets = _shared_out(targets_of(joined(parts, kept), recipe), sources, weights)
    size = recipe.input_size
    shape = (sum(int(rows.sum()) for rows in kept), size, size, 3)
    pixels: np.ndarray
    if processes.rank() == 0:
        if cache:
            pixels = np.lib.format.open_memmap(cache, "w+", np.uint8, shape)
        else:
            pixels = np.empty(shape, np.uint8)
        start, look = 0, recipe.sidecar().pixels
        for part, rows in zip(parts, kept, strict=True):
            end = start + int(rows.sum())
            fill_pixels(pixels[start:end], part, np.flatnonzero(rows), look, tell)
            start = end
    processes.wait_for_all()
    if cache:
        pixels = np.load(cache, mmap_mode="r")
    names = [
        f"{number} {group}"
        for number, (part, rows) in enumerate(zip(parts, kept, strict=True))
        for group in part.groups[rows]
    ]
    backdrops = np.flatnonzero(np.array([source.backdrops for source in said])[sources])
    return TrainingSet(
        pixels, targets, np.unique(names, return_inverse=True)[1], sources, backdrops
    )


def _shared_out(targets: Targets, sources: np.ndarray, weights: np.ndarray) -> Targets:
    """The targets, of each source as large a share drawn as its weight is of all weights.

    sources: int [n].  weights: float, of every source."""
    sums = np.bincount(sources, targets.sampling, len(weights))
    sampling = targets.sampling * (weights / np.where(sums > 0, sums, 1))[sources]
    return dataclasses.replace(targets, sampling=sampling / sampling.sum())
