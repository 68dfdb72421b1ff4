"""`efiss hash`: files or a list in, codes and kept paths out."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from efiss.cli import main
from hashing.codes import split
from hashing.model import Model
from tests.drawing import draw
from tests.pictures import encoded


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with four pictures and one file that is none."""
    monkeypatch.chdir(tmp_path)
    for index in range(4):
        (tmp_path / f"{index}.jpg").write_bytes(encoded(draw(seed=1, index=index)))
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    return tmp_path


@pytest.fixture
def efiss_hash(tiny_models):
    def run(*arguments, model=tiny_models[0], **env):
        arguments = ["hash", "--model_path", str(model), "--out", "codes.npy", *arguments]
        return CliRunner().invoke(main, arguments, env=env)

    return run


def expected(model_path, *names) -> list:
    model = Model.load(model_path)
    batch = np.stack([model.pixels(Path(name).read_bytes()) for name in names])
    return split(model.codes(batch))[0].tolist()


def test_files_become_codes_row_by_row(folder, efiss_hash, tiny_models):
    result = efiss_hash("2.jpg", "0.jpg", "2.jpg")
    assert result.exit_code == 0, result.output
    assert "codes.npy: 3 codes, 0 pictures left out" in result.stdout
    codes = np.load("codes.npy")
    assert (codes.dtype, codes.shape) == (np.uint8, (3, 8))
    assert codes.tolist() == expected(tiny_models[0], "2.jpg", "0.jpg", "2.jpg")
    assert (folder / "codes.paths.txt").read_text() == "2.jpg\n0.jpg\n2.jpg\n"
    assert not list(folder.glob(".*"))


def test_lines_of_a_list_become_codes_row_by_row(folder, efiss_hash, tiny_models):
    (folder / "list.txt").write_text("3.jpg\n1.jpg\n\n0.jpg\n3.jpg\n")
    assert efiss_hash("--database", "list.txt").exit_code == 0
    assert np.load("codes.npy").tolist() == expected(
        tiny_models[0], "3.jpg", "1.jpg", "0.jpg", "3.jpg"
    )
    assert (folder / "codes.paths.txt").read_text() == "3.jpg\n1.jpg\n0.jpg\n3.jpg\n"


def test_the_shipped_model_is_taken_like_any_other(folder, efiss_hash, model_path):
    assert efiss_hash("0.jpg", "1.jpg", model=model_path).exit_code == 0
    assert np.load("codes.npy").tolist() == expected(model_path, "0.jpg", "1.jpg")


def test_what_cannot_be_read_is_named_on_stderr_and_left_out(folder, efiss_hash, tiny_models):
    result = efiss_hash("0.jpg", "page.jpg", "absent.jpg", "1.jpg")
    assert result.exit_code == 0
    assert "page.jpg: the bytes are not a picture" in result.stderr
    assert "absent.jpg: No such file or directory" in result.stderr
    assert "2 codes, 2 pictures left out" in result.stdout
    assert np.load("codes.npy").tolist() == expected(tiny_models[0], "0.jpg", "1.jpg")
    assert (folder / "codes.paths.txt").read_text() == "0.jpg\n1.jpg\n"


def test_where_no_picture_can_be_read_nothing_is_written(folder, efiss_hash):
    (folder / "codes.npy").write_bytes(b"of yesterday")
    result = efiss_hash("page.jpg")
    assert result.exit_code == 1
    assert "no picture could be read" in result.stderr
    assert (folder / "codes.npy").read_bytes() == b"of yesterday"


def test_names_that_are_not_utf_8_are_kept(folder, efiss_hash):
    name = b"caf\xe9.jpg"
    os.rename("0.jpg", name)
    (folder / "list.txt").write_bytes(name + b"\n")
    assert efiss_hash("--database", "list.txt").exit_code == 0
    assert (folder / "codes.paths.txt").read_bytes() == name + b"\n"


def test_the_number_of_workers_does_not_change_the_codes(folder, efiss_hash):
    names = [f"{index}.jpg" for index in (0, 1, 2, 3)] * 20
    found = []
    for workers in ("1", "3"):
        assert efiss_hash(*names, "--num_workers", workers).exit_code == 0
        found.append(np.load("codes.npy").tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("arguments", [[], ["0.jpg", "--database", "list.txt"]])
def test_either_files_or_a_list(folder, efiss_hash, arguments):
    result = efiss_hash(*arguments)
    assert result.exit_code == 2
    assert "give either FILES or --database" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--database", "absent.txt"], "absent.txt is missing"),
        (["0.jpg", "--model_path", "absent.pt"], "absent.pt: no such model"),
        (["0.jpg", "--device", "tpu"], "use --device cpu"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(folder, efiss_hash, arguments, words):
    result = efiss_hash(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (folder / "codes.npy").exists()


def test_a_folder_that_is_not_there_is_noticed_before_the_work(folder, efiss_hash):
    result = efiss_hash("0.jpg", "--out", "absent/codes.npy")
    assert result.exit_code == 2
    assert "absent does not exist" in result.stderr
    assert "hashing" not in result.stderr


def test_the_limit_of_pixels_comes_from_the_environment(folder, efiss_hash):
    assert "stored like this is 0.0001" in efiss_hash("0.jpg", EFISS_MAX_PIXELS="100").stderr
    assert "EFISS_MAX_PIXELS must be" in efiss_hash("0.jpg", EFISS_MAX_PIXELS="many").stderr


# Outputs


def outputs_of(model_path, *names) -> np.ndarray:
    model = Model.load(model_path)
    batch = np.stack([model.pixels(Path(name).read_bytes()) for name in names])
    return model.outputs(batch)


def test_outputs_are_what_the_codes_are_made_of_row_by_row(folder, efiss_hash, tiny_models):
    result = efiss_hash("2.jpg", "page.jpg", "0.jpg", "2.jpg", "--outputs", "outputs.npy")
    assert result.exit_code == 0, result.output
    outputs = np.load("outputs.npy", mmap_mode="r")
    assert (outputs.dtype, outputs.shape) == (np.float32, (3, 64))
    assert np.allclose(outputs, outputs_of(tiny_models[0], "2.jpg", "0.jpg", "2.jpg"), atol=1e-5)
    assert np.array_equal(np.packbits(outputs > 0, axis=1), np.load("codes.npy"))
    assert not list(folder.glob(".*"))


def test_many_rows_have_the_head_of_their_number(folder, efiss_hash):
    names = [f"{index}.jpg" for index in (0, 1, 2, 3)] * 30
    assert efiss_hash(*names, "--outputs", "outputs.npy", "--num_workers", "3").exit_code == 0
    outputs = np.load("outputs.npy", mmap_mode="r")
    assert outputs.shape == (120, 64)
    assert np.array_equal(np.packbits(outputs > 0, axis=1), np.load("codes.npy"))


def test_where_no_picture_can_be_read_no_outputs_are_written(folder, efiss_hash):
    assert efiss_hash("page.jpg", "--outputs", "outputs.npy").exit_code == 1
    assert not (folder / "outputs.npy").exists()


def test_one_file_cannot_hold_both(folder, efiss_hash):
    result = efiss_hash("0.jpg", "--outputs", str(folder / "codes.npy"))
    assert result.exit_code == 2 and "give each a file of its own" in result.output
    assert not (folder / "codes.npy").exists()


def test_a_longer_code_is_in_the_outputs_and_not_in_the_codes(folder, efiss_hash, long_model):
    model_path = long_model
    result = efiss_hash("0.jpg", "1.jpg", "--outputs", "outputs.npy", model=model_path)
    assert result.exit_code == 0, result.output
    outputs = np.load("outputs.npy")
    assert np.allclose(outputs, outputs_of(model_path, "0.jpg", "1.jpg"), atol=1e-5)
    assert outputs.shape == (2, 320) and np.load("codes.npy").shape == (2, 8)
