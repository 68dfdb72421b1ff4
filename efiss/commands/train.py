"""`efiss train`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from efiss.commands.options import LABELLED_DATA, RECIPE
from efiss.progress import bars, training_line
from machine.container import available_cores
from machine.errors import Problem

if TYPE_CHECKING:
    from trainer.train import Progress

PRECISIONS = ("auto", "float32", "bfloat16")


@click.command()
@LABELLED_DATA
@RECIPE
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, for example --set epochs=16; may be given repeatedly.",
)
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    show_default=True,
    default=Path("runs/relahash-medium-64bits"),
    help="Folder for checkpoints and logs; a stopped run continues from it.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The TorchScript model to write, its sidecar beside it; by default in the --run folder, "
    "under its name.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="cpu|cuda",
    help="Where to train; with torchrun, every process takes a GPU of its own.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Number format of the network's inner values. bfloat16 is fast on GPUs and on CPUs with "
    "AVX512-BF16 or AMX, slow on others; auto is bfloat16 on GPUs and float32 on CPUs.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="CPU threads of a process; by default its share of the cores.",
)
@click.option(
    "--tensorboard", is_flag=True, help="Write losses for TensorBoard into the --run folder."
)
def train(
    data: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    run: Path,
    out: Path | None,
    device: str,
    precision: str,
    threads: int | None,
    tensorboard: bool,
) -> None:
    """Train a RelaHash model and export it to TorchScript.

    --data is a folder of class folders, a CSV file (column `path`, all others labels), a parquet
    file, or a folder that a recipe knows its way in. A checkpoint is written every two minutes;
    the same command continues a run that was stopped.

    \b
    Examples:
      efiss train --data my_pictures --run runs/mine
      efiss train --data products.csv --set epochs=4 --set backbone=residual-small \\
          --set pretrained=false
      efiss evaluate --data my_pictures --model_path runs/mine/mine.pt
      torchrun --nproc-per-node 2 -m -- efiss train --data my_pictures    # two processes
    """
    import torch

    from trainer import processes
    from trainer.recipe import changes_of, recipe_for
    from trainer.run import run as train_and_export

    out = out or run / f"{run.resolve().name}.pt"
    if out.suffix != ".pt":
        raise Problem(f"--out {out} must end in .pt; its sidecar ends in .json")
    made = recipe_for(data, recipe, changes_of(changes))
    try:
        where = processes.join(device)
        processes.keep_freed_memory()
        torch.set_num_threads(threads or max(1, available_cores() // processes.count_here()))
        if precision == "auto":
            precision = "bfloat16" if where.type == "cuda" else "float32"
        numbers = getattr(torch, precision)
        with bars() as tell, _steps(run, tensorboard) as tell_step:
            note = click.echo if processes.rank() == 0 else lambda sentence: None
            train_and_export(data, made, run, out, where, numbers, note, tell, tell_step)
    finally:
        processes.leave()


@contextlib.contextmanager
def _steps(run: Path, tensorboard: bool) -> Iterator[Callable[["Progress"], None]]:
    """Gives what is to be called after every step: a line that tells it and, where it is wanted,
    TensorBoard's log."""
    with contextlib.ExitStack() as stack:
        tellers = [stack.enter_context(training_line())]
        if tensorboard:
            from trainer.tensorboard import log

            tellers.append(stack.enter_context(log(run)))

        def tell(now: "Progress") -> None:
            for teller in tellers:
                teller(now)

        yield tell
