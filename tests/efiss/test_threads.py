"""Torch's threads: commands whose workers are the parallelism set one, functions leave them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from hashing.files import hash_files
from hashing.model import Model


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shop(tmp_path, monkeypatch, tiny_models) -> list[str]:
    """A folder with a picture, its list and a version; the option of the model."""
    monkeypatch.chdir(tmp_path)
    Path("data/abc.com").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save("data/abc.com/1_abc_com.png")
    os.utime("data/abc.com/1_abc_com.png", (1e9, 1e9))
    Path("database_info.txt").write_text("data/abc.com/1_abc_com.png\n")
    model = ["--model_path", str(tiny_models[0])]
    run("index", "--new_index_database_version", "1.0.0", *model)
    torch.set_num_threads(2)
    return model


def run(*words: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "words",
    [
        ["index", "--new_index_database_version", "1.1.0"],
        ["reindex"],
        ["hash", "--database", "database_info.txt", "--out", "codes.npy"],
        ["verify", "1.0.0"],
        ["check", "1.0.0"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_hashes_on_all_cores_sets_one(words, shop):
    run(*words, *(shop if words[0] in ("index", "reindex", "hash") else ()))
    assert torch.get_num_threads() == 1


def test_hashing_files_leaves_them(shop, tiny_models):
    model = Model.load(tiny_models[0])
    assert len(list(hash_files(["data/abc.com/1_abc_com.png"], model, workers=2))) == 1
    assert torch.get_num_threads() == 2
