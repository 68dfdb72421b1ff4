"""Checkpoints: complete or absent, and what is said about those that cannot be used."""

import dataclasses
import importlib.util
import os

import pytest
import torch

from tests.training import RECIPE, equal
from trainer.backbone import BackboneError
from trainer.checkpoint import CheckpointError, read_checkpoint, resume, save
from trainer.network import make_network
from trainer.recipe import Recipe, read_recipe


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return make_network(RECIPE)


def test_what_is_saved_is_read_again(path, network):
    save(path, RECIPE, "some data", 3, 12, {"network": network})
    found = read_checkpoint(path)
    assert (found.recipe, found.steps_done, found.steps) == (RECIPE, 3, 12)
    assert equal(found.network.state_dict(), network.state_dict())
    assert not found.network.training
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_every_part_continues_and_a_run_without_a_checkpoint_starts(path, network):
    parts = {"network": make_network(RECIPE), "current": make_network(RECIPE)}
    assert resume(path, RECIPE, "some data", parts) == 0
    save(path, RECIPE, "some data", 3, 12, {"network": network, "current": parts["current"]})
    others = {"network": make_network(RECIPE), "current": make_network(RECIPE)}
    assert resume(path, RECIPE, "some data", others) == 3
    assert equal(others["network"].state_dict(), network.state_dict())
    assert equal(others["current"].state_dict(), parts["current"].state_dict())


def test_a_shipped_recipe_survives_the_checkpoint(path):
    """With tables in tables, lists and all that a recipe may have."""
    changes = {"backbone": RECIPE.backbone, "pretrained": False, "leave_out": {"colour": ["Red"]}}
    recipe = read_recipe("fashion", changes)
    save(path, recipe, "some data", 3, 12, {"network": make_network(recipe)})
    assert read_checkpoint(path).recipe == recipe


@pytest.mark.parametrize("stage", ["write", "sync", "rename"])
def test_a_save_that_is_cut_off_leaves_the_one_before(path, network, monkeypatch, stage):
    save(path, RECIPE, "some data", 3, 12, {"network": network})

    def cut_off(*arguments):
        if stage == "write":
            arguments[1].write(b"half")
        raise KeyboardInterrupt

    owner, name = {"write": (torch, "save"), "sync": (os, "fsync"), "rename": (os, "replace")}[
        stage
    ]
    monkeypatch.setattr(owner, name, cut_off)
    with pytest.raises(KeyboardInterrupt):
        save(path, RECIPE, "some data", 6, 12, {"network": network})
    monkeypatch.undo()
    assert read_checkpoint(path).steps_done == 3
    save(path, RECIPE, "some data", 9, 12, {"network": network})
    assert read_checkpoint(path).steps_done == 9


def test_no_checkpoint_is_said(path):
    with pytest.raises(CheckpointError, match="is missing; `efiss train` writes one"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no checkpoint at all", b"\x80", b"\x80\x02a", b"\x80\x02.", [1, 2], {"network": {}},
        {"network": {}, "recipe": dataclasses.asdict(RECIPE), "steps_done": 1, "steps": 2},
        {"network": [], "recipe": dataclasses.asdict(RECIPE), "steps_done": 1, "steps": 2},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_checkpoint_is_said(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(
        CheckpointError, match="not a checkpoint of `efiss train`, or it is damaged"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_checkpoint_that_is_cut_short_is_said(path, network, share):
    save(path, RECIPE, "some data", 3, 12, {"network": network})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="damaged"):
        resume(path, RECIPE, "some data", {"network": network})


class Executed:
    """Unpickling this runs code."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_checkpoint_is_executed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"network": Executed(), "recipe": {}, "steps_done": 1, "steps": 2}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("recipe", [{"epoch": 3}, {"epochs": 0}, "fashion", None])
def test_a_recipe_of_another_version_is_said(path, recipe):
    torch.save({"network": {}, "recipe": recipe, "steps_done": 1, "steps": 2}, path)
    with pytest.raises(CheckpointError, match="of another version of this program"):
        read_checkpoint(path)


def test_a_network_that_cannot_be_made_here_is_said(path, network):
    gone = dataclasses.replace(RECIPE, backbone="absent_module:Network")
    save(path, gone, "some data", 3, 12, {"network": network})
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: backbone absent_module:Network"):
        read_checkpoint(path)


def test_a_pretrained_network_is_read_where_its_package_is_missing(path, monkeypatch):
    recipe = Recipe(backbone="efficientnet-lite0", input_size=32)
    torch.manual_seed(1)
    network = make_network(recipe).eval()
    save(path, recipe, "some data", 3, 12, {"network": network})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="not installed"):
        make_network(recipe)
    assert equal(read_checkpoint(path).network.state_dict(), network.state_dict())
