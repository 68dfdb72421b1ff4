"""`efiss export`: a checkpoint becomes a model that gives the same codes."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from hashing.codes import pack
from hashing.model import Model
from tests.training import RECIPE
from trainer.checkpoint import save
from trainer.network import make_network

OWN = dataclasses.replace(RECIPE, mean=(0.4, 0.5, 0.6), resampling="bicubic")


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def write_checkpoint(folder, network, steps_done: int) -> None:
    save(folder / "checkpoint.pt", OWN, "some data", steps_done, 12, {"network": network})


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return make_network(OWN).eval()


def test_the_exported_model_gives_the_checkpoints_codes(network, tmp_path):
    write_checkpoint(tmp_path, network, steps_done=12)
    code, text = run("--run", tmp_path, "--out", tmp_path / "new" / "model.pt")
    assert code == 0 and "after 12 of 12 steps" in text and "unfinished" not in text
    model = Model.load(tmp_path / "new" / "model.pt")
    assert f"model.pt (0.0 MB, sha256 {model.sidecar.sha256[:12]}…)" in text
    assert model.sidecar.mean == (0.4, 0.5, 0.6) and model.sidecar.resampling == "bicubic"
    pixels = np.random.default_rng(2).integers(0, 256, (20, 32, 32, 3), np.uint8)
    inputs = torch.from_numpy(pixels / 255.0 - np.array(OWN.mean)).permute(0, 3, 1, 2) / 0.5
    with torch.inference_mode():
        outputs = network(inputs.float()).numpy()
    clear = np.abs(outputs) > 1e-4  # the sign of float noise is not the network's
    differs = np.unpackbits(model.codes(pixels) ^ pack(outputs), axis=1).astype(bool)
    assert not (differs & clear).any()


def test_an_unfinished_run_is_exported_and_said_to_be_one(network, tmp_path):
    write_checkpoint(tmp_path, network, steps_done=5)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.pt")
    assert code == 0 and "after 5 of 12 steps, unfinished" in text
    assert Model.load(tmp_path / "model.pt").sidecar.input_size == 32


def test_another_input_size_stands_in_the_sidecar_and_in_the_program(network, tmp_path):
    write_checkpoint(tmp_path, network, steps_done=12)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.pt", "--input_size", "48")
    assert code == 0, text
    model = Model.load(tmp_path / "model.pt")
    assert model.sidecar.input_size == 48
    assert model.codes(np.zeros((2, 48, 48, 3), np.uint8)).shape == (2, 8)


STEPS = {"steps_done": 1, "steps": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        (b"", "not a checkpoint"),
        (b"no checkpoint at all", "not a checkpoint"),
        ({"network": {}}, "not a checkpoint"),
        ({"network": {}, "recipe": dataclasses.asdict(OWN), **STEPS}, "not a checkpoint"),
        ({"network": {}, "recipe": {"epoch": 3}, **STEPS}, "of another version of this program"),
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
    write_checkpoint(tmp_path, network, steps_done=12)
    code, text = run("--run", tmp_path, "--out", tmp_path / "model.json")
    assert code == 1 and "must end in .pt" in text


def test_a_place_that_cannot_be_written_is_said(network, tmp_path):
    write_checkpoint(tmp_path, network, steps_done=12)
    code, text = run("--run", tmp_path, "--out", tmp_path / "checkpoint.pt" / "model.pt")
    assert code == 1 and text.startswith("Error: ") and text.count("\n") == 1
    assert "checkpoint.pt" in text and "File exists" in text
