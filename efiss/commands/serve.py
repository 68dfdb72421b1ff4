"""`efiss archive`, `efiss serve`."""

import sys
from pathlib import Path

import click

from efiss.commands.options import (
    INDEX_ROOT,
    MODEL_STORE,
    settings_in_help,
    warn_of_unknown_settings,
)
from efiss.stopping import Stopped, stopping_on_signals
from machine import shipped
from machine.settings import SEARCH, SERVE, check
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
@settings_in_help(*SERVE, *SEARCH)
def serve(index_root: Path, model_store: Path, config: Path) -> None:
    """Run the search service in the foreground until Ctrl-C or SIGTERM.

    It serves the live version of the index folder and follows it; with none live, the version in
    the archive. It says so when a real query was answered. SIGTERM lets requests under way finish.

    \b
    Environment:
      {settings}

    \b
    Example:
      EFISS_PORT=6000 efiss serve
    """
    from searcher import milvus
    from serving.service import Service
    from serving.settings import Settings

    warn_of_unknown_settings()
    try:
        with stopping_on_signals():
            check(SERVE)  # a bad value is said here rather than by every worker
            milvus.place()
            with Service(
                Settings.from_environment(),
                shipped.found(config),
                model_store,
                index_root,
                sys.stdout,
            ) as service:
                version = service.wait_until_ready()
                click.echo(f"ready: {service.url} answers from index version {version}")
                service.wait()
    except Stopped:
        click.echo("stopped")
