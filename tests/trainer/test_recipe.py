"""Recipes from TOML: what they take, and what they say about what they don't."""

import dataclasses

import pytest

from trainer.data import DataError, Source
from trainer.recipe import SHIPPED, Recipe, RecipeError, read_recipe, recipe_for, recipe_from


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read_by_its_name(path):
    recipe = read_recipe(path.stem)
    assert recipe.data and all(source.files and source.labels for source in recipe.data)
    assert recipe.labels.keys() <= {label for source in recipe.data for label in source.labels}


def test_a_file_and_changes_make_a_recipe(tmp_path):
    (tmp_path / "mine.toml").write_text(
        "epochs = 3\nlearning_rate = 1\ntraining_sizes = [32, 64]\n[labels]\ncolour = 2\n[[data]]\n"
        'name = "shop"\nfiles = "*.csv"\nlabels = { colour = "Farbe" }\n'
        '[data.rename.colour]\nrot = "Red"\n'
    )
    recipe = read_recipe(str(tmp_path / "mine.toml"), {"epochs": 5})
    assert (recipe.epochs, recipe.learning_rate, recipe.training_sizes) == (5, 1, (32, 64))
    assert recipe.labels == {"colour": 2}
    assert recipe.data == (
        Source("shop", "*.csv", labels={"colour": "Farbe"}, rename={"colour": {"rot": "Red"}}),
    )
    assert recipe.batch_size == Recipe().batch_size


def test_a_recipe_survives_becoming_plain_values():
    recipe = read_recipe("fashion", {"leave_out": {"article_type": ["Caps"]}, "mean": [0, 0.5, 1]})
    assert recipe_from(dataclasses.asdict(recipe)) == recipe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, "unknown key epoch; the keys are backbone, "),
        ({"epochs": "3"}, "epochs must be a whole number, not '3'"),
        ({"epochs": 3.0}, "epochs must be a whole number, not 3.0"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"epochs": 0}, "epochs must be from 1 to 10000, not 0"),
        ({"pretrained": 1}, "pretrained must be true or false, not 1"),
        ({"learning_rate": "high"}, "learning_rate must be a number, not 'high'"),
        ({"learning_rate": 0}, "learning_rate must be from 1e-09 to 10, not 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be from"),
        ({"averaging": 1}, "averaging must be from 0 to 0.99999, not 1"),
        ({"batch_size": 1}, "batch_size must be from 2"),
        ({"training_sizes": 96}, "training_sizes must be a list, not 96"),
        ({"training_sizes": []}, "training_sizes must name at least one size"),
        ({"training_sizes": [96, 8]}, "training_sizes must be from 16 to 1024, not 8"),
        ({"training_sizes": [96.5]}, "training_sizes must be a list"),
        ({"labels": ["colour"]}, "labels must be a table"),
        ({"labels": {"colour": "2"}}, "labels must be a table"),
        ({"labels": {"colour": 0}}, "weights in labels must be greater than 0"),
        ({"labels": {"colour": float("nan")}}, "weights in labels must be greater than 0"),
        ({"leave_out": {"article_type": "Caps"}}, "leave_out must be a table"),
        ({"mean": [0.5, 0.5]}, "mean and std must be three numbers each"),
        ({"std": [0.5, 0.5, 0]}, "those of std not 0"),
        ({"fixed_views": 1}, "fixed_views must be 2 or more for the instance term"),
        ({"neighbours": 8, "fixed_views": 2}, "set fixed_views to 3 or more"),
        ({"neighbours": 8, "fixed_views": 3, "instance": 0}, "and instance above 0"),
        ({"neighbours": 1, "fixed_views": 3}, "neighbours must be from 2 to batch_size"),
        ({"neighbours": 65, "fixed_views": 3}, "neighbours must be from 2 to batch_size"),
        ({"augmentation": "wild"}, "augmentation must be one of none, mild, phone, not 'wild'"),
        ({"resampling": "nearest"}, "resampling must be one of bilinear, "),
        ({"data": [{"files": "*.csv"}]}, "data: .*'name'"),
        ({"data": [{"name": "a", "files": "*.csv", "colour": "b"}]}, "data: .*'colour'"),
        ({"data": [{"name": "a", "files": 3}]}, "data: files must be a text, not 3"),
        ({"data": [{"name": "a", "files": "b", "labels": ["c"]}]}, "data: labels must be a table"),
        ({"data": [{"name": "a", "files": "b", "queries_per_class": -1}]}, "not be negative"),
        ({"data": [{"name": "a", "files": "b", "training_per_class": "5"}]},
         "data: training_per_class must be a whole number, not '5'"),
        ({"weights": 3}, "weights must be a text"),
        ({"weights": "a.pth", "pretrained": False}, "set pretrained = true"),
        ({"data": ["*.csv"]}, "data: "),
        ({"data": 3}, "data: "),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_be_is_said(values, words):
    with pytest.raises(RecipeError, match=words):
        recipe_from(values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"there is no recipe .*; give one of .*fashion.*, or a file that ends in \.toml"),
        (b"epochs = ", r"mine\.toml cannot be read"),
        (b"\xff\xfe", r"mine\.toml cannot be read"),
        (b"epochs = 0", r"recipe .*mine\.toml: epochs must be from 1"),
    ],
)
def test_a_file_that_is_no_recipe_is_said(content, words, tmp_path):
    if content is not None:
        (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        read_recipe(str(tmp_path / "mine.toml"))


def test_an_unknown_name_is_said_with_those_there_are():
    with pytest.raises(RecipeError, match=r"there is no recipe fashon; give one of .*fashion"):
        read_recipe("fashon")


def test_the_shipped_recipe_is_taken_where_its_files_lie(tmp_path):
    for name in ("fashion_products-1.parquet", "clothing_photos.parquet"):
        (tmp_path / name).touch()
    assert recipe_for(tmp_path, None, {"seed": 3}) == read_recipe("fashion", {"seed": 3})


def test_cifar10_is_the_papers_protocol(tmp_path):
    recipe = read_recipe("cifar10")
    (source,) = recipe.data
    assert (source.queries_per_class, source.training_per_class, recipe.bits) == (100, 500, 64)
    assert recipe.instance == recipe.embedding == 0
    (tmp_path / "cifar10-0.parquet").touch()
    assert recipe_for(tmp_path, None) == recipe


def test_a_part_of_the_shipped_recipes_files_is_not_enough(tmp_path):
    (tmp_path / "clothing_photos.parquet").touch()
    recipe = recipe_for(tmp_path, None)
    assert [source.files for source in recipe.data] == ["./"]


def test_data_of_ones_own_takes_the_defaults_and_its_own_layout(tmp_path):
    (tmp_path / "mine.csv").write_text("path,colour,group\na.jpg,Red,1\n")
    recipe = recipe_for(tmp_path / "mine.csv", None, {"epochs": 2})
    source = Source("mine", "mine.csv", "path", "group", {"colour": "colour"})
    assert recipe == dataclasses.replace(Recipe(), epochs=2, data=(source,))


def test_a_recipe_without_data_is_used_on_the_layout_that_is_there(tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = 3")
    recipe = recipe_for(tmp_path, str(tmp_path / "mine.toml"))
    assert recipe.epochs == 3 and recipe.data[0].files == "./"


def test_data_of_no_known_layout_is_said(tmp_path):
    (tmp_path / "mine.zip").touch()
    with pytest.raises(DataError, match="neither a folder of class folders nor"):
        recipe_for(tmp_path / "mine.zip", None)
