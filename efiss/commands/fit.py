"""`efiss fit`."""

import tempfile
import time
from pathlib import Path

import click

from efiss.commands.options import EXCLUDE, INDEX_ROOT, default_model
from efiss.progress import bars
from machine.errors import Problem
from machine.settings import DATABASE


@click.command()
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    default=DATABASE.default,
    show_default=True,
    help="The catalogue: one image path a line.",
)
@click.option(
    "--datalake",
    type=click.Path(path_type=Path),
    help="Folder of shops to look at instead of a list; no list is written.",
)
@EXCLUDE
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The .pt file to write, its sidecar beside it.",
)
@click.option(
    "--backbone",
    type=click.Choice(["general", "fashion"]),
    default="general",
    show_default=True,
    help="What sees the pictures: EfficientNet-Lite0 with ImageNet weights, or the network of the "
    "shipped model of clothes.",
)
@click.option(
    "--input_size",
    type=click.IntRange(16, 1024),
    show_default="general 224, fashion 112",
    help="Side in pixels of what it sees; time a picture grows with the area.",
)
@click.option(
    "--sample",
    type=click.IntRange(50),
    default=5000,
    show_default=True,
    help="How many pictures are looked at, at most.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="A CSV file with columns path and label, to measure by; the model is fitted without.",
)
@INDEX_ROOT
def fit(
    database: Path,
    datalake: Path | None,
    exclude: tuple[str, ...],
    out: Path,
    backbone: str,
    input_size: int | None,
    sample: int,
    labels: Path | None,
    index_root: Path,
) -> None:
    """Fit a model to a catalogue without labels, and say whether it helps.

    For a trade that the shipped model does not know. A sample of the catalogue's pictures is looked
    at, and the codes are made to tell these apart. The table has the figures of the new model and
    of the live version's, or where none is live of the shipped one: of some pictures of the sample,
    changed as pictures are on their way to a search, each should find its own. The model goes live
    by the next commands, not by this one.

    \b
    Example:
      efiss fit --database database_info.txt --out models/mine.pt
      efiss index --database database_info.txt --model_path models/mine.pt \\
          --new_index_database_version 2.0.0
      efiss activate 2.0.0
    """
    if out.suffix != ".pt":
        raise Problem(f"--out {out} must end in .pt; its sidecar ends in .json")
    import torch

    from indexer import live_model
    from indexer.reindex import extract
    from searcher.index import Index
    from trainer.fit.helps import advice, table
    from trainer.fit.run import fit as run

    torch.set_num_threads(1)  # pictures are shared out among threads; more would only fight
    start = time.monotonic()
    live = live_model.of_live(Index(index_root))
    other = live.path if live else default_model()
    with tempfile.TemporaryDirectory() as folder, bars() as tell:
        if datalake:
            database = Path(folder) / "database_info.txt"
            click.echo(extract(datalake, database, exclude), err=True)
        done = run(database, out, other, backbone, input_size, sample, labels, tell)
    seen = done.seen
    for path, reason in seen.unreadable[:5]:
        click.echo(f"  left out: {path} ({reason})", err=True)
    click.echo(
        f"fitted to {len(seen.paths):,} of {done.listed:,} pictures "
        f"({len(seen.unreadable)} cannot be read, {seen.copies} have the bytes of another)\n"
    )
    click.echo(table(done.ours, done.theirs))
    click.echo(f"\n{advice(done.ours, done.theirs)}")
    click.echo(f"wrote {out} in {time.monotonic() - start:.0f} s")
