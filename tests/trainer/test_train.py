"""Training, resuming and exporting a small network on a few drawn pictures."""

import numpy as np
import pytest
import torch

from efiss.demo_catalogue import draw
from hashing.codes import pack
from hashing.model import Model
from hashing.picture import pixels
from trainer import train as training
from trainer.augment import augment
from trainer.backbone import ResidualNetwork
from trainer.checkpoint import CheckpointError
from trainer.data import Labelled
from trainer.export import ParityError, export
from trainer.recipe import Recipe
from trainer.train import targets_of, train

RECIPE = Recipe(epochs=3, batch_size=8, input_size=32, learning_rate=1e-3)


@pytest.fixture(scope="module")
def data() -> Labelled:
    drawn = [draw(7, index) for index in range(24)]
    return Labelled(
        pixels=np.stack([pixels(image, RECIPE.input_size) for image, _ in drawn]),
        article_type=np.array([labels.article_type for _, labels in drawn]),
        colour=np.array([labels.colour for _, labels in drawn]),
        gender=np.array([["", "Men"][i % 2] for i in range(24)]),
        held_out=np.zeros(24, bool),
    )


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The same network, narrow enough for a test."""
    monkeypatch.setattr(
        training, "ResidualNetwork", lambda bits: ResidualNetwork(bits, widths=(8, 16, 16, 32))
    )


def test_targets_share_out_each_row_over_its_labels(data, monkeypatch):
    monkeypatch.setattr(training, "MINIMUM_COLOUR_COUNT", 1)
    targets = targets_of(data)
    assert np.allclose(targets.rows.sum(axis=1), 1)
    row = dict(zip(targets.classes, targets.rows[1], strict=True))
    wanted = {f"article_type={data.article_type[1]}": 2 / 3.5,
              f"colour={data.colour[1]}": 1 / 3.5, "gender=Men": 0.5 / 3.5}  # fmt: skip
    assert {name: pytest.approx(w) for name, w in row.items() if w} == wanted


def test_rare_types_are_drawn_more_often_than_their_share(data):
    types = np.array(["rare"] * 4 + ["common"] * 20)
    sampling = targets_of(Labelled(data.pixels, types, data.colour, data.gender, data.held_out))
    assert sampling.sampling[:4].sum() == pytest.approx(2 / (2 + np.sqrt(20)))


def test_a_stopped_run_ends_where_an_undisturbed_one_does(data, tmp_path, monkeypatch):
    undisturbed = train(data, RECIPE, tmp_path / "a.pt")

    save, saved = training.save, []

    def save_and_stop_after_the_first(*arguments):
        save(*arguments)
        saved.append(arguments)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save", save_and_stop_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        train(data, RECIPE, tmp_path / "b.pt")
    resumed = train(data, RECIPE, tmp_path / "b.pt")
    assert len(saved) == 3
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(data, tmp_path):
    train(data, Recipe(epochs=1, batch_size=8, input_size=32), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="another recipe"):
        train(data, Recipe(epochs=2, batch_size=8, input_size=32), tmp_path / "c.pt")


def test_a_damaged_checkpoint_is_not_continued_from(data, tmp_path):
    (tmp_path / "d.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="damaged"):
        train(data, RECIPE, tmp_path / "d.pt")


def test_the_exported_model_gives_the_networks_codes(data, tmp_path):
    network = train(data, RECIPE, tmp_path / "d.pt")
    sidecar = export(network, tmp_path / "out" / "small.pt", RECIPE, "drawn pictures")
    model = Model.load(tmp_path / "out" / "small.pt")
    assert model.sidecar == sidecar and sidecar.training_data == "drawn pictures"
    inputs = torch.from_numpy(data.pixels).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        outputs = network((inputs - 0.5) / 0.25).numpy()
    assert (model.codes(data.pixels) == pack(outputs)).all()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"small.pt", "small.json"}


def test_an_export_that_computes_something_else_is_refused(tmp_path):
    class Fickle(torch.nn.Module):
        """Computes something else when it is traced."""

        def __init__(self):
            super().__init__()
            self.inner = ResidualNetwork(widths=(8, 8, 8, 8))

        def forward(self, x):
            sign = -1 if torch.jit.is_tracing() else 1
            return sign * self.inner(x)

    with pytest.raises(ParityError):
        export(Fickle(), tmp_path / "fickle.pt", RECIPE, "")
    assert not list(tmp_path.iterdir())


def test_augmentation_keeps_shape_and_range_and_depends_on_its_generator_only():
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one = augment(images, torch.Generator().manual_seed(1))
    assert one.shape == images.shape and one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, augment(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(one, augment(images, torch.Generator().manual_seed(2)))
    assert (one != images).flatten(1).any(dim=1).all()
