"""`efiss train`."""

from pathlib import Path

import click
import numpy as np

from efiss.commands import LABELLED_DATA
from trainer.checkpoint import CheckpointError
from trainer.data import DataError, Labelled, read_photos, read_products
from trainer.export import ParityError, export
from trainer.recipe import Recipe

TRAINING_DATA = (
    "Fashion Product Images (Small), product photos of an online shop published for research on "
    "Kaggle; Clothing dataset by Alexey Grigorev and contributors (CC0), phone photos"
)


@click.command()
@LABELLED_DATA
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    show_default=True,
    default=Path("runs/relahash-medium-64bits"),
    help="Folder for the checkpoint; a stopped run continues from it.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The TorchScript model to write, its sidecar beside it; by default in the --run folder, "
    "under its name.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 1000),
    default=Recipe.epochs,
    show_default=True,
    help="How often the whole data is gone through.",
)
@click.option(
    "--learning_rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=Recipe.learning_rate,
    show_default=True,
    help="Highest learning rate of the one-cycle schedule.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=Recipe.seed,
    show_default=True,
    help="Start of all random numbers; the same seed on the same machine trains the same.",
)
def train(
    data: Path, run: Path, out: Path | None, epochs: int, learning_rate: float, seed: int
) -> None:
    """Train the RelaHash model and export it to TorchScript.

    A checkpoint is written after every epoch; the same command continues a run that was stopped.

    \b
    Example:
      efiss train --data path/to/data
      efiss evaluate --data path/to/data \\
          --model_path runs/relahash-medium-64bits/relahash-medium-64bits.pt
    """
    from trainer.train import train as train_network

    recipe = Recipe(epochs=epochs, learning_rate=learning_rate, seed=seed)
    out = out or run / f"{run.name}.pt"
    run.mkdir(parents=True, exist_ok=True)
    try:
        rows = _training_rows(data, recipe)
        click.echo(f"{len(rows)} pictures to train on")
        network = train_network(rows, recipe, run / "checkpoint.pt")
        sidecar = export(network, out, recipe, TRAINING_DATA)
    except (DataError, CheckpointError, ParityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, sha256 {sidecar.sha256[:12]}…)")


def _training_rows(folder: Path, recipe: Recipe) -> Labelled:
    products = read_products(folder, recipe.input_size, recipe.resampling)
    photos = read_photos(folder, recipe.input_size, recipe.resampling)
    kept = [~products.held_out, ~photos.held_out]
    columns = {
        name: np.concatenate([getattr(products, name)[kept[0]], getattr(photos, name)[kept[1]]])
        for name in ("pixels", "article_type", "colour", "gender", "held_out")
    }
    return Labelled(**columns)
