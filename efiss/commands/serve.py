"""`efiss archive`, `efiss serve`."""

import sys
from pathlib import Path

import click

from efiss.commands.options import INDEX_ROOT, MODEL_STORE
from efiss.stopping import Stopped, stopping_on_signals
from searcher.index import Index


@click.command()
@click.option(
    "--index_version", required=True, metavar="MAJOR.MINOR.PATCH", help="The version to pack."
)
@INDEX_ROOT
@MODEL_STORE
def archive(index_version: str, index_root: Path, model_store: Path) -> None:
    """Pack a version, its model and the program into image-retrieval-v1.0.mar.

    The archive serves by itself on stock TorchServe 0.12 with torch, faiss-cpu, numpy, pillow and
    pyyaml. Where an index folder is configured, its live version is served instead.

    \b
    Example:
      efiss archive --index_version 1.5.0
    """
    from serving.archive import write_archive

    path = write_archive(Index(index_root), index_version, model_store)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, version {index_version}")


@click.command()
@INDEX_ROOT
@MODEL_STORE
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default="config.properties",
    show_default=True,
    help="TorchServe's settings.",
)
def serve(index_root: Path, model_store: Path, config: Path) -> None:
    """Run the search service in the foreground until Ctrl-C or SIGTERM.

    It serves the live version of the index folder and follows it; with none live, the version in
    the archive. It says so when a real query was answered. SIGTERM lets requests under way finish.

    \b
    Environment:
      EFISS_PORT            first of a block of six ports, default 5000 (metrics: +5)
      EFISS_HOST            address to listen on, default 127.0.0.1; 0.0.0.0 for all
      EFISS_WORKERS         worker processes, default the cores, at most 4
      EFISS_BATCH_SIZE      requests a worker answers at once, default 1
      EFISS_BATCH_DELAY_MS  how long it waits for that many, default 1
      EFISS_HEAP_MB         Java's heap in MB, default 1024
      EFISS_MAX_PIXELS      most pixels a picture may have, default 64000000
      EFISS_ACCESS_LOG      a line of JSON in the log for each request, default on; or off
      EFISS_BACKEND         faiss, the default, or milvus to search in EFISS_MILVUS_URI with
                            EFISS_MILVUS_TOKEN

    \b
    Example:
      EFISS_PORT=6000 efiss serve
    """
    from machine.settings import access_log, max_pixels
    from searcher import milvus
    from serving.service import Service, Settings

    try:
        with stopping_on_signals():
            max_pixels()  # a bad value is said here rather than by every worker
            access_log()
            milvus.place()
            with Service(
                Settings.from_environment(), config, model_store, index_root, sys.stdout
            ) as service:
                version = service.wait_until_ready()
                click.echo(f"ready: {service.url} answers from index version {version}")
                service.wait()
    except Stopped:
        click.echo("stopped")
