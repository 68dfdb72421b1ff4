"""Telling how a training run goes: to a person at a terminal, to a log, to TensorBoard."""

import contextlib
import sys
import time
from pathlib import Path

import click

from trainer.data import DataError
from trainer.train import Progress

LINE_SECONDS = 60


@contextlib.contextmanager
def progress():
    """Gives a function that takes every step's Progress: one line that is rewritten on a terminal,
    a line a minute in a log."""
    is_terminal = sys.stderr.isatty()
    last = 0.0

    def tell(now: Progress) -> None:
        nonlocal last
        is_last = now.step == now.steps
        if not is_last and time.monotonic() - last < (1 if is_terminal else LINE_SECONDS):
            return
        last = time.monotonic()
        line = line_of(now)
        click.echo(f"\r{line}\x1b[K" if is_terminal else line, err=True, nl=not is_terminal)

    yield tell
    if is_terminal:
        click.echo(err=True)


def line_of(now: Progress) -> str:
    """`step 120 of 4,000 (3 %), 0:58:12 left, 105 pictures/s; relahash 2.81, instance 0.40`."""
    seconds = round(now.seconds_left)
    left = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    losses = ", ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
    return (
        f"step {now.step:,} of {now.steps:,} ({now.step / now.steps:.0%}), {left} left, "
        f"{now.pictures_per_second:.0f} pictures/s; {losses}"
    )


@contextlib.contextmanager
def log(folder: Path):
    """Gives a function that takes every step's Progress and writes it for TensorBoard.
    Raises DataError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DataError(
            "--tensorboard needs TensorBoard; run pip install 'efiss-ai[tensorboard]'"
        ) from None

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def tell(now: Progress) -> None:
            for name, value in now.losses.items():
                writer.add_scalar(f"loss/{name}", value, now.step)
            writer.add_scalar("learning_rate", now.learning_rate, now.step)
            writer.add_scalar("pictures_per_second", now.pictures_per_second, now.step)

        yield tell
