"""`efiss index`, and so `python indexer/main.py`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from efiss.commands.options import (
    DEVICE,
    INDEX_MODE,
    MODEL_PATH,
    NEW_VERSION,
    NUM_WORKERS,
    REPLACE,
    SHOP_DEPTH,
    TRUST_CONTENT,
)
from efiss.progress import PictureBar
from machine.settings import BATCH_SIZE, max_pixels

if TYPE_CHECKING:
    from indexer.pipeline import Order, Summary


@click.command()
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    default="database_info.txt",
    show_default=True,
    help="The catalogue: one image path a line.",
)
@MODEL_PATH
@DEVICE
@NEW_VERSION
@click.option(
    "--dump_index_path",
    "index_root",
    type=click.Path(path_type=Path),
    default="index",
    show_default=True,
    help="Folder of the versions.",
)
@NUM_WORKERS
@click.option(
    "--batch_size",
    type=click.IntRange(1, 4096),
    default=BATCH_SIZE,
    show_default=True,
    help="Pictures a worker takes at a time.",
)
@click.option(
    "--image_size",
    type=click.IntRange(8, 2048),
    help="Must be the model's own, which is the default.",
)
@INDEX_MODE
@click.option(
    "--max_rejected",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="Percent of pictures that may be unreadable; more, and nothing is published.",
)
@SHOP_DEPTH
@TRUST_CONTENT
@click.option(
    "--engine",
    type=click.Choice(["threads", "ray"]),
    default="threads",
    show_default=True,
    help="What hashes: threads of this machine, or a Ray cluster (pip install 'efiss-ai[ray]').",
)
@click.option(
    "--ray_address",
    envvar="RAY_ADDRESS",
    show_envvar=True,
    metavar="HOST:PORT",
    help="A Ray cluster that runs, with --engine ray; without it, one is started here.",
)
@REPLACE
def index(max_rejected: float, **options: Any) -> None:
    """Hash a catalogue's pictures and publish them as a version of the index.

    The version is complete or absent, and is not live before `efiss activate`. Pictures that cannot
    be read are left out and listed in rejected.csv. A run that was stopped is continued by the same
    command: nothing is hashed twice. A file whose path, size and time are as an earlier run saw
    them is not read again; one whose content an earlier run saw is not hashed again.

    \b
    Example:
      bash indexer/extract_datalake.sh data
      efiss index --database database_info.txt --new_index_database_version 1.5.0
      efiss activate 1.5.0
    """
    import torch  # slow to import: not for --help

    from indexer.pipeline import Order, index_catalogue

    torch.set_num_threads(1)  # the workers are the parallelism
    start = time.monotonic()
    order = Order(**options, max_rejected=max_rejected / 100, max_pixels=max_pixels())
    with PictureBar("indexing") as bar:
        summary = index_catalogue(order, bar.show)
    _report(summary, order, time.monotonic() - start)


def _report(summary: "Summary", order: "Order", seconds: float) -> None:
    manifest = summary.manifest
    click.echo(
        f"version {manifest.version} in {order.index_root / manifest.version}: "
        f"{manifest.rows} images in {seconds:.1f} s"
    )
    click.echo(
        f"  hashed now {summary.computed}, known by path, size and time {summary.unchanged}, "
        f"known by content {summary.by_content}, duplicates {summary.duplicates}, "
        f"repeated lines {summary.repeated_lines}, rejected {manifest.rejected}"
    )
    for path, reason in summary.rejected[:5]:
        click.echo(f"  rejected: {path} ({reason})", err=True)
    if len(summary.rejected) > 5:
        click.echo(
            f"  … all of them: {order.index_root / manifest.version / 'rejected.csv'}", err=True
        )
