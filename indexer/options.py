"""Options that several commands have in common."""

from pathlib import Path

import click

from machine.settings import available_cores
from searcher.versions import INDEX_MODES

MODEL_PATH = click.option(
    "--model_path",
    envvar="EFISS_MODELS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=Path("torchscripts_models/relahash-medium-64bits.pt"),
    show_default=True,
    help="A .pt file with its sidecar beside it, or its folder.",
)
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda:N.")
NUM_WORKERS = click.option(
    "--num_workers",
    type=click.IntRange(1, 1024),
    default=available_cores,
    show_default="the cores",
    help="Threads that decode and hash.",
)
NEW_VERSION = click.option(
    "--new_index_database_version",
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
FORCE = click.option(
    "--force", is_flag=True, help="Replace a version of this number (never the live one)."
)
