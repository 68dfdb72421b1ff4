"""`efiss export`."""

import dataclasses
from pathlib import Path

import click

from machine.errors import Problem


@click.command()
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    show_default=True,
    default=Path("runs/relahash-medium-64bits"),
    help="Folder with the checkpoint that `efiss train` wrote.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The TorchScript model to write, NAME.pt; its sidecar is written beside it.",
)
@click.option(
    "--input_size",
    type=click.IntRange(16, 1024),
    help="Side in pixels of what the model is given; by default the recipe's. A smaller one costs "
    "less time a picture.",
)
def export(run: Path, out: Path, input_size: int | None) -> None:
    """Write the checkpoint of a training run as a TorchScript model with its sidecar.

    The run need not be finished. The written model is checked to give the network's own codes.

    \b
    Examples:
      efiss export --run runs/relahash-medium-64bits --out model.pt
      efiss export --run runs/mine --out faster.pt --input_size 96
    """
    from trainer.checkpoint import read_checkpoint
    from trainer.export import export as write_model

    if out.suffix != ".pt":
        raise Problem(f"--out {out} must end in .pt; its sidecar ends in .json")
    checkpoint = read_checkpoint(run / "checkpoint.pt")
    recipe = checkpoint.recipe
    if input_size:
        recipe = dataclasses.replace(recipe, input_size=input_size)
    sidecar = write_model(checkpoint.network, out, recipe)
    done, steps = checkpoint.steps_done, checkpoint.steps
    click.echo(f"{run}: after {done} of {steps} steps" + ("" if done == steps else ", unfinished"))
    click.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, sha256 {sidecar.sha256[:12]}…)")
