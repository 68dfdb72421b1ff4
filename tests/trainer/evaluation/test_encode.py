"""One pass over pictures."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from hashing.model import Model, Sidecar
from tests.pictures import encoded
from trainer.data import DataError, Pictures
from trainer.evaluation.encode import encode, encoder, thumbnails

SIZE = 16


class Hashing(torch.nn.Module):
    """hash(backbone(x)), as trained networks are."""

    def __init__(self):
        super().__init__()
        convolution = torch.nn.Conv2d(3, 24, 5, 4)
        self.backbone = torch.nn.Sequential(
            convolution, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        self.hash = torch.nn.Sequential(torch.nn.Linear(24, 64), torch.nn.BatchNorm1d(64))

    def forward(self, x):
        return self.hash(self.backbone(x))


class Flat(torch.nn.Module):
    """The first 64 pixels, by a module without parts."""

    def forward(self, x):
        return x.flatten(1)[:, :64]


class SameNames(torch.nn.Module):
    """Parts with the right names that are not applied one after the other."""

    def __init__(self):
        super().__init__()
        self.backbone, self.hash = (torch.nn.Conv2d(3, 3, 1) for _ in range(2))

    def forward(self, x):
        return (self.backbone(x) + self.hash(x)).flatten(1)[:, :64]


def write_model(folder, module: torch.nn.Module) -> Model:
    path = folder / "model.pt"
    torch.jit.save(torch.jit.script(module.eval()), str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sidecar = Sidecar("m", digest, 64, SIZE, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    path.with_suffix(".json").write_text(sidecar.to_json())
    return Model.load(path)


@pytest.fixture
def batch():
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


def test_the_embedding_is_what_the_hash_layer_sees(tmp_path, batch):
    torch.manual_seed(0)
    module = Hashing()
    module.hash[1].running_mean.normal_()
    model = write_model(tmp_path, module)
    outputs, embedding = encoder(tmp_path / "model.pt", model)(batch)
    assert outputs == pytest.approx(model.outputs(batch), abs=1e-4)
    assert embedding.shape == (5, 24) and embedding.std() > 0
    with torch.inference_mode():
        assert module.hash(torch.from_numpy(embedding)).numpy() == pytest.approx(outputs, abs=1e-4)


@pytest.mark.parametrize("build", [Flat, SameNames])
def test_a_model_built_otherwise_shows_no_embedding(tmp_path, batch, build):
    torch.manual_seed(0)
    model = write_model(tmp_path, build())
    outputs, embedding = encoder(tmp_path / "model.pt", model)(batch)
    assert embedding is None and np.array_equal(outputs, model.outputs(batch))


def pictures(count: int) -> Pictures:
    files = [encoded(Image.new("RGB", (20, 20), (row,) * 3), "PNG") for row in range(count)]
    return Pictures("some", {}, np.arange(count).astype(str), files.__getitem__)


def brightness(batch):
    value = batch[:, 0, 0, :1].astype(np.float32)
    return np.repeat(value, 64, axis=1), value


def test_rows_keep_their_order_over_batches():
    got = encode(pictures(150), brightness, 8, "bilinear")
    assert got.outputs.shape == (150, 64) and got.outputs[:, 5].tolist() == list(range(150))
    assert got.embedding[:, 0].tolist() == list(range(150))
    assert got.thumbnails[:, 7] * 255 == pytest.approx(np.arange(150), abs=1e-3)


def test_every_picture_passes_the_model_once():
    seen = []

    def noted(batch):
        seen.extend(batch[:, 0, 0, 0].tolist())
        return brightness(batch)[0], None

    assert encode(pictures(100), noted, 8, "bilinear").embedding is None
    assert sorted(seen) == list(range(100))


def test_a_damaged_picture_is_said():
    broken = Pictures("some", {}, np.array(["a", "b"]), lambda row: b"no picture")
    with pytest.raises(DataError, match="some, row 0"):
        encode(broken, brightness, 8, "bilinear")


def test_thumbnails_average_areas_whatever_the_size():
    pixels = np.zeros((2, 96, 96, 3), np.uint8)
    pixels[1, :6, :8] = 255  # the first of 16x12 areas
    pixels[1, 6:9, 8:16] = 102  # the upper half of the one at row 1, column 1
    small = thumbnails(pixels).reshape(2, 16, 12, 3)
    assert small[0].max() == 0 and (small[1, 0, 0] == 1).all()
    assert small[1, 1, 1] == pytest.approx(0.2)
    assert small[1].sum() == pytest.approx(3 * 1.2)


def test_thumbnails_of_pictures_smaller_than_them():
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 4:, :4] = 255
    small = thumbnails(pixels).reshape(16, 12, 3)
    assert (small[8:, :6] == 1).all() and small.sum() == 8 * 6 * 3
