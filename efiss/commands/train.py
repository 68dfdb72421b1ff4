"""`efiss train`."""

import contextlib
import tomllib
from pathlib import Path

import click

from efiss.commands.options import LABELLED_DATA, RECIPE
from machine.errors import Problem
from machine.settings import available_cores

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
    from trainer.checkpoint import first_network
    from trainer.data import read
    from trainer.export import export
    from trainer.recipe import RecipeError, recipe_for
    from trainer.train import train as train_network
    from trainer.train import training_set

    cache = run / "pictures.npy"
    out = out or run / f"{run.resolve().name}.pt"
    if out.suffix != ".pt":
        raise Problem(f"--out {out} must end in .pt; its sidecar ends in .json")
    try:
        made = recipe_for(data, recipe, _values(changes))
        where = processes.join(_checked_device(device))
        if made.batch_size % processes.count():
            raise RecipeError(
                f"batch_size {made.batch_size} cannot be shared out evenly among "
                f"{processes.count()} processes; change it or their number"
            )
        processes.keep_freed_memory()
        torch.set_num_threads(threads or max(1, available_cores() // processes.count_here()))
        run.mkdir(parents=True, exist_ok=True)
        first_network(made)  # what it lacks is said before minutes of decoding
        _told(f"training on {where} in {processes.count()} process(es)")
        with _teller(run, tensorboard) as tell:
            parts = [read(data, source) for source in made.data]
            examples = training_set(parts, made, cache)
            classes = len(examples.targets.classes)
            _told(f"{len(examples)} pictures to train on, {classes} classes")
            network = train_network(
                examples, made, run / "checkpoint.pt", where, _dtype(precision, where), tell
            )
        if processes.rank() == 0:
            cache.unlink(missing_ok=True)
            sidecar = export(network.cpu(), out, made)
            size = out.stat().st_size / 1e6
            _told(f"wrote {out} ({size:.1f} MB, sha256 {sidecar.sha256[:12]}…)")
    finally:
        processes.leave()


def _values(changes: tuple[str, ...]) -> dict:
    """KEY=VALUE texts as the values that TOML would give; what is not TOML is a text."""
    from trainer.recipe import RecipeError

    values = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise RecipeError(f"--set {change}: write KEY=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        values[key.strip()] = value
    return values


def _checked_device(device: str) -> str:
    import torch

    from trainer.processes import ProcessesError

    if device not in ("cpu", "cuda"):
        raise ProcessesError(f"--device {device} is not one; use cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ProcessesError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
    return device


def _dtype(precision: str, where):
    import torch

    if precision == "auto":
        precision = "bfloat16" if where.type == "cuda" else "float32"
    return getattr(torch, precision)


def _told(text: str) -> None:
    from trainer import processes

    if processes.rank() == 0:
        click.echo(text)


@contextlib.contextmanager
def _teller(run: Path, tensorboard: bool):
    """What is to be called after every step: a progress bar on a terminal, a line a minute
    elsewhere, and TensorBoard's log where it is wanted."""
    from trainer.progress import log, progress

    with contextlib.ExitStack() as stack:
        tellers = [stack.enter_context(progress())]
        if tensorboard:
            tellers.append(stack.enter_context(log(run)))
        yield lambda step: [tell(step) for tell in tellers]
