"""A training run as TensorBoard shows it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.data import DataError
from trainer.train import Progress


@contextlib.contextmanager
def log(folder: Path) -> Iterator[Callable[[Progress], None]]:
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
