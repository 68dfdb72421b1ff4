"""A checkpoint of `trainer.train` -> its network, ready to be exported."""

import dataclasses
import pickle
from pathlib import Path

import torch

from trainer.backbone import ResidualNetwork
from trainer.train import CheckpointError, Recipe


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """network: in evaluation mode.  epochs_done: of recipe.epochs."""

    network: ResidualNetwork
    recipe: Recipe
    epochs_done: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint as `efiss train` writes it, also of a run that is not finished.

    Nothing but numbers is unpickled.  Raises CheckpointError.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        recipe = Recipe(**state["recipe"])
        network = ResidualNetwork(recipe.bits)
        network.load_state_dict(state["network"])
        return Checkpoint(network.eval(), recipe, int(state["epochs_done"]))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; `efiss train` writes one after every epoch, into its --run folder"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of `efiss train`, or it is damaged; train again, or give "
            "another --run folder"
        ) from error
