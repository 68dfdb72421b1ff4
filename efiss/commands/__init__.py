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
MODEL_STORE = click.option(
    "--model_store",
    type=click.Path(file_okay=False, path_type=Path),
    default="model_store",
    show_default=True,
    help="Folder of the model archive.",
)
LABELLED_DATA = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with fashion_products-*.parquet and clothing_photos.parquet.",
)
