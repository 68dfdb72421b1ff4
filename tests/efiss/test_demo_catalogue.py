"""The demo catalogue: the same pictures for the same seed, in the datalake's layout."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from efiss.commands.demo_catalogue import demo_catalogue
from efiss.demo_catalogue import (
    ARTICLES,
    COLOURS,
    PATTERNS,
    CatalogueError,
    draw,
    label,
    write_catalogue,
)
from efiss.demo_catalogue.catalogue import picture_path, shop_name


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def rows(folder):
    return list(csv.DictReader(io.StringIO((folder / "labels.csv").read_text())))


def first_index_of(article_type):
    return next(i for i in range(5000) if label(0, i).article_type == article_type)


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Seven pictures in three shops."""
    folder = tmp_path_factory.mktemp("datalake")
    write_catalogue(folder, images=7, shops=3, seed=5, processes=1)
    return folder


def test_a_picture_is_rgb_and_three_by_four():
    picture, _ = draw(0, 0)
    assert (picture.mode, picture.size) == ("RGB", (480, 640))


def test_the_same_seed_and_index_draw_the_same_picture_and_others_another():
    again = [np.asarray(draw(*numbers)[0]) for numbers in ((0, 3), (0, 3), (1, 3), (0, 4))]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])
    assert not np.array_equal(again[0], again[3])


def test_the_labels_of_a_picture_are_known_without_drawing_it():
    assert draw(2, 8)[1] == label(2, 8)


@pytest.mark.parametrize("numbers", [(-1, 0), (0, -1)])
def test_a_negative_number_draws_nothing(numbers):
    with pytest.raises(ValueError, match="must not be negative"):
        draw(*numbers)


@pytest.mark.parametrize("article_type", ARTICLES)
def test_every_article_is_a_thing_in_the_middle_with_room_around_it(article_type):
    picture, _ = draw(0, first_index_of(article_type))
    grey = np.asarray(picture.convert("L"), float)
    edges = np.abs(np.diff(grey, axis=1)) > 12
    assert edges.mean() > 0.002, "nothing is drawn"
    frame = np.ones(edges.shape, bool)
    frame[6:-6, 6:-6] = False
    assert edges[frame].mean() < 0.01, "the article runs out of the picture"


def test_six_hundred_pictures_show_every_type_colour_and_pattern():
    shown = [label(0, index) for index in range(600)]
    assert {what.article_type for what in shown} == set(ARTICLES)
    assert {what.colour for what in shown} == set(COLOURS)
    assert {what.pattern for what in shown} == set(PATTERNS)
    assert len({what.product for what in shown}) == 600


def test_a_plain_red_thing_is_red():
    index = next(
        i
        for i in range(5000)
        if (what := label(0, i)).colour == "Red"
        and (what.article_type, what.pattern) == ("Trousers", "Plain")
    )
    middle = np.asarray(draw(0, index)[0], float)[200:440, 160:320].reshape(-1, 3)
    red, green, blue = np.median(middle, axis=0)
    assert red > 1.8 * max(green, blue)


def test_pictures_go_round_the_shops_and_ids_count_up_within_a_shop(seven):
    assert sorted(files(seven)) == [
        "harbour.example/1_harbour_example.jpg",
        "harbour.example/2_harbour_example.jpg",
        "labels.csv",
        "linden.example/1_linden_example.jpg",
        "linden.example/2_linden_example.jpg",
        "north.example/1_north_example.jpg",
        "north.example/2_north_example.jpg",
        "north.example/3_north_example.jpg",
    ]


def test_labels_name_every_picture_with_what_it_shows(seven):
    assert list(rows(seven)[4]) == ["path", "shop", "product", "article_type", "colour", "pattern"]
    assert {row["path"] for row in rows(seven)} == set(files(seven)) - {"labels.csv"}
    what = label(5, 4)
    assert rows(seven)[4] == {
        "path": "linden.example/2_linden_example.jpg",
        "shop": "linden.example",
        "product": what.product,
        "article_type": what.article_type,
        "colour": what.colour,
        "pattern": what.pattern,
    }


def test_a_written_picture_is_the_drawn_one(seven):
    with Image.open(seven / "linden.example/2_linden_example.jpg") as written:
        difference = np.asarray(written, float) - np.asarray(draw(5, 4)[0], float)
    assert (written.format, np.abs(difference).mean() < 4) == ("JPEG", True)


def test_more_pictures_or_other_processes_change_no_picture(seven, tmp_path, monkeypatch):
    monkeypatch.setattr("efiss.demo_catalogue.catalogue.WORTH_PROCESSES", 1)
    write_catalogue(tmp_path, images=8, shops=3, seed=5, processes=2)
    small, large = files(seven), files(tmp_path)
    small.pop("labels.csv")
    assert small.items() <= large.items()
    assert len(large) == 9


def test_a_half_finished_folder_is_completed_and_keeps_its_pictures(seven, tmp_path):
    write_catalogue(tmp_path, images=3, shops=3, seed=5, processes=1)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "linden.example/1_linden_example.jpg").unlink()
    kept = tmp_path / "north.example/1_north_example.jpg"
    age = kept.stat().st_mtime_ns
    made = write_catalogue(tmp_path, images=7, shops=3, seed=5, processes=1)
    assert (made.images, made.drawn) == (7, 5)
    assert files(tmp_path) == files(seven)
    assert kept.stat().st_mtime_ns == age


def test_fewer_images_than_the_folder_holds_forget_none_of_them(seven):
    before = files(seven)
    made = write_catalogue(seven, images=2, shops=3, seed=5)
    assert (made.images, made.drawn) == (7, 0)
    assert files(seven) == before


def test_a_picture_that_cannot_be_finished_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CatalogueError, match="No space left on device"):
        write_catalogue(tmp_path, images=1, shops=1, processes=1)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(("seed", "shops"), [(6, 3), (5, 2)])
def test_a_folder_of_another_seed_or_number_of_shops_is_left_alone(seven, seed, shops):
    before = files(seven)
    with pytest.raises(CatalogueError, match="choose an empty folder"):
        write_catalogue(seven, images=9, shops=shops, seed=seed)
    assert files(seven) == before


def test_there_is_a_name_for_any_number_of_shops():
    assert len({shop_name(number) for number in range(1000)}) == 1000
    assert picture_path(13, shops=14) == Path("linden2.example/1_linden2_example.jpg")


def test_the_command_says_what_it_made(tmp_path):
    done = CliRunner().invoke(demo_catalogue, [str(tmp_path), "--images", "2", "--shops", "1"])
    assert done.exit_code == 0
    assert "2 pictures (2 new) in 1 shop, 2 article types" in done.output


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--images", "0", "give a whole number from 1 to 100000, not '0'."),
        ("--images", "100001", "give a whole number from 1 to 100000, not '100001'."),
        ("--images", "many", "give a whole number from 1 to 100000, not 'many'."),
        ("--shops", "0", "give a whole number from 1 to 1000, not '0'."),
        ("--seed", "-1", "give a whole number from 0 to 4294967295, not '-1'."),
    ],
)
def test_a_bad_option_gets_a_sentence_and_writes_nothing(tmp_path, option, value, sentence):
    done = CliRunner().invoke(demo_catalogue, [str(tmp_path / "new"), option, value])
    assert done.exit_code == 2
    assert f"Invalid value for '{option}': {sentence}" in done.output
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder_gets_a_sentence(tmp_path):
    place = tmp_path / "taken"
    place.write_text("mine")
    done = CliRunner().invoke(main, ["demo-catalogue", str(place), "--images", "1"])
    assert done.exit_code == 1
    assert f"Error: {place} is a file: choose a folder for the catalogue" in done.output
    assert place.read_text() == "mine"


def test_a_folder_that_may_not_be_written_gets_a_sentence(tmp_path, monkeypatch):
    def forbidden(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", forbidden)
    done = CliRunner().invoke(main, ["demo-catalogue", str(tmp_path / "new"), "--images", "1"])
    assert done.exit_code == 1
    assert "(Permission denied): choose a folder you may write to" in done.output


def test_help_teaches_with_an_example():
    done = CliRunner().invoke(demo_catalogue, ["--help"])
    assert "  efiss demo-catalogue datalake --images 600 --shops 4\n" in done.output
