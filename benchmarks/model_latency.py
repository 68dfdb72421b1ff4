"""What a model costs: milliseconds a picture on one core, for one picture at a time and for eight.
Some seconds; run it from the root of the repository."""

import os
import statistics
import time
from pathlib import Path

import click
import numpy as np
import torch

from efiss.commands.options import MODEL_PATH
from hashing.model import Model
from machine.settings import ENGINE


@click.command()
@MODEL_PATH
@click.option("--against", type=click.Path(path_type=Path), help="A second model to compare with.")
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True)
def model_latency(model_path: Path, against: Path | None, rounds: int) -> None:
    """Measure the way from pixels to codes on one CPU core, float32, as a worker of the service has
    it: by the engine that EFISS_ENGINE names, and by TorchScript; or with --against of two models.
    The two take turns, and the last line is their ratio.

    \b
    Examples:
      python benchmarks/model_latency.py
      python benchmarks/model_latency.py --model_path new.pt --against old.pt
    """
    torch.set_num_threads(1)
    models = [Model.load(model_path), Model.load(against) if against else _reference(model_path)]
    click.echo(f"{'model':36}  {'engine':18}  {'pictures':8}   ms a picture (median, 5 % to 95 %)")
    for pictures in (1, 8):
        times = _measure(models, pictures, rounds)
        for model, own in zip(models, times, strict=True):
            low, *_, high = statistics.quantiles(own, n=20)
            click.echo(
                f"{model.sidecar.name:36}  {model.engine.name:18}  {pictures:8}   "
                f"{statistics.median(own):6.2f}   ({low:.2f} to {high:.2f})"
            )
        ratio = statistics.median(times[0]) / statistics.median(times[1])
        click.echo(f"{'first / second':36}  {'':18}  {pictures:8}   {ratio:6.2f}x")


def _reference(path: Path) -> Model:
    os.environ[ENGINE.name] = "torchscript"
    return Model.load(path)


def _measure(models: list[Model], pictures: int, rounds: int) -> list[list[float]]:
    """Milliseconds a picture, of every model and round."""
    times: list[list[float]] = [[] for _ in models]
    random = np.random.default_rng(0)
    for number in range(5 + rounds):  # the first five to warm up
        for model, own in zip(models, times, strict=True):
            size = model.sidecar.input_size
            batch = random.integers(0, 256, (pictures, size, size, 3), np.uint8)
            start = time.perf_counter()
            model.codes(batch)
            if number >= 5:
                own.append((time.perf_counter() - start) * 1e3 / pictures)
    return times


if __name__ == "__main__":
    model_latency()
