"""Checkpoints of a training run: written after every epoch, continued from, exported."""

import dataclasses
import os
import pickle
from pathlib import Path

import click
import torch

from trainer.backbone import ResidualNetwork
from trainer.recipe import Recipe


class CheckpointError(ValueError):
    """The checkpoint cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """network: in evaluation mode.  epochs_done: of recipe.epochs."""

    network: ResidualNetwork
    recipe: Recipe
    epochs_done: int


def save(path: Path, recipe: Recipe, epochs_done: int, parts: dict) -> None:
    """Write a checkpoint in one step.  parts: name -> network, optimizer and the like, of which one
    is named `network`."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"recipe": dataclasses.asdict(recipe), "epochs_done": epochs_done}
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def resume(path: Path, recipe: Recipe, parts: dict) -> int:
    """Load the checkpoint into the parts, if there is one; the number of finished epochs.
    Raises CheckpointError, also when it was made by another recipe."""
    if not path.exists():
        return 0
    state = _read_state(path)
    if state["recipe"] != dataclasses.asdict(recipe):
        raise CheckpointError(
            f"{path} was made by another recipe ({state['recipe']}); give the same options, "
            "or another --run folder"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    click.echo(f"{path}: continuing after epoch {state['epochs_done']}")
    return state["epochs_done"]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, also of a run that is not finished.  Raises CheckpointError."""
    if not path.exists():
        raise CheckpointError(
            f"{path} is missing; `efiss train` writes one after every epoch, into its --run folder"
        )
    state = _read_state(path)
    try:
        recipe = Recipe(**state["recipe"])
        network = ResidualNetwork(recipe.bits)
        network.load_state_dict(state["network"])
        return Checkpoint(network.eval(), recipe, int(state["epochs_done"]))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _damaged(path) from error


def _read_state(path: Path) -> dict:
    """What `save` wrote; nothing but numbers is unpickled."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError) as error:
        raise _damaged(path) from error
    if not isinstance(state, dict) or not {"network", "recipe", "epochs_done"} <= state.keys():
        raise _damaged(path)
    return state


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of `efiss train`, or it is damaged; train again, or give "
        "another --run folder"
    )
