"""The demo's photographs: the catalogue in the contract's layout, and pictures to ask with."""

import csv
from pathlib import Path

import pytest
from PIL import Image

import photographs
from photographs import Photograph, catalogue, is_written, queries, remove_drawn, write_datalake
from searcher.columns import build
from searcher.paths import Paths


@pytest.fixture(scope="module")
def datalake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "datalake"
    write_datalake(folder)
    return folder


def test_every_photograph_is_there_and_to_sell_or_to_ask_with():
    sold, asked = {one.photograph for one in catalogue()}, set(queries())
    assert (len(sold), len(asked), len(sold & asked)) == (241, 24, 0)
    files = set((photographs.FOLDER / "photos").iterdir())
    assert {one.file for one in sold | asked} == files


def test_a_caption_says_what_is_shown_and_for_whom():
    assert Photograph("1", "Dress", True).caption == "Dress for children"
    assert Photograph("2", "Dress", False).caption == "Dress"


def test_shops_and_products_are_those_of_the_index(datalake):
    paths = [one.path for one in catalogue()]
    columns, shops = build(Paths.of([f"demo/datalake/{path}" for path in paths]))
    assert set(shops) == {photographs.CHILDREN, *photographs.SHOPS}
    product_of = dict(zip(paths, columns["products"].tolist(), strict=True))
    assert len(set(product_of.values())) == 241
    details = [path for path in paths if path.endswith("_detail.jpg")]
    assert len(details) == 61
    for path in details:
        assert product_of[path] == product_of[path.replace("_detail", "")]
    assert {str(path.relative_to(datalake)) for path in datalake.rglob("*.jpg")} == set(paths)


def test_a_picture_is_the_photograph_byte_for_byte_or_its_middle(datalake):
    for one in catalogue()[:2]:
        with Image.open(datalake / one.path) as made, Image.open(one.photograph.file) as whole:
            part = 0.6 if one.is_detail else 1
            assert made.size == pytest.approx([part * side for side in whole.size], abs=2)
    whole, detail = catalogue()[:2]
    assert (whole.is_detail, detail.is_detail) == (False, True)
    assert (datalake / whole.path).read_bytes() == whole.photograph.file.read_bytes()


def test_the_labels_say_what_each_picture_shows_and_which_are_of_one_thing(datalake):
    with (datalake / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [one.path for one in catalogue()]
    assert len({row["group"] for row in rows}) == 241
    assert {"Shoes", "T-Shirt", "Hat"} < {row["article_type"] for row in rows}


def test_it_is_written_once_the_labels_are(datalake, tmp_path):
    assert is_written(datalake) and not is_written(tmp_path)


def test_of_a_drawn_catalogue_nothing_stays_and_of_other_files_all(tmp_path):
    drawn = tmp_path / "north.example" / "1_north_example.jpg"
    other = tmp_path / "linden.example" / "mine.jpg"
    for path in (drawn, other, other.with_name("1_linden_example.jpg")):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "labels.csv").write_text(
        "path,shop,product,article_type,colour,pattern\n"
        "north.example/1_north_example.jpg,north.example,0-0,Ties,Red,Dots\n"
        "linden.example/1_linden_example.jpg,linden.example,0-1,Ties,Red,Dots\n"
        "north.example/2_north_example.jpg,north.example,0-2,Ties,Red,Dots\n"
    )
    assert not is_written(tmp_path)
    remove_drawn(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]
    assert not drawn.parent.exists()


def test_photographs_are_no_drawn_catalogue(datalake):
    remove_drawn(datalake)
    assert is_written(datalake) and (datalake / catalogue()[0].path).is_file()
