"""A training run as a whole: the recipe's data -> pictures -> network -> exported model."""

from collections.abc import Callable
from pathlib import Path

import torch

from machine import progress
from trainer import processes
from trainer.checkpoint import first_network
from trainer.examples import training_set
from trainer.export import export
from trainer.layouts import read
from trainer.processes import ProcessesError
from trainer.recipe import Recipe
from trainer.train import Progress, train


def run(
    data: Path,
    recipe: Recipe,
    folder: Path,
    out: Path,
    device: torch.device,
    precision: torch.dtype,
    note: Callable[[str], None] = lambda sentence: None,
    tell: progress.Tell = progress.nobody,
    tell_step: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train what the recipe says on what it finds in `data`, and write the model to `out`.

    folder: for checkpoints; a stopped run continues from it.  device: as `processes.join` gives it.
    note, tell, tell_step: learn what happens, in sentences, in pictures and in steps.  Raises
    Problem, and OSError where `folder` or `out` cannot be written.
    """
    if recipe.batch_size % processes.count():
        raise ProcessesError(
            f"batch_size {recipe.batch_size} cannot be shared out evenly among "
            f"{processes.count()} processes; change it or their number"
        )
    folder.mkdir(parents=True, exist_ok=True)
    first_network(recipe)  # what it lacks is said before minutes of decoding
    note(f"training on {device} in {processes.count()} process(es)")
    cache = folder / "pictures.npy"
    parts = [read(data, source) for source in recipe.data]
    examples = training_set(parts, recipe, cache, tell)
    note(f"{len(examples)} pictures to train on, {len(examples.targets.classes)} classes")
    checkpoint = folder / "checkpoint.pt"
    network = train(examples, recipe, checkpoint, device, precision, tell_step, tell, note)
    if processes.rank() == 0:
        cache.unlink(missing_ok=True)
        sidecar = export(network.cpu(), out, recipe)
        size = out.stat().st_size / 1e6
        note(f"wrote {out} ({size:.1f} MB, sha256 {sidecar.sha256[:12]}…)")
