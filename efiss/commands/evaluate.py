"""`efiss evaluate`."""

import json
import os
import tempfile
from pathlib import Path

import click

from efiss.commands import LABELLED_DATA
from indexer.options import DEVICE, MODEL_PATH


@click.command()
@LABELLED_DATA
@MODEL_PATH
@DEVICE
@click.option(
    "--k",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How many results are looked at by the measures at k.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to also write the figures (figures.json) and plots (PNG) to.",
)
def evaluate(data: Path, model_path: Path, device: str, k: int, out: Path | None) -> None:
    """Measure how well a model retrieves, next to what needs no training.

    Queries are the pictures that training never saw: those whose group of copies falls into the
    first 5 % by sha256. The gallery is all the others.

    \b
    Example:
      efiss evaluate --data path/to/data --out figures
    """
    from hashing.model import Model
    from trainer.another_picture import read_other_pictures
    from trainer.data import read_photos, read_products
    from trainer.evaluate import evaluate as measure
    from trainer.report import report
    from trainer.views import float_embedding

    try:
        plots = _plots(out)
        model = Model.load(model_path, device)
        embed = float_embedding(model_path, model.sidecar, device)
        size, resampling = model.sidecar.input_size, model.sidecar.resampling
        products = read_products(data, size, resampling)
        photos = read_photos(data, size, resampling)
        others = read_other_pictures(data, size, resampling)
        result = measure(model, products, photos, others, embed=embed, k=k)
    except ImportError as error:
        raise click.ClickException(f"{error}; run: pip install 'efiss-ai[train]'") from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(report(result))
    if out:
        _write(out, result, plots)


def _plots(out: Path | None) -> dict:
    """The plots by file name, none where nothing is to be written.  What would keep them from being
    written in the end is found out here, before minutes of work."""
    if out is None:
        return {}
    out.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()
    from trainer.plots import PLOTS

    return PLOTS


def _write(out: Path, result: dict, plots: dict) -> None:
    with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as folder:
        staged = Path(folder)
        text = json.dumps(result, indent=2) + "\n"
        (staged / "figures.json").write_text(text, encoding="utf-8")
        for name, plot in plots.items():
            plot(result).savefig(staged / name)
        for file in sorted(staged.iterdir()):
            os.replace(file, out / file.name)
            click.echo(f"wrote {out / file.name}")
