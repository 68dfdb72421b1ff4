"""`efiss fit`: a catalogue becomes a model of its own, without labels."""

import csv
import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from hashing.model import Model, read_sidecar
from searcher import open_version
from tests.running import ROOT
from tests.training import drawn
from trainer.fit import seen

PICTURES = 60
QUERIES = 8
"""Pictures that are changed."""
START = "from efiss.cli import main; main()"

pytestmark = pytest.mark.slow("fits models to pictures")


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def arguments(folder, out, database="list.txt") -> list:
    return [
        "fit", "--database", folder / database, "--out", folder / out,
        "--input_size", 32, "--index_root", folder / "none",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures, one of them twice, one that is none, and their list and labels."""
    folder = tmp_path_factory.mktemp("fit")
    shop = folder / "data" / "abc.com"
    shop.mkdir(parents=True)
    files = [drawn(number)[0] for number in range(PICTURES)]
    for number, data in enumerate([*files, files[0], b"no picture"]):
        (shop / f"{number}_abc_com.jpg").write_bytes(data)
    paths = [os.fspath(path) for path in sorted(shop.iterdir())]
    (folder / "list.txt").write_text("\n".join(paths) + "\n")
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        table.writerows(
            (shop / f"{number}_abc_com.jpg", drawn(number)[1]) for number in range(PICTURES)
        )
    return folder


@pytest.fixture(scope="module")
def fit(folder):
    """Fits with few changed pictures, of a small input."""

    def fit(out, *more, database="list.txt"):
        return run(*arguments(folder, out, database), *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "QUERIES", QUERIES)
        yield fit


@pytest.fixture(scope="module")
def fitted(folder, fit):
    code, text = fit("models/mine.pt", "--labels", folder / "labels.csv")
    assert code == 0, text
    return text


def test_it_says_what_it_saw_and_how_both_models_do(fitted):
    assert "fitted to 60 of 62 pictures (1 cannot be read, 1 have the bytes of another)" in fitted
    assert "left out:" in fitted and "61_abc_com.jpg" in fitted
    assert "mine  relahash-medium-64bits" in fitted
    for words in ("changed pictures found first", "nearest is one of five hubs", "precision@10"):
        assert words in fitted
    assert "by the labels" in fitted


def test_the_model_is_one_like_any_other(folder, fitted):
    model = Model.load(folder / "models" / "mine.pt")
    assert model.shows_embeddings and model.sidecar.input_size == 32
    assert model.sidecar.fine_bits == 256 and "60 pictures" in model.sidecar.training_data
    match = model.sidecar.match
    assert match and match.similarity and match.distance.alike >= match.distance.same


def test_the_same_pictures_give_the_same_model(folder, fitted):
    """Also in another process, whose linear algebra may have other threads."""
    program = f"from trainer.fit import seen; seen.QUERIES = {QUERIES}; {START}"
    subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments(folder, "again/mine.pt"))],
        env=os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    first, second = (
        torch.jit.load(folder / part / "mine.pt").state_dict() for part in ("models", "again")
    )
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    first, second = (
        dataclasses.replace(read_sidecar(folder / part / "mine.pt"), sha256="")
        for part in ("models", "again")
    )
    assert first == second


def test_a_catalogue_is_indexed_with_it_and_pictures_find_themselves(folder, fitted):
    code, text = run(
        "index", "--database", folder / "list.txt", "--dump_index_path", folder / "index",
        "--model_path", folder / "models" / "mine.pt", "--new_index_database_version", "2.0.0",
    )  # fmt: skip
    assert code == 0, text
    opened = open_version(folder / "index" / "2.0.0")
    model = Model.load(folder / "models" / "mine.pt")
    codes = model.codes(model.pixels(drawn(7)[0])[None])[:, :8]
    rows, distances = opened.search(codes, 1)
    assert opened.path(int(rows[0, 0])).endswith("/7_abc_com.jpg") and distances[0, 0] <= 1


def test_the_fashion_networks_features_stay(folder, fit):
    code, text = fit("fashion.pt", "--backbone", "fashion", "--datalake", folder / "data")
    assert code == 0, text
    assert "relahash-medium-64bits" in Model.load(folder / "fashion.pt").sidecar.training_data
    assert not (folder / "database_info.txt").exists()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (10, "lists 10 pictures; a model is fitted to 50 or more"),
        (0, "holds no image path"),
    ],
)
def test_too_few_pictures(folder, fit, lines, sentence):
    every = (folder / "list.txt").read_text().splitlines(keepends=True)
    (folder / "few.txt").write_text("".join(every[:lines]))
    code, text = fit("few.pt", database="few.txt")
    assert code == 1 and sentence in text
    assert not (folder / "few.pt").exists()


def test_pictures_that_are_gone(folder, fit):
    (folder / "gone.txt").write_text("".join(f"gone/{number}.jpg\n" for number in range(60)))
    code, text = fit("gone.pt", database="gone.txt")
    assert code == 1 and "0 different pictures can be read" in text
    assert "60 cannot be read, the first: gone/" in text


def test_another_suffix(fit):
    code, text = fit("mine.onnx")
    assert code == 1 and "must end in .pt" in text
