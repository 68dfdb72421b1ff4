"""`efiss export`: a checkpoint becomes a model that gives the same codes."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from hashing.codes import pack
from hashing.model import Model
from trainer.backbone import ResidualNetwork
from trainer.recipe import Recipe

RECIPE = Recipe(epochs=3, input_size=32, mean=(0.4, 0.5, 0.6), resampling="bicubic")


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def write_checkpoint(folder, network, epochs_done: int) -> None:
    state = {"network": network.state_dict(), "recipe": dataclasses.asdict(RECIPE)}
    torch.save(state | {"epochs_done": epochs_done}, folder / "checkpoint.pt")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return ResidualNetwork().eval()


def test_the_exported_model_gives_the_checkpoints_codes(network, tmp_path):
    write_checkpoint(tmp_path, network, epochs_done=3)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.pt")
    assert code == 0 and "after 3 of 3 epochs" in text and "unfinished" not in text
    model = Model.load(tmp_path / "model.pt")
    assert model.sidecar.mean == (0.4, 0.5, 0.6) and model.sidecar.resampling == "bicubic"
    pixels = np.random.default_rng(2).integers(0, 256, (20, 32, 32, 3), np.uint8)
    inputs = torch.from_numpy(pixels / 255.0 - np.array(RECIPE.mean)).permute(0, 3, 1, 2) / 0.25
    with torch.inference_mode():
        outputs = network(inputs.float()).numpy()
    clear = np.abs(outputs) > 1e-4  # the sign of float noise is not the network's
    differs = np.unpackbits(model.codes(pixels) ^ pack(outputs), axis=1).astype(bool)
    assert not (differs & clear).any()


def test_an_unfinished_run_is_exported_and_said_to_be_one(network, tmp_path):
    write_checkpoint(tmp_path, network, epochs_done=1)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.pt")
    assert code == 0 and "after 1 of 3 epochs, unfinished" in text
    assert Model.load(tmp_path / "model.pt").sidecar.input_size == 32


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "is missing"),
        (b"", "not a checkpoint"),
        (b"no checkpoint at all", "not a checkpoint"),
        ({"network": {}}, "not a checkpoint"),
        ({"network": {}, "recipe": {"epochs": 3}, "epochs_done": 1}, "not a checkpoint"),
        ([1, 2], "not a checkpoint"),
    ],
)
def test_a_bad_checkpoint_is_said_in_one_sentence(content, words, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / "checkpoint.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "checkpoint.pt")
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.pt")
    assert code == 1 and words in text
    assert text.startswith("Error: ") and text.count("\n") == 1
    assert not (tmp_path / "model.pt").exists()


def test_a_name_that_would_overwrite_the_sidecar_is_refused(network, tmp_path):
    write_checkpoint(tmp_path, network, epochs_done=3)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.json")
    assert code == 1 and "must end in .pt" in text
