"""CIFAR-10's files, the split by class, and AlexNet with weights from a file."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from hashing import picture
from hashing.model import Model
from trainer.backbone import AlexNet, BackboneError, make_backbone, width_of
from trainer.cifar import BATCHES, CLASSES, RECORD
from trainer.data import DataError, Source, pixels_of, read
from trainer.evaluation.tasks import tasks
from trainer.network import make_network
from trainer.recipe import RecipeError, read_recipe, recipe_for, recipe_from
from trainer.targets import trained_on

PER_CLASS = 12
CLASS_COUNT = len(CLASSES)
SPLIT = {"queries_per_class": 2, "training_per_class": 5}
CIFAR = read_recipe("cifar10").data[0]
CIFAR_BY_GROUP = dataclasses.replace(CIFAR, queries_per_class=0, training_per_class=0)
SMALL = dataclasses.replace(CIFAR, **SPLIT)


@pytest.fixture
def records() -> np.ndarray:
    """Records of PER_CLASS pictures of every class: noise around a colour of the class."""
    random = np.random.default_rng(3)
    labels = np.tile(np.arange(CLASS_COUNT), PER_CLASS).astype(np.uint8)
    colours = random.integers(0, 190, (CLASS_COUNT, 3))
    planes = np.repeat(colours[labels], 32 * 32, axis=1)
    noise = random.integers(0, 60, planes.shape)
    return np.concatenate([labels[:, None], (planes + noise).astype(np.uint8)], axis=1)


@pytest.fixture
def folder(records, tmp_path):
    """--data with the six files in it."""
    inner = tmp_path / "data" / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    for name, part in zip(BATCHES, np.array_split(records, len(BATCHES)), strict=True):
        part.tofile(inner / name)
    return inner.parent


def test_pixels_and_classes_are_those_of_the_files(folder, records):
    pictures = read(folder, CIFAR_BY_GROUP)
    assert pictures.labels["class"].tolist() == [CLASSES[label] for label in records[:, 0]]
    for row in (0, 57, len(records) - 1):
        wanted = np.stack([plane.reshape(32, 32) for plane in np.split(records[row, 1:], 3)], -1)
        assert np.array_equal(pixels_of(pictures, row, 32, "bilinear"), wanted)
    assert len(set(pictures.groups)) == len(pictures) == len(records)
    assert pictures.groups[0] == "data_batch_1.bin 0"
    assert picture.decode(pictures.encoded(0), 32).size == (32, 32)


def test_classes_can_be_renamed(folder):
    source = dataclasses.replace(CIFAR_BY_GROUP, rename={"class": {"truck": "automobile"}})
    assert set(read(folder, source).labels["class"]) == set(CLASSES) - {"truck"}


def test_the_split_has_as_many_pictures_of_every_class_as_the_source_says(folder):
    pictures = read(folder, SMALL)
    held_out, training = pictures.held_out, trained_on(pictures, {})
    for name in CLASSES:
        of_class = pictures.labels["class"] == name
        assert held_out[of_class].sum() == 2
        assert training[of_class].sum() == 5
    assert not (held_out & training).any()
    (task,) = tasks([pictures], {})
    assert len(task.query_rows) == CLASS_COUNT * 2
    assert len(task.gallery_rows) == CLASS_COUNT * (PER_CLASS - 2)


def test_the_split_is_the_same_wherever_the_rows_stand(folder):
    pictures = read(folder, SMALL)
    backwards = dataclasses.replace(
        pictures, labels={"class": pictures.labels["class"][::-1]}, groups=pictures.groups[::-1]
    )
    assert (backwards.held_out == pictures.held_out[::-1]).all()
    assert (trained_on(backwards, {}) == trained_on(pictures, {})[::-1]).all()
    # By the sha256 of the groups, in every class.
    of_class = pictures.groups[pictures.labels["class"] == "cat"]
    first = sorted(of_class, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(of_class) & set(pictures.groups[pictures.held_out]) == set(first[:2])
    assert set(of_class) & set(pictures.groups[trained_on(pictures, {})]) == set(first[2:7])


def test_left_out_values_are_not_trained_on(folder):
    pictures = read(folder, SMALL)
    training = trained_on(pictures, {"class": ["cat"]})
    assert training.sum() == 5 * (CLASS_COUNT - 1)


def test_copies_of_a_query_are_held_out_with_it(tmp_path):
    rows = ["path,group,kind"]
    rows += [f"{name}.jpg,{name[0]},{'round' if name < 'e' else 'long'}" for name in
             ("a1", "a2", "b1", "b2", "c1", "c2", "e1", "e2", "f1", "f2", "g1", "g2")]  # fmt: skip
    (tmp_path / "pictures.csv").write_text("\n".join(rows))
    source = Source("own", "pictures.csv", group="group", labels={"kind": "kind"})
    pictures = read(tmp_path, dataclasses.replace(source, queries_per_class=1))
    assert pictures.held_out.sum() == 4
    held = set(pictures.groups[pictures.held_out])
    assert len(held) == 2
    assert not held & set(pictures.groups[~pictures.held_out])
    assert (trained_on(pictures, {}) == ~pictures.held_out).all()


def test_training_pictures_can_be_limited_under_the_usual_split(tmp_path):
    rows = [f"{number}.jpg,{'round' if number % 2 else 'long'}" for number in range(200)]
    (tmp_path / "pictures.csv").write_text("\n".join(["path,kind", *rows]))
    source = Source("own", "pictures.csv", labels={"kind": "kind"})
    usual = read(tmp_path, source)
    pictures = read(tmp_path, dataclasses.replace(source, training_per_class=7))
    assert usual.held_out.any()
    assert (pictures.held_out == usual.held_out).all()
    assert trained_on(pictures, {}).sum() == 14
    assert not (trained_on(pictures, {}) & usual.held_out).any()


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"queries_per_class": 13}, "queries_per_class is 13, but only 12 picture(s) are left of "
                                    "class airplane"),
        ({"queries_per_class": 4, "training_per_class": 9},
         "training_per_class is 9, but only 8 picture(s) are left of class airplane"),
    ],
)  # fmt: skip
def test_classes_too_small_for_the_split_are_named(folder, split, said):
    source = dataclasses.replace(CIFAR_BY_GROUP, **split)
    with pytest.raises(DataError, match=re.escape(said)):
        read(folder, source)


def test_a_split_by_class_without_labels_is_refused(tmp_path):
    (tmp_path / "pictures.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match="own has no labels; queries_per_class needs one"):
        read(tmp_path, Source("own", "pictures.csv", queries_per_class=1))


def test_no_files(tmp_path):
    with pytest.raises(DataError, match=r"holds no cifar-10-batches-bin/\*\.bin"):
        read(tmp_path, CIFAR)


def test_a_missing_file_is_named(folder):
    (folder / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin; unpack"):
        read(folder, SMALL)


def test_a_part_of_the_files_can_be_asked_for(folder, records):
    source = dataclasses.replace(CIFAR_BY_GROUP, files="cifar-10-batches-bin/test_batch.bin")
    (folder / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    assert len(read(folder, source)) == len(records) // len(BATCHES)


@pytest.mark.parametrize("length", [0, 1, RECORD - 1, RECORD + 1])
def test_a_file_that_is_cut_off_is_refused(folder, length):
    file = folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    file.write_bytes(b"\x01" * length)
    with pytest.raises(DataError, match=rf"data_batch_2\.bin has {length} bytes, .*cut off"):
        read(folder, SMALL)


def test_a_class_that_is_none_is_refused(folder, records):
    wrong = records[:3].copy()
    wrong[1, 0] = 10
    wrong.tofile(folder / "cifar-10-batches-bin" / "test_batch.bin")
    with pytest.raises(DataError, match=r"test_batch\.bin, picture 1: the class is 10, .*0 to 9"):
        read(folder, SMALL)


def test_a_file_that_cannot_be_read_is_named(folder):
    file = folder / "cifar-10-batches-bin" / "test_batch.bin"
    file.unlink()
    file.mkdir()
    with pytest.raises(DataError, match=r"test_batch\.bin cannot be read"):
        read(folder, SMALL)


def test_the_recipe_is_the_papers_protocol():
    recipe = read_recipe("cifar10")
    assert (recipe.backbone, recipe.input_size, recipe.bits) == ("alexnet", 224, 64)
    (source,) = recipe.data
    assert (source.queries_per_class, source.training_per_class) == (100, 500)
    assert recipe.instance == recipe.embedding == recipe.averaging == 0


def test_the_recipe_is_found_by_its_files(folder, tmp_path):
    assert recipe_for(folder, None) == read_recipe("cifar10")
    (tmp_path / "pictures.csv").write_text("path,kind\na.jpg,round\n")
    assert recipe_for(tmp_path / "pictures.csv", None).data[0].files == "pictures.csv"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": [{"name": "a", "files": "a.csv", "queries_per_class": -1}]}, "not be negative"),
        ({"data": [{"name": "a", "files": "a.csv", "training_per_class": "5"}]},
         "training_per_class must be a whole number, not '5'"),
        ({"weights": 3}, "weights must be a text"),
        ({"weights": "a.pth", "pretrained": False}, "set pretrained = true"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_used(values, said):
    with pytest.raises(RecipeError, match=said):
        recipe_from(values)


def test_a_small_training_with_the_recipe_ends(folder, tmp_path):
    data = (
        '[{name = "cifar10", files = "cifar-10-batches-bin/*.bin", labels = {class = "class"}, '
        "queries_per_class = 2, training_per_class = 5}]"
    )
    changes = {
        "backbone": "residual-small", "pretrained": "false", "epochs": "2", "batch_size": "10",
        "input_size": "32", "training_sizes": "[32]", "data": data,
    }  # fmt: skip
    arguments = ["--data", folder, "--recipe", "cifar10", "--run", tmp_path / "run", "--threads", 1]
    for name, value in changes.items():
        arguments += ["--set", f"{name}={value}"]
    result = CliRunner().invoke(main, ["train", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert "50 pictures to train on, 10 classes" in result.output
    codes = Model.load(tmp_path / "run" / "run.pt").codes(np.zeros((1, 32, 32, 3), np.uint8))
    assert codes.shape == (1, 8)


def test_training_without_the_weights_says_what_to_give(folder, tmp_path):
    data = '[{name = "cifar10", files = "cifar-10-batches-bin/*.bin", training_per_class = 1}]'
    arguments = ["--data", folder, "--recipe", "cifar10", "--run", tmp_path, "--set"]
    result = CliRunner().invoke(main, ["train", *map(str, arguments), f"data={data}"])
    assert result.exit_code == 1
    assert "Error: alexnet brings no pretrained weights; give a file by weights" in result.output


SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}
"""Layers of torchvision's AlexNet."""


@pytest.fixture(scope="module")
def alexnet() -> dict[str, torch.Tensor]:
    """A state dict as torchvision's AlexNet has it, its values drawn."""
    random = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in SHAPES.items():
        # By the layer's inputs, so that what comes out of five or six layers is not all but zero.
        deviation = (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{name}.weight"] = torch.randn(shape, generator=random) * deviation
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.1
    return weights


def test_alexnet_loads_torchvisions_names_and_computes_what_they_mean(alexnet, tmp_path):
    file = tmp_path / "alexnet.pth"
    torch.save(alexnet, file)
    backbone = make_backbone("alexnet", pretrained=True, weights=str(file)).eval()
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        given = backbone(x)
        wanted = _alexnet_by_hand(x, alexnet)
    assert given.shape == (1, 4096)
    assert wanted.std() > 0.1
    torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-4)
    assert width_of(backbone, 224) == 4096


def _alexnet_by_hand(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    def layer(operation, name, x, **how):
        return operation(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how).relu()

    conv, linear = torch.nn.functional.conv2d, torch.nn.functional.linear
    pool = torch.nn.functional.max_pool2d
    x = pool(layer(conv, "features.0", x, stride=4, padding=2), 3, 2)
    x = pool(layer(conv, "features.3", x, padding=2), 3, 2)
    x = layer(conv, "features.6", x, padding=1)
    x = layer(conv, "features.8", x, padding=1)
    x = pool(layer(conv, "features.10", x, padding=1), 3, 2)
    assert x.shape[1:] == (256, 6, 6)  # 224 pixels: the average pool changes nothing
    return layer(linear, "classifier.4", layer(linear, "classifier.1", x.flatten(1)))


def test_alexnet_takes_other_sizes_but_not_the_smallest():
    backbone = AlexNet()
    assert width_of(backbone, 63) == width_of(backbone, 96) == 4096
    with pytest.raises(BackboneError, match="does not take a 62x62 picture"):
        width_of(backbone, 62)


def test_the_same_goes_for_other_backbones(tmp_path):
    for name in ("residual-small", "efficientnet-lite0"):
        torch.manual_seed(0)
        random = make_backbone(name, pretrained=False)
        file = tmp_path / f"{name}.pth"
        torch.save(random.state_dict(), file)
        loaded = make_backbone(name, pretrained=True, weights=str(file))
        x = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(loaded.eval()(x), random.eval()(x), rtol=1e-3, atol=1e-5)


def test_a_checkpoints_network_needs_no_file():
    recipe = recipe_from({"backbone": "residual-small", "weights": "gone.pth", "input_size": 32})
    assert make_network(recipe, with_weights=False)
    with pytest.raises(BackboneError, match=r"gone\.pth cannot be read: No such file"):
        make_network(recipe)


def test_files_that_do_not_fit_are_refused(alexnet, tmp_path):
    file = tmp_path / "weights.pth"

    def refused(weights, said: str) -> None:
        torch.save(weights, file)
        with pytest.raises(BackboneError, match=re.escape(said)):
            make_backbone("alexnet", pretrained=True, weights=str(file))

    small = {name: value[:1] for name, value in alexnet.items()}
    refused(small, "features.0.weight is [1, 3, 11, 11]; of this backbone it is [64, 3, 11, 11]")
    refused({"conv.weight": torch.zeros(1)}, "lacks features.0.weight")
    refused(alexnet | {"top.weight": torch.zeros(1)}, "holds top.weight; its weights are not of")
    refused({"state_dict": small}, "is not a state dict")
    refused([torch.zeros(1)], "is not a state dict")
    file.write_bytes(b"no weights")
    with pytest.raises(BackboneError, match="is not a file of weights, or it is damaged"):
        make_backbone("alexnet", pretrained=True, weights=str(file))
    with pytest.raises(BackboneError, match="cannot be read: Is a directory"):
        make_backbone("alexnet", pretrained=True, weights=str(tmp_path))


def test_a_file_that_runs_something_is_not_unpickled(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"features.0.weight": np.random.default_rng}, file)
    with pytest.raises(BackboneError, match="is not a file of weights"):
        make_backbone("alexnet", pretrained=True, weights=str(file))
