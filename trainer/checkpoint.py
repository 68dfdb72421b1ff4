"""Checkpoints of a training run: written as it goes, continued from, exported."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from machine.errors import Problem
from machine.files import written_whole
from trainer.backbone import BackboneError, unfolded
from trainer.network import HashNetwork, make_network
from trainer.recipe import Recipe, RecipeError, recipe_from


class CheckpointError(Problem):
    """The checkpoint cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of a run."""

    network: HashNetwork
    """The averaged one where the recipe averages, in evaluation mode."""
    recipe: Recipe
    steps_done: int
    steps: int
    """Of the whole run."""


def save(
    path: Path,
    recipe: Recipe,
    examples: str,
    steps_done: int,
    steps: int,
    parts: dict[str, Any],
) -> None:
    """Write a checkpoint.  examples: digest of what is trained on.  parts: name ->
    network, optimizer and the like, of which one is named `network` (what is exported)."""
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"recipe": dataclasses.asdict(recipe), "examples": examples}
    state |= {"steps_done": steps_done, "steps": steps}
    with written_whole(path) as file:
        torch.save(state, file)


def resume(path: Path, recipe: Recipe, examples: str, parts: dict[str, Any]) -> int:
    """Load the checkpoint into the parts, if there is one; the number of finished steps.
    Raises CheckpointError, also when it was made by another recipe or on other data."""
    if not path.exists():
        return 0
    state = _read_state(path)
    if (made_by := _recipe(state, path)) != recipe:
        differs = [
            f"{field.name} {getattr(made_by, field.name)!r}"
            for field in dataclasses.fields(Recipe)
            if getattr(made_by, field.name) != getattr(recipe, field.name)
        ]
        raise CheckpointError(
            f"{path} was made by another recipe ({', '.join(differs)}); give the same recipe, "
            "or another --run folder"
        )
    if state.get("examples") != examples:
        raise CheckpointError(
            f"{path} is of a run on other data; give the same data, or another --run folder"
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise _damaged(path) from error
    return int(state["steps_done"])


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, also of a run that is not finished.  Raises CheckpointError."""
    if not path.exists():
        raise CheckpointError(
            f"{path} is missing; `efiss train` writes one every few minutes, into its --run folder"
        )
    state = _read_state(path)
    recipe = _recipe(state, path)
    try:
        network = make_network(recipe, with_weights=False)
    except BackboneError as error:
        raise CheckpointError(f"{path}: {error}") from error
    try:
        network.load_state_dict(state["network"])
        return Checkpoint(network.eval(), recipe, int(state["steps_done"]), int(state["steps"]))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _damaged(path) from error


def first_network(recipe: Recipe) -> HashNetwork:
    """The network that a run of the recipe starts with: where it names a checkpoint or an exported
    model by `start`, with that one's backbone, and with its hash layer if that has the same shape.

    Raises BackboneError, CheckpointError.
    """
    if not recipe.start:
        return make_network(recipe)
    network = make_network(recipe, with_weights=False)
    path = Path(recipe.start)
    weights = _weights(path)
    if not _load(network.backbone, "backbone", weights):
        raise CheckpointError(
            f"start: {path} has another backbone; give the recipe the same, or leave start out"
        )
    _load(network.hash, "hash", weights)
    return network


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """Of the network in a checkpoint or in what `efiss export` writes, by name."""
    try:
        program = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError):  # a checkpoint; or neither, which is said next
        return read_checkpoint(path).network.state_dict()
    return unfolded(program.state_dict())


def _load(part: torch.nn.Module, name: str, weights: dict[str, torch.Tensor]) -> bool:
    """Load a part's weights, if they are all there and fit; whether they do."""
    prefix = name + "."
    own = {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
    wanted = part.state_dict()
    if wanted.keys() != own.keys() or any(own[key].shape != wanted[key].shape for key in own):
        return False
    part.load_state_dict(own)
    return True


def _recipe(state: dict[str, Any], path: Path) -> Recipe:
    try:
        return recipe_from(state["recipe"])
    except (RecipeError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path} is of another version of this program ({error}); train again, or give "
            "another --run folder"
        ) from error


def _read_state(path: Path) -> dict[str, Any]:
    """What `save` wrote; nothing but numbers is unpickled."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    with file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises nearly anything on damaged bytes
            raise _damaged(path) from error
    needed = {"network", "recipe", "steps_done", "steps"}
    if not isinstance(state, dict) or not needed <= set(state):
        raise _damaged(path)
    return state


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint of `efiss train`, or it is damaged; train again, or give "
        "another --run folder"
    )
