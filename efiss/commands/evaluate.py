"""`efiss evaluate`."""

import json
import os
from pathlib import Path

import click

from efiss.commands import LABELLED_DATA
from indexer.options import DEVICE, MODEL_PATH


@click.command()
@LABELLED_DATA
@MODEL_PATH
@DEVICE
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures as JSON.",
)
def evaluate(data: Path, model_path: Path, device: str, out: Path | None) -> None:
    """Measure how well a model retrieves, next to what needs no training.

    Queries are the pictures that training never saw: those whose group of copies falls into the
    first 5 % by sha256. The gallery is all the others.

    \b
    Example:
      efiss evaluate --data path/to/data
    """
    from hashing.model import Model
    from trainer.data import read_photos, read_products
    from trainer.evaluate import evaluate as measure

    try:
        model = Model.load(model_path, device)
        size, resampling = model.sidecar.input_size, model.sidecar.resampling
        products = read_products(data, size, resampling)
        photos = read_photos(data, size, resampling)
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("hashing and ranking …", err=True)
    result = measure(model, products, photos)
    click.echo(report(result))
    if out:
        staged = out.with_name(out.name + ".tmp")
        staged.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(staged, out)
        click.echo(f"wrote {out}")


def report(result: dict) -> str:
    """The figures as a table."""
    codes = result["codes"]
    heading = f"{'':30}{'queries':>9}{'gallery':>9}{'P@10':>8}{'macro':>8}{'mAP@all':>9}"
    ours = [_line(name, figures) for name, figures in result["figures"].items()]
    floors = [_line(name, figures) for name, figures in result["floors (article type)"].items()]
    return "\n".join(
        [
            f"{result['model']['name']} ({result['model']['sha256'][:12]}…)",
            heading,
            *ours,
            "floors, article type:",
            *floors,
            f"codes: {codes['distinct']:,} distinct of {codes['rows']:,}, "
            f"largest bucket {codes['largest_bucket']}",
        ]
    )


def _line(name: str, figures: dict) -> str:
    average = figures["mean_average_precision"]
    return (
        f"  {name:28}{figures['queries']:9,}{figures['gallery']:9,}{figures['precision']:8.3f}"
        f"{figures['macro_precision']:8.3f}" + (f"{average:9.3f}" if average is not None else "")
    )
