"""Options that several commands have in common."""

import os
import textwrap
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import click

from machine import settings, shipped
from machine.container import available_cores
from machine.settings import MODELS, Setting, unknown
from searcher.publish import INDEX_MODES

Command = TypeVar("Command", bound=Callable)


def settings_in_help(*settings: Setting) -> Callable[[Command], Command]:
    """Put a table of settings where {settings} stands in the help of a command."""
    width = max(len(setting.name) for setting in settings) + 2

    def shown(setting: Setting) -> str:
        default = f"; default {setting.default}" if setting.default else ""
        lines = textwrap.wrap(setting.about + default, 74 - width)
        return "\n".join(
            f"      {name:{width}}{line}"
            for name, line in zip_longest([setting.name], lines, fillvalue="")
        )

    def add(command: Command) -> Command:
        table = "\n".join(map(shown, settings))
        command.__doc__ = (command.__doc__ or "").replace("      {settings}", table)
        return command

    return add


def warn_of_unknown_settings() -> None:
    """Say on stderr which variables EFISS_… change nothing, since they are misspelt."""
    for sentence in unknown().values():
        click.echo(f"Warning: {sentence}", err=True)


MODEL_PATH = click.option(
    "--model_path",
    envvar=MODELS.name,
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=shipped.MODEL,
    show_default=True,
    help="A .pt file with its sidecar beside it, or its folder.",
)


EXCLUDE = click.option(
    "--exclude",
    metavar="PATTERN",
    multiple=True,
    callback=lambda context, option, given: given or settings.EXCLUDE.value(),
    help="Of --datalake, pass over files and folders of that name, or of that path below it where "
    f"PATTERN has a /; may be given several times. By default those of {settings.EXCLUDE.name}.",
)
SHOP_DEPTH = click.option(
    "--shop_depth",
    envvar=settings.SHOP_DEPTH.name,
    show_envvar=True,
    type=click.IntRange(1, 100),
    metavar="N",
    help="The shop is the N-th folder of a path, from 1. By default the first folder below the "
    "datalake, as the file .datalake beside the list names it; without that file the last folder.",
)


def default_model() -> Path:
    """The value of MODEL_PATH that holds where none is given."""
    return Path(os.environ.get(MODELS.name) or shipped.MODEL)


DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda:N.")
NUM_WORKERS = click.option(
    "--num_workers",
    "workers",
    type=click.IntRange(1, 1024),
    default=available_cores,
    show_default="the cores",
    help="Threads that decode and hash.",
)
NEW_VERSION = click.option(
    "--new_index_database_version",
    "version",
    required=True,
    metavar="MAJOR.MINOR.PATCH",
    help="Number of the version to build.",
)
INDEX_MODE = click.option(
    "--index_mode",
    type=click.Choice(list(INDEX_MODES)),
    default="default",
    show_default=True,
    help="default: exact search. unnecessary fast (old name: ivf): approximate search.",
)
TRUST_CONTENT = click.option(
    "--trust_content",
    is_flag=True,
    help="Read every file, also those whose size and time are as they were.",
)
REPLACE = click.option(
    "--force",
    "replace",
    is_flag=True,
    help="Replace a version of this number (never the live one).",
)
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
