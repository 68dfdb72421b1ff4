"""`efiss train`: labelled pictures in, a model out; what it says when that cannot be."""

import csv
import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from hashing.model import Model
from tests.running import ROOT
from tests.training import drawn, equal
from trainer import processes
from trainer.checkpoint import read_checkpoint
from trainer.data import is_held_out

SMALL = {
    "backbone": "tests.training:Tiny", "pretrained": "false", "epochs": "2", "batch_size": "8",
    "input_size": "32", "training_sizes": "[16, 32]",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with some 20 drawn pictures as class folders, as a CSV and as a parquet file."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for index in range(20):
        jpeg, article_type, colour = drawn(index)
        name = f"classes/{colour}/{index}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg)
        rows.append({"path": name, "article_type": article_type, "colour": colour})
    with (folder / "labels.csv").open("w", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)
    columns = {name: [row[name] for row in rows] for name in ("article_type", "colour")}
    jpegs = [drawn(index)[0] for index in range(20)]
    pq.write_table(pa.table({"image": jpegs, **columns}), folder / "labels.parquet")
    return folder


@pytest.fixture(autouse=True)
def threads():
    """The command sets torch's number of threads for its process, here that of all tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def options(run, **values) -> list[str]:
    """--run, --threads and the small recipe with some values changed, as --set options."""
    sets = [f"{key}={value}" for key, value in {**SMALL, **values}.items()]
    return ["--run", str(run), "--threads", "1", *(part for one in sets for part in ("--set", one))]


def train(data, *arguments):
    result = CliRunner().invoke(main, ["train", "--data", str(data), *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("name", ["classes", "labels.csv", "labels.parquet"])
def test_a_plain_layout_becomes_a_model(pictures, tmp_path, name):
    run = tmp_path / "mine"
    result = train(pictures / name, *options(run))
    assert result.exit_code == 0, result.output
    paths = [f"{drawn(index)[2]}/{index}.jpg" for index in range(20)]
    groups = {
        "classes": paths,
        "labels.csv": [f"classes/{path}" for path in paths],
        "labels.parquet": [str(index) for index in range(20)],
    }[name]
    kept = [index for index in range(20) if not is_held_out(groups[index])]
    classes = {drawn(index)[2] for index in kept}
    if name != "classes":
        classes |= {drawn(index)[1] for index in kept}
    assert f"{len(kept)} pictures to train on, {len(classes)} classes" in result.stdout
    assert "training on cpu in 1 process(es)" in result.stdout
    model = Model.load(run / "mine.pt")
    assert model.sidecar.name == "mine" and model.sidecar.input_size == 32
    assert (
        f"wrote {run / 'mine.pt'}" in result.stdout and model.sidecar.sha256[:12] in result.stdout
    )
    assert len(model.codes(model.pixels(drawn(0)[0])[None])) == 1
    recipe = read_checkpoint(run / "checkpoint.pt").recipe
    assert (recipe.epochs, recipe.training_sizes, recipe.pretrained) == (2, (16, 32), False)
    assert recipe.data[0].files == ("./" if name == "classes" else name)
    assert result.stderr.splitlines()[-1].startswith("step 4 of 4 (100%), 0:00:00 left, ")


def test_a_recipe_of_ones_own_with_a_value_changed(pictures, tmp_path):
    lines = [f"{key} = {value if value[0] in '[0123456789ft' else repr(value)}"
             for key, value in {**SMALL, "backbone": "?"}.items()]  # fmt: skip
    lines[0] = 'backbone = "tests.training:Tiny"\ndata_in_words = "drawn pictures"'
    lines += ["[labels]", "colour = 1", "[[data]]", 'name = "shop"', 'files = "*.csv"',
              'labels = { colour = "colour" }']  # fmt: skip
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    recipe = ["--recipe", tmp_path / "mine.toml", "--set", "epochs=1"]
    places = ["--run", tmp_path / "run", "--out", tmp_path / "models" / "small.pt"]
    result = train(pictures, *recipe, *places)
    assert result.exit_code == 0, result.output
    sidecar = json.loads((tmp_path / "models" / "small.json").read_text())
    assert sidecar["name"] == "small" and sidecar["training_data"] == "drawn pictures"
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt").recipe.epochs == 1
    assert not (tmp_path / "run" / "run.pt").exists()


def test_the_current_folder_as_run_gives_the_model_its_name(pictures, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = train(pictures / "labels.csv", *options(".", epochs=1))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "here" / "here.pt").exists() and (tmp_path / "here" / "here.json").exists()


def test_bfloat16_is_taken(pictures, tmp_path):
    arguments = options(tmp_path / "run", epochs=1)
    result = train(pictures / "labels.csv", *arguments, "--precision", "bfloat16")
    assert result.exit_code == 0, result.output
    assert Model.load(tmp_path / "run" / "run.pt")


KILLED = """
import os, signal, sys
from trainer import train as training
training.CHECKPOINT_SECONDS = -1
losses = training.WholeNetwork.losses
def killed(run, number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return losses(run, number)
training.WholeNetwork.losses = killed
from efiss.cli import main
main()
"""


def test_a_killed_run_ends_where_an_undisturbed_one_does(pictures, tmp_path):
    """In a process of its own, which imports torch."""
    data = pictures / "labels.csv"
    assert train(data, *options(tmp_path / "undisturbed", epochs=4)).exit_code == 0
    arguments = ["train", "--data", str(data), *options(tmp_path / "killed", epochs=4)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_checkpoint(tmp_path / "killed" / "checkpoint.pt").steps_done == 3
    result = train(data, *options(tmp_path / "killed", epochs=4))
    assert result.exit_code == 0 and "continuing after step 3 of 8" in result.stdout
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("undisturbed", "killed")
    ]
    for part in ("network", "current"):
        assert equal(states[0][part], states[1][part])
    assert states[0]["steps_done"] == states[1]["steps_done"] == 8


def said(result) -> str:
    """The one sentence of a failed command."""
    assert result.exit_code == 1, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and result.stderr.count("Error") == 1
    return last


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": "3"}, "unknown key epoch; the keys are "),
        ({"epochs": "many"}, "epochs must be a whole number, not 'many'"),
        ({"pretrained": "False"}, "pretrained must be true or false, not 'False'"),
        ({"training_sizes": "32"}, "training_sizes must be a list, not 32"),
        (
            {"labels": "{ sleeve = 1.0 }"},
            "the data has no label sleeve; it has article_type, colour",
        ),
        ({"leave_out": '{ sleeve = ["long"] }'}, "the data has no label sleeve"),
        ({"minimum_count": "100"}, "fewer than two classes"),
        ({"backbone": "resnet50"}, "there is no backbone 'resnet50'"),
        ({"backbone": "torch.nn:Identity"}, "it must give [1, width]"),
        ({"pretrained": "true"}, "brings its own weights; set pretrained = false"),
    ],
    ids=str,
)
def test_values_that_do_not_do_are_said(pictures, tmp_path, values, words):
    result = train(pictures / "labels.csv", *options(tmp_path / "run", **values))
    assert words in said(result)
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "epochs"], "--set epochs: write KEY=VALUE"),
        (["--recipe", "fashon"], "there is no recipe fashon; give one of"),
        (["--recipe", "absent.toml"], "there is no recipe absent.toml"),
        (["--out", "model.json"], "--out model.json must end in .pt"),
        (["--device", "tpu"], "--device tpu is not one; use cpu or cuda"),
    ],
)
def test_options_that_do_not_do_are_said(pictures, tmp_path, arguments, words):
    assert words in said(train(pictures / "labels.csv", *options(tmp_path / "run"), *arguments))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [["--precision", "float16"], ["--threads", "0"], ["--epochs", "3"]], ids=" ".join
)
def test_options_that_there_are_not_are_refused(pictures, arguments):
    assert train(pictures / "labels.csv", *arguments).exit_code == 2


def test_a_gpu_that_is_not_there_is_said(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = train(pictures / "labels.csv", *options(tmp_path / "run"), "--device", "cuda")
    assert "no usable CUDA GPU; use --device cpu" in said(result)


def test_tensorboard_that_is_not_installed_is_said_before_the_work(pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = train(pictures / "labels.csv", *options(tmp_path / "run"), "--tensorboard")
    assert "pip install 'efiss-ai[tensorboard]'" in said(result)
    assert "decoding" not in result.output


def test_data_that_does_not_do_is_said(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no folders of pictures" in said(train(tmp_path / "empty", *options(tmp_path / "run")))
    (tmp_path / "broken" / "Red").mkdir(parents=True)
    (tmp_path / "broken" / "Blue").mkdir()
    for number in range(8):
        (tmp_path / "broken" / "Red" / f"{number}.jpg").write_bytes(drawn(number)[0])
        (tmp_path / "broken" / "Blue" / f"{number}.jpg").write_bytes(b"no picture")
    sentence = said(train(tmp_path / "broken", *options(tmp_path / "run")))
    assert "broken, row 0" in sentence and "not a picture" in sentence
    assert train(tmp_path / "absent", *options(tmp_path / "run")).exit_code == 2


def test_another_recipe_or_other_data_in_the_same_folder_is_refused(pictures, tmp_path):
    run = tmp_path / "run"
    assert train(pictures / "labels.csv", *options(run)).exit_code == 0
    before = (run / "checkpoint.pt").read_bytes()
    assert "made by another recipe (epochs 2)" in said(
        train(pictures / "labels.csv", *options(run, epochs=3))
    )
    lines = (pictures / "labels.csv").read_text().splitlines()
    fewer = tmp_path / "labels.csv"
    fewer.write_text("\n".join(lines[:-1]) + "\n")
    (tmp_path / "classes").symlink_to(pictures / "classes")
    assert "of a run on other data" in said(train(fewer, *options(run)))
    assert (run / "checkpoint.pt").read_bytes() == before


def test_a_damaged_checkpoint_is_said(pictures, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"half a file")
    sentence = said(train(pictures / "labels.csv", *options(tmp_path / "run")))
    assert "not a checkpoint of `efiss train`, or it is damaged" in sentence


def test_a_batch_that_processes_cannot_share_is_said(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    sentence = said(train(pictures / "labels.csv", *options(tmp_path / "run")))
    assert "batch_size 8 cannot be shared out evenly among 3 processes" in sentence


def test_a_folder_that_cannot_be_written_is_said(pictures, tmp_path):
    (tmp_path / "file").touch()
    sentence = said(train(pictures / "labels.csv", *options(tmp_path / "file" / "run")))
    assert str(tmp_path / "file") in sentence and "Not a directory" in sentence
