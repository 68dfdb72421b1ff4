"""`efiss evaluate`."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from efiss.commands.options import DEVICE, LABELLED_DATA, MODEL_PATH, RECIPE
from efiss.progress import bars
from machine.container import available_cores
from machine.errors import Problem
from machine.files import write_whole, written_whole
from machine.progress import Tell
from machine.settings import service_here

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hashing.nearness import Nearness
    from trainer.evaluation.figures import Evaluation, LiveEvaluation

HERE = "the service of this machine"
"""What --index without a value stands for."""


@click.command()
@LABELLED_DATA
@RECIPE
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME",
    help="Measure by this label only; may be given repeatedly. By default by all of them.",
)
@click.option(
    "--unseen",
    multiple=True,
    metavar="VALUE",
    help="A value of the first label that the model was not trained on, beside those that the "
    "recipe leaves out: measured by itself; may be given repeatedly.",
)
@MODEL_PATH
@DEVICE
@click.option(
    "--index",
    "url",
    is_flag=False,
    flag_value=HERE,
    metavar="[URL]",
    help="Measure the catalogue that a running service searches in, through the service; without "
    "a URL the service of this machine, at EFISS_PORT.",
)
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="With --index: how many pictures are asked for at most.",
)
@click.option(
    "--k",
    type=click.IntRange(1, 500),
    default=10,
    show_default=True,
    help="How many results are looked at by the measures at k.",
)
@click.option(
    "--write_match",
    is_flag=True,
    help="Write into the model's sidecar what its distances and similarities mean (`match`).",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to also write the figures (figures.json) and plots (PNG) to.",
)
@click.pass_context
def evaluate(
    context: click.Context,
    data: Path,
    recipe: str | None,
    labels: tuple[str, ...],
    unseen: tuple[str, ...],
    model_path: Path,
    device: str,
    url: str | None,
    queries: int,
    k: int,
    write_match: bool,
    out: Path | None,
) -> None:
    """Measure how well a model retrieves, or how well a live catalogue does.

    A model is measured on the pictures that training never saw (the first 5 % by sha256 of their
    group of copies) as queries and all others as the gallery, next to what needs no training and
    to what its bits were made from. Data without a recipe is a folder of class folders, a CSV file
    (column `path`, all others labels) or a parquet file.

    \b
    Examples:
      efiss evaluate --data path/to/data --out figures
      efiss evaluate --data my_pictures --model_path runs/mine/mine.pt
      efiss evaluate --data products.csv --label article_type --unseen Skirts

    With --index every picture of --data is a query to the running service, which answers from its
    live catalogue; the picture itself and its copies (the same value in a column `group`) are
    passed over. --data is a CSV file or a folder of class folders, its paths spelled as in the
    catalogue, or below its own folder.

    \b
    Examples:
      efiss evaluate --index --data demo/datalake/labels.csv --label article_type
      efiss evaluate --index http://10.0.0.7:5000 --data labels.csv --queries 200 --out figures
    """
    import torch

    from trainer.evaluation.report import report

    _refuse_what_does_not_go_together(context, url)
    torch.set_num_threads(1)  # pictures are shared out among threads; more would only fight
    plots_of = _plots(out)
    with bars() as tell:
        result: Evaluation | LiveEvaluation
        match: Nearness | None = None
        if url is None:
            result = _of_model(data, recipe, labels, unseen, model_path, device, k, tell)
            match = result.match
        else:
            result = _of_service(url, data, labels, k, queries, tell)
    # Names from the catalogue may hold what no terminal can show.
    click.echo(report(result).encode("utf-8", "replace").decode("utf-8"))
    if write_match and match:
        _write_match(model_path, match)
    if out and plots_of:
        _write(out, result, plots_of(result))


def _refuse_what_does_not_go_together(context: click.Context, url: str | None) -> None:
    of_models = ("recipe", "unseen", "model_path", "device", "write_match")
    only_for = ("queries",) if url is None else of_models
    default = click.core.ParameterSource.DEFAULT
    for name in only_for:
        if context.get_parameter_source(name) != default:
            raise click.UsageError(f"--{name} goes {'only' if url is None else 'not'} with --index")


def _of_model(
    data: Path,
    recipe: str | None,
    labels: tuple[str, ...],
    unseen: tuple[str, ...],
    model_path: Path,
    device: str,
    k: int,
    tell: Tell,
) -> "Evaluation":
    from hashing.model import Model
    from trainer.evaluation.evaluate import evaluate as measure
    from trainer.evaluation.tasks import with_labels
    from trainer.layouts import read
    from trainer.recipe import recipe_for

    made = recipe_for(data, recipe)
    model = Model.load(model_path, device, available_cores())
    sources = [read(data, source) for source in made.data]
    leave_out = {label: list(values) for label, values in made.leave_out.items()}
    if unseen and sources[0].labels:
        leave_out.setdefault(next(iter(sources[0].labels)), []).extend(unseen)
    sources = with_labels(sources, labels, leave_out)
    return measure(model, sources, leave_out, k, tell)


def _of_service(
    url: str, data: Path, labels: tuple[str, ...], k: int, queries: int, tell: Tell
) -> "LiveEvaluation":
    from trainer.evaluation.live_catalogue import measure_service, read_catalogue
    from trainer.layouts import source_of

    url = service_here() if url == HERE else url
    catalogue = read_catalogue(data, source_of(data), labels)
    return measure_service(url, catalogue, k, queries, tell)


def _plots(out: Path | None) -> "Callable[[Evaluation | LiveEvaluation], dict[str, Figure]] | None":
    """What draws the plots; None where nothing is to be written.  What would keep them from being
    written in the end is found out here, before minutes of work."""
    if out is None:
        return None
    out.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=out).close()
    try:
        from trainer.evaluation.plots import plots_of
    except ModuleNotFoundError as error:
        raise Problem(f"{error}; run: pip install 'efiss-ai[train]'") from error
    return plots_of


def _write_match(model_path: Path, match: "Nearness") -> None:
    from hashing.model import find_model, read_sidecar

    path = find_model(model_path)
    sidecar = dataclasses.replace(read_sidecar(path), match=match)
    write_whole(path.with_suffix(".json"), sidecar.to_json().encode())
    click.echo(f"wrote what is near into {path.with_suffix('.json')}")


def _write(out: Path, result: "Evaluation | LiveEvaluation", plots: "dict[str, Figure]") -> None:
    write_whole(out / "figures.json", (json.dumps(result.to_json(), indent=2) + "\n").encode())
    click.echo(f"wrote {out / 'figures.json'}")
    for name, figure in sorted(plots.items()):
        with written_whole(out / name) as file:
            figure.savefig(file, format="png")
        click.echo(f"wrote {out / name}")
