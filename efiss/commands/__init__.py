"""One file a command, or a few that belong together."""

from pathlib import Path

import click

INDEX_ROOT = click.option(
    "--index_root",
    type=click.Path(file_okay=False, path_type=Path),
    default="index",
    show_default=True,
    help="Folder of the versions.",
)
