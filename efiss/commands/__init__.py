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
CONFIG = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    default="efiss.toml",
    show_default=True,
    help="The file with the thresholds, section [check]; without it the default ones hold.",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["faiss", "milvus"]),
    help="What searches; by default EFISS_BACKEND, else faiss on this machine.",
)
URI = click.option(
    "--uri",
    help="Where Milvus is: http://HOST:PORT, or the absolute path of a .db file for milvus-lite; "
    "by default EFISS_MILVUS_URI.",
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
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Labelled pictures: a folder of class folders, a CSV or a parquet file, or the folder "
    "that a recipe's files lie in.",
)
RECIPE = click.option(
    "--recipe",
    metavar="NAME|FILE.toml",
    help="A shipped recipe or a file of your own; by default the shipped one whose files --data "
    "holds, and else the default values on the plain layout that --data is.",
)
