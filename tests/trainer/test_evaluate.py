"""The evaluation as a whole, on drawn data where the right figures are known."""

import hashlib
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from hashing.codes import pack
from hashing.model import Model
from tests.pictures import encoded
from trainer.another_picture import OtherPictures
from trainer.backbone import ResidualNetwork
from trainer.data import DataError, Labelled, is_held_out, read_products
from trainer.evaluate import NOT_AVAILABLE, evaluate
from trainer.export import export
from trainer.floors import _principal_axes, thumbnails
from trainer.recipe import Recipe
from trainer.views import float_embedding

SIZE = 32


def test_the_split_is_decided_by_the_groups_name_alone():
    def share(name: str) -> float:
        return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32

    names = [f"group {i}" for i in range(2000)]
    assert [is_held_out(name) for name in names] == [share(name) < 0.05 for name in names]
    assert 60 < sum(is_held_out(name) for name in names) < 140


def test_missing_data_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"fashion_products-\*\.parquet"):
        read_products(tmp_path, 32, "bilinear")


class Perfect:
    """A model whose bits say the kind of a picture, which stands in its brightness."""

    class sidecar:
        name, sha256 = "perfect", "0" * 64

    def outputs(self, batch):
        kind = batch[:, 0, 0, 0] // 80
        return np.where(kind[:, None] >> np.arange(64) % 2 & 1, 1.0, -1.0)

    def codes(self, batch):
        return pack(self.outputs(batch))


@pytest.fixture(scope="module")
def perfect() -> tuple[dict, np.ndarray]:
    """The figures of the perfect model on four kinds of 400 pictures, and the kinds."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, 400)
    pixels = np.repeat(kinds[:, None].astype(np.uint8) * 80, 16 * 16 * 3, axis=1)
    pixels = pixels.reshape(-1, 16, 16, 3)
    types = np.array(["Tshirts", "Shirts", "Dresses", "Shorts"])[kinds]
    held_out = random.random(400) < 0.2
    rows = Labelled(pixels, types, np.full(400, "Red"), np.full(400, "Men"), held_out)
    groups = kinds.astype(str)
    others = OtherPictures(pixels[held_out], groups[held_out], groups)
    return evaluate(Perfect(), rows, rows, others, k=5), kinds


def test_a_perfect_model_scores_1_and_random_codes_score_chance(perfect):
    result, kinds = perfect
    assert result["k"] == 5
    for name, figures in result["labels"].items():
        assert figures["micro"]["precision_at_k"] == figures["macro"]["precision_at_k"] == 1, name
        assert figures["micro"]["map"] == pytest.approx(1), name
        assert min(figures["precision_at_recall"]) == 1, name
    floors = result["article_type"]
    assert floors["raw pixels, 12x16"]["micro"]["map"] == 1  # the brightness is the kind here
    assert 0.15 < floors["random codes"]["micro"]["precision_at_k"] < 0.35
    assert floors["float embedding, cosine"] == NOT_AVAILABLE
    assert result["another_picture"]["codes"]["recall_at_1"] == 1
    assert result["another_picture"]["random codes"]["recall_at_1"] < 0.5


def test_pairs_and_buckets_of_a_perfect_model(perfect):
    result, kinds = perfect
    distances = result["distances"]["article type"]
    assert sum(distances["matching"]) == distances["matching"][0]
    assert distances["non_matching"][0] == 0
    assert sum(map(sum, distances.values())) == (
        result["labels"]["article type"]["queries"] * result["labels"]["article type"]["gallery"]
    )
    codes = result["codes"]
    assert (codes["rows"], codes["distinct"]) == (400, 4)
    assert codes["largest_bucket"] == np.bincount(kinds).max()
    assert codes["by_article_type"]["Tshirts"] == {
        "rows": (kinds == 0).sum(), "distinct": 1, "largest_bucket": (kinds == 0).sum()
    }  # fmt: skip


def test_thumbnails_average_areas_whatever_the_size():
    pixels = np.zeros((2, 96, 96, 3), np.uint8)
    pixels[1, :6, :8] = 255  # the first of 16x12 areas
    pixels[1, 6:9, 8:16] = 102  # the upper half of the one at row 1, column 1
    small = thumbnails(pixels).reshape(2, 16, 12, 3)
    assert small[0].max() == 0 and (small[1, 0, 0] == 1).all()
    assert small[1, 1, 1] == pytest.approx(0.2)
    assert small[1].sum() == pytest.approx(3 * 1.2)


def test_the_axes_are_those_of_the_covariance():
    random = np.random.default_rng(0)
    rows = random.normal(size=(3000, 80)).astype(np.float32) * np.linspace(0.1, 2, 80)
    mean, axes = _principal_axes(rows.astype(np.float32))
    assert mean == pytest.approx(rows.mean(axis=0), abs=1e-5)
    covariance = np.cov(rows.T)
    kept = axes.T @ covariance @ axes  # diagonal: the 64 largest of its eigenvalues
    assert kept == pytest.approx(np.diag(np.linalg.eigvalsh(covariance)[-64:]), abs=1e-4)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ResidualNetwork(widths=(8, 16, 16, 32)).eval()


@pytest.fixture(scope="module")
def model_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.pt"
    export(network, path, Recipe(input_size=SIZE), "nothing")
    return path


def test_the_float_embedding_is_what_the_hash_layer_sees(network, model_file):
    pictures = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    model = Model.load(model_file)
    features = float_embedding(model_file, model.sidecar)(pictures)
    assert features.shape == (5, 32)
    with torch.inference_mode():
        outputs = network.hash(torch.from_numpy(features)).numpy()
    assert outputs == pytest.approx(model.outputs(pictures), abs=1e-4)


class Flat(torch.nn.Module):
    """The first 64 pixels, by a module without parts."""

    def forward(self, x):
        return x.flatten(1)[:, :64]


class SameNames(Flat):
    """Parts with the right names that are not applied one after the other."""

    def __init__(self):
        super().__init__()
        self.stem, self.stages, self.hash = (torch.nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        return super().forward(self.stem(x) + self.stages(x) + self.hash(x))


@pytest.mark.parametrize("build", [Flat, SameNames])
def test_a_model_built_otherwise_has_no_float_embedding(build, tmp_path, model_file):
    sample = torch.zeros(1, 3, SIZE, SIZE)
    torch.jit.save(torch.jit.trace(build(), sample), tmp_path / "other.pt")
    sidecar = Model.load(model_file).sidecar
    assert float_embedding(tmp_path / "other.pt", sidecar) is None


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of drawn data: 60 products and 60 phone photos, some of both held out."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (60, 40, 30, 3), np.uint8)
    pictures = [encoded(Image.fromarray(pixels)) for pixels in noise]
    held, shown = _names(held_out=True, count=20), _names(held_out=False, count=40)
    products = {
        "jpeg": pictures,
        "article_type": ["Tshirts", "Shirts", "Dresses"] * 20,
        "base_colour": ["Red", "Blue", None, "Red"] * 15,
        "gender": ["Men", "Women"] * 30,
        "dup_group": held + shown,
    }
    photos = {"id": held + shown, "jpeg": pictures, "label": ["T-Shirt", "Shirt", "Blazer"] * 20}
    pq.write_table(pa.table(products), folder / "fashion_products-0.parquet")
    pq.write_table(pa.table(photos), folder / "clothing_photos.parquet")
    return folder


def _names(held_out: bool, count: int) -> list[str]:
    names = (f"group {i}" for i in range(10_000))
    return [name for name in names if is_held_out(name) == held_out][:count]


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_the_command_prints_a_table_and_writes_figures_and_plots(data, model_file, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "figures"
    code, text = run("--data", data, "--model_path", model_file, "--k", 3, "--out", out)
    assert code == 0, text
    for words in (
        "P@3",
        "mAP@all",
        "phone photo to products",
        "float embedding",
        "random codes",
        "another picture of a product",
        "Dresses",
        "largest bucket",
        "entropy",
    ):
        assert words in text
    plots = {"precision_recall.png", "distances.png", "bits.png", "per_class.png"}
    assert {file.name for file in out.iterdir()} == plots | {"figures.json"}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in plots)
    figures = json.loads((out / "figures.json").read_text())
    assert figures["labels"]["article type"]["queries"] == 20
    assert figures["labels"]["colour"]["queries"] == 15  # five of the twenty have none
    # Of the twenty photos those of a Blazer have no counterpart among the products.
    assert figures["labels"]["phone photo to products"]["queries"] == 14
    assert figures["another_picture"]["codes"]["gallery"] == 60


def test_without_out_only_the_table_is_printed(data, model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = run("--data", data, "--model_path", model_file)
    assert code == 0 and "P@10" in text and "wrote" not in text
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_said_in_one_sentence(data, model_file, tmp_path):
    code, text = run("--data", tmp_path, "--model_path", model_file)
    assert code == 1 and "holds no fashion_products" in text
    code, text = run("--data", data, "--model_path", tmp_path / "none.pt")
    assert code == 1 and text.startswith("Error: ") and text.count("\n") == 1


def test_data_without_anything_held_out_is_said_to_be_too_small(model_file, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (name,), picture = _names(held_out=False, count=1), encoded(Image.new("RGB", (20, 20)))
    product = {"article_type": ["Shirts"], "base_colour": ["Red"], "gender": ["Men"]}
    product |= {"jpeg": [picture], "dup_group": [name]}
    photo = {"id": [name], "jpeg": [picture], "label": ["Shirt"]}
    pq.write_table(pa.table(product), tmp_path / "fashion_products-0.parquet")
    pq.write_table(pa.table(photo), tmp_path / "clothing_photos.parquet")
    code, text = run("--data", tmp_path, "--model_path", model_file)
    assert code == 1 and "too small to evaluate" in text
