"""`efiss evaluate`, in front of what tests/trainer tests."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from hashing.model import Model
from tests.pictures import encoded
from trainer.data import is_held_out


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def names(held_out: bool, count: int) -> list[str]:
    found = (f"group {i}" for i in range(10_000))
    return [name for name in found if is_held_out(name) == held_out][:count]


@pytest.fixture(scope="module")
def model_path(tiny_models):
    return tiny_models[0]


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """A folder as the recipe `fashion` wants it: 60 products and 60 phone photos, 20 held out."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 30, 3), np.uint8)
    pictures = [encoded(Image.fromarray(pixels)) for pixels in noise]
    groups = names(held_out=True, count=20) + names(held_out=False, count=40)
    products = {
        "jpeg": pictures,
        "article_type": ["Tshirts", "Shirts", "Dresses"] * 20,
        "base_colour": ["Red", "Blue", None, "Red"] * 15,
        "gender": ["Men", "Women"] * 30,
        "dup_group": groups,
    }
    photos = {"id": groups, "jpeg": pictures, "label": ["T-Shirt", "Shirt", "Blazer"] * 20}
    pq.write_table(pa.table(products), folder / "fashion_products-0.parquet")
    pq.write_table(pa.table(photos), folder / "clothing_photos.parquet")
    return folder


@pytest.fixture(scope="module")
def shoes_and_bags(tmp_path_factory):
    """A folder of class folders with 200 pictures."""
    folder = tmp_path_factory.mktemp("shop")
    for number in range(200):
        path = folder / ("shoes", "bags")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(Image.new("RGB", (9, 9), (number, 40, 200 - number)), "PNG"))
    return folder


def test_tables_are_printed_and_figures_and_plots_written(fashion, model_path, tmp_path):
    """Four plots are drawn."""
    pytest.importorskip("matplotlib")
    out = tmp_path / "figures"
    code, text = run("--data", fashion, "--model_path", model_path, "--k", 3, "--out", out)
    assert code == 0, text
    for words in (
        "P@3", "R@3", "mAP@3", "mAP@all",
        "photos to products: article_type",
        "products: article_type and colour",
        "gain of the order among equal distances",
        "float embedding, cosine", "not available for this model",
        "random codes",
        "a quarter of the pixels", "a quarter of each side", "the resolution alone",
        "Dresses",
        "precision at recall",
        "pairs by Hamming distance",
        "largest bucket",
        "entropy", "correlation",
    ):  # fmt: skip
        assert words in text, words
    plots = {"precision_recall.png", "distances.png", "bits.png", "per_class.png"}
    assert {file.name for file in out.iterdir()} == plots | {"figures.json"}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in plots)
    rows = json.loads((out / "figures.json").read_text())["retrieval"]
    assert rows["products: article_type"]["codes"]["queries"] == 20
    assert rows["products: colour"]["codes"]["queries"] == 15  # five of the twenty have none
    # Of the twenty photos those of a Blazer have no counterpart among the products.
    assert rows["photos to products: article_type"]["codes"]["queries"] == 14


def test_without_out_nothing_is_written(shoes_and_bags, model_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = run("--data", shoes_and_bags, "--model_path", model_path)
    assert code == 0 and f"{shoes_and_bags.name}: class" in text and "wrote" not in text
    assert not list(tmp_path.iterdir())


def test_labels_are_chosen_and_values_left_out(fashion, model_path):
    code, text = run("--data", fashion, "--model_path", model_path, "--label", "colour")
    assert code == 0 and "products: colour" in text and "article_type" not in text
    code, text = run("--data", fashion, "--model_path", model_path, "--unseen", "Dresses",
                     "--label", "colour")  # fmt: skip
    assert code == 0 and "products: article_type never trained on" in text
    code, text = run("--data", fashion, "--model_path", model_path, "--label", "size")
    assert code == 1 and "no label size; it has article_type, colour, gender" in text
    code, text = run("--data", fashion, "--model_path", model_path, "--unseen", "Hats")
    assert code == 1 and "'Hats' is to be left out" in text


def test_a_recipe_of_ones_own(shoes_and_bags, model_path, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        '[leave_out]\nkind = ["bags"]\n[[data]]\nname = "all"\nfiles = "./"\n'
        'labels = { kind = "kind" }\n'
    )
    arguments = "--data", shoes_and_bags, "--model_path", model_path
    code, text = run(*arguments, "--recipe", recipe)
    assert code == 0 and "all: kind never trained on" in text
    code, text = run(*arguments, "--recipe", "nobodys")
    assert code == 1 and "there is no recipe nobodys" in text


def test_what_is_wrong_is_said_in_one_sentence(fashion, model_path, tmp_path):
    code, text = run("--data", tmp_path, "--model_path", model_path)
    assert code == 1 and "has no folders of pictures in it" in text
    code, text = run("--data", fashion, "--model_path", tmp_path / "none.pt")
    assert code == 1 and text.startswith("Error: ") and text.count("\n") == 1
    code, text = run("--data", fashion, "--model_path", model_path, "--out", model_path)
    assert code == 2 and "is a file" in text


def test_options_of_the_other_kind_are_refused(shoes_and_bags):
    code, text = run("--data", shoes_and_bags, "--queries", 5)
    assert code == 2 and "--queries goes only with --index" in text
    code, text = run("--data", shoes_and_bags, "--unseen", "bags", "--index", "http://x")
    assert code == 2 and "--unseen goes not with --index" in text


def test_no_service_is_said(shoes_and_bags, monkeypatch):
    monkeypatch.setenv("EFISS_PORT", "9")
    code, text = run("--data", shoes_and_bags, "--index")
    assert code == 1 and "http://127.0.0.1:9 does not answer" in text
    monkeypatch.setenv("EFISS_PORT", "many")
    code, text = run("--index", "--data", shoes_and_bags)
    assert code == 1 and "EFISS_PORT must be a whole number" in text


def test_what_is_near_is_written_into_the_sidecar(shoes_and_bags, long_model, tmp_path):
    path = shutil.copy(long_model, tmp_path / "mine.pt")
    before = long_model.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(before)
    arguments = ("--data", shoes_and_bags, "--model_path", path)
    status, output = run(*arguments, "--out", tmp_path / "figures")
    assert status == 0 and "how near is near" in output
    assert path.with_suffix(".json").read_text() == before
    status, output = run(*arguments, "--write_match")
    assert status == 0 and "wrote what is near into" in output
    written = json.loads(path.with_suffix(".json").read_text())
    match = written.pop("match")
    assert written == json.loads(before)
    assert match == json.loads((tmp_path / "figures/figures.json").read_text())["match"]
    assert set(match["distance"]) == set(match["similarity"]) == {"same", "alike", "shares"}
    assert Model.load(path).sidecar.match is not None
