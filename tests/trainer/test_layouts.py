"""Labelled pictures from folders, CSV and parquet files; the split by class."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from hashing import picture as decoding
from tests.pictures import encoded
from trainer.data import DataError, Pictures, Source, fill_pixels, is_held_out
from trainer.evaluation.tasks import tasks
from trainer.layouts import read, source_of
from trainer.targets import trained_on


def picture(brightness: int) -> bytes:
    return encoded(Image.new("RGB", (12, 8), (brightness,) * 3), "PNG")


def brightness(pictures, row: int) -> int:
    """Which picture stands in a row."""
    return int(pictures.pixels(row, small)[0, 0, 0])


def small(data: bytes) -> np.ndarray:
    """uint8 [8, 8, 3]."""
    return decoding.pixels(decoding.decode(data, 8), 8, "box")


def write(path, /, **columns):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def folders(tmp_path):
    """shoes/1.png, shoes/new/2.PNG and bags/3.jpeg of brightness 10, 20, 30, and what is none."""
    for name, value in {"shoes/1.png": 10, "shoes/new/2.PNG": 20, "bags/3.jpeg": 30}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(value))
    (tmp_path / "shoes" / "notes.txt").write_text("no picture")
    (tmp_path / "loose.png").write_bytes(picture(40))
    return tmp_path


def test_a_folder_of_class_folders(folders):
    pictures = read(folders, source_of(folders))
    assert pictures.labels["class"].tolist() == ["bags", "shoes", "shoes"]
    assert pictures.groups.tolist() == ["bags/3.jpeg", "shoes/1.png", "shoes/new/2.PNG"]
    assert [brightness(pictures, row) for row in range(3)] == [30, 10, 20]
    assert pictures.held_out.tolist() == [is_held_out(name) for name in pictures.groups]


def test_class_folders_under_another_label_and_name(folders):
    source = Source("mine", "./", labels={"kind": "kind"}, rename={"kind": {"bags": "Bags"}})
    pictures = read(folders, source)
    assert pictures.name == "mine"
    assert pictures.labels["kind"].tolist() == ["Bags", "shoes", "shoes"]


def test_a_csv_file_names_pictures_from_where_it_lies(folders):
    table = folders / "labels.csv"
    table.write_text("id,path,kind,colour\n7,shoes/1.png,Shoe,Red\n8,bags/3.jpeg,Bag,\n", "utf-8")
    pictures = read(table, source_of(table))
    assert list(pictures.labels) == ["kind", "colour"]
    assert pictures.labels["kind"].tolist() == ["Shoe", "Bag"]
    assert pictures.labels["colour"].tolist() == ["Red", ""]
    assert pictures.groups.tolist() == ["shoes/1.png", "bags/3.jpeg"]
    assert [brightness(pictures, row) for row in range(2)] == [10, 30]


def test_copies_share_a_group_where_there_is_a_column_of_them(folders):
    table = folders / "labels.csv"
    table.write_text("path,group,kind\nshoes/1.png,a,x\nbags/3.jpeg,a,y\n", "utf-8")
    source = source_of(table)
    assert list(source.labels) == ["kind"]
    assert read(table, source).groups.tolist() == ["a", "a"]


def test_an_excel_csv_with_a_byte_order_mark_and_a_short_row(folders):
    table = folders / "labels.csv"
    table.write_text("path,kind\nshoes/1.png\nbags/3.jpeg,Bag\n", "utf-8-sig")
    assert read(table, source_of(table)).labels["kind"].tolist() == ["", "Bag"]


def test_parquet_rows_come_from_all_files_in_order(tmp_path):
    for number, rows in enumerate([[0, 1], [2]]):
        write(tmp_path / f"products-{number}.parquet",
              jpeg=[picture(50 + i) for i in rows], type=[f"type {i}" for i in rows],
              base_colour=["Red" if i else None for i in rows],
              dup_group=[i // 2 for i in rows])  # fmt: skip
    source = Source("products", "products-*.parquet", "jpeg", "dup_group",
                    {"type": "type", "colour": "base_colour"},
                    {"type": {"type 2": "renamed"}})  # fmt: skip
    products = read(tmp_path, source)
    assert len(products) == 3
    assert products.labels["type"].tolist() == ["type 0", "type 1", "renamed"]
    assert products.labels["colour"].tolist() == ["", "Red", "Red"]
    assert products.groups.tolist() == ["0", "0", "1"]
    assert [brightness(products, row) for row in range(3)] == [50, 51, 52]


def test_a_parquet_file_by_itself(tmp_path):
    file = tmp_path / "mine.parquet"
    write(file, id=[1, 2], image=[picture(60), picture(70)], kind=["a", "b"])
    pictures = read(file, source_of(file))
    assert pictures.name == "mine" and list(pictures.labels) == ["kind"]
    assert pictures.groups.tolist() == ["0", "1"]  # every picture by itself
    assert brightness(pictures, 1) == 70


def test_pixels_of_the_rows_asked_for_go_into_an_array(folders):
    pictures, told = read(folders, source_of(folders)), []
    out = np.zeros((2, 8, 8, 3), np.uint8)
    fill_pixels(out, pictures, np.array([2, 0]), small, lambda *step: told.append(step))
    assert out[:, 0, 0, 0].tolist() == [20, 30]
    assert told == [(f"decoding {pictures.name}", done, 2) for done in range(3)]


def fill(pictures: Pictures) -> None:
    rows = np.arange(len(pictures))
    fill_pixels(np.zeros((len(rows), 8, 8, 3), np.uint8), pictures, rows, small)


def said(work) -> str:
    with pytest.raises(DataError) as error:
        work()
    return str(error.value)


def test_what_is_no_layout_is_said(tmp_path):
    (tmp_path / "data.txt").write_text("x")
    assert "neither a folder of class folders nor a .csv" in said(
        lambda: source_of(tmp_path / "data.txt")
    )
    assert "no folders of pictures in it" in said(lambda: read(tmp_path, source_of(tmp_path)))


def test_a_table_without_pictures_or_labels_names_its_columns(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,kind\na.png,x\n")
    assert said(lambda: source_of(table)).endswith("has no column path; it has file, kind")
    table.write_text("path,id\na.png,1\n")
    assert "no column of labels beside path" in said(lambda: source_of(table))
    table.write_text("path,kind\n")
    assert "has no rows" in said(lambda: read(table, source_of(table)))
    write(tmp_path / "t.parquet", data=[b"x"], kind=["x"])
    assert "no column jpeg or image or picture or bytes; it has data, kind" in said(
        lambda: source_of(tmp_path / "t.parquet")
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_column_and_missing_files_are_named(tmp_path, suffix):
    source = Source("s", f"*.{suffix}", "path", labels={"type": "kind"})
    assert f"holds no *.{suffix}" in said(lambda: read(tmp_path, source))
    if suffix == "csv":
        (tmp_path / "t.csv").write_text("path,type\na.png,x\n")
    else:
        write(tmp_path / "t.parquet", path=[b"x"], type=["x"])
    assert "has no column kind; it has path, type" in said(lambda: read(tmp_path, source))


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    source = Source("s", "t.parquet", "jpeg", labels={"kind": "kind"})
    assert "t.parquet" in said(lambda: source_of(tmp_path / "t.parquet"))
    assert "t.parquet" in said(lambda: read(tmp_path, source))
    (tmp_path / "t.csv").write_bytes(b"path,kind\n\xff\xfe,x\n")
    assert "t.csv cannot be read" in said(
        lambda: read(tmp_path, dataclasses.replace(source, files="t.csv", picture="path"))
    )


def test_a_column_that_holds_no_bytes_is_said(tmp_path):
    write(tmp_path / "t.parquet", jpeg=["a path"], kind=["x"])
    source = source_of(tmp_path / "t.parquet")
    assert "must hold encoded pictures (binary), not string" in said(lambda: read(tmp_path, source))


def test_a_picture_that_is_damaged_or_missing_is_said_with_its_row(tmp_path):
    write(tmp_path / "t.parquet", jpeg=[picture(1), b"no picture", None], kind=["x", "y", "z"])
    pictures = read(tmp_path, source_of(tmp_path / "t.parquet"))
    assert "t, row 1: the bytes are not a picture" in said(lambda: fill(pictures))
    (tmp_path / "t.csv").write_text("path,kind\ngone.png,x\n")
    pictures = read(tmp_path, source_of(tmp_path / "t.csv"))
    assert "t, row 0: cannot be read" in said(lambda: fill(pictures))


# -- which pictures are held out -----------------------------------------------------------------


def test_the_split_is_decided_by_the_groups_name_alone():
    def share(name: str) -> float:
        return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32

    names = [f"group {i}" for i in range(2000)]
    assert [is_held_out(name) for name in names] == [share(name) < 0.05 for name in names]
    assert 60 < sum(is_held_out(name) for name in names) < 140


KINDS = ("bag", "cat", "hat")
OWN = Source("own", "own.csv", labels={"kind": "kind"})


@pytest.fixture
def twelve_of_each(tmp_path):
    """A table of 12 pictures of each of the three kinds."""
    rows = [f"{number}.jpg,{KINDS[number % 3]}" for number in range(36)]
    (tmp_path / "own.csv").write_text("\n".join(["path,kind", *rows]))
    return tmp_path


def test_the_split_has_as_many_pictures_of_every_class_as_the_source_says(twelve_of_each):
    source = dataclasses.replace(OWN, queries_per_class=2, training_per_class=5)
    pictures = read(twelve_of_each, source)
    training = trained_on(pictures, {})
    assert not (pictures.held_out & training).any()
    for kind in KINDS:
        # By the sha256 of the groups, in every class.
        of_kind = pictures.groups[pictures.labels["kind"] == kind]
        first = sorted(of_kind, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        assert set(of_kind) & set(pictures.groups[pictures.held_out]) == set(first[:2])
        assert set(of_kind) & set(pictures.groups[training]) == set(first[2:7])
    (task,) = tasks([pictures], {})
    assert (len(task.query_rows), len(task.gallery_rows)) == (3 * 2, 3 * 10)
    assert trained_on(pictures, {"kind": ["cat"]}).sum() == 5 * 2


def test_copies_of_a_query_are_held_out_with_it(tmp_path):
    names = ("a1", "a2", "b1", "b2", "c1", "c2", "e1", "e2", "f1", "f2", "g1", "g2")
    rows = [f"{name}.jpg,{name[0]},{'round' if name < 'e' else 'long'}" for name in names]
    (tmp_path / "own.csv").write_text("\n".join(["path,group,kind", *rows]))
    pictures = read(tmp_path, dataclasses.replace(OWN, group="group", queries_per_class=1))
    assert pictures.held_out.sum() == 4
    held = set(pictures.groups[pictures.held_out])
    assert len(held) == 2
    assert not held & set(pictures.groups[~pictures.held_out])
    assert (trained_on(pictures, {}) == ~pictures.held_out).all()


def test_training_pictures_can_be_limited_under_the_usual_split(tmp_path):
    rows = [f"{number}.jpg,{'round' if number % 2 else 'long'}" for number in range(200)]
    (tmp_path / "own.csv").write_text("\n".join(["path,kind", *rows]))
    usual = read(tmp_path, OWN)
    pictures = read(tmp_path, dataclasses.replace(OWN, training_per_class=7))
    assert usual.held_out.any()
    assert (pictures.held_out == usual.held_out).all()
    assert trained_on(pictures, {}).sum() == 14
    assert not (trained_on(pictures, {}) & usual.held_out).any()


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"queries_per_class": 13}, "queries_per_class is 13, but only 12 picture(s) are left of "
                                    "kind bag"),
        ({"queries_per_class": 4, "training_per_class": 9},
         "training_per_class is 9, but only 8 picture(s) are left of kind bag"),
    ],
)  # fmt: skip
def test_classes_too_small_for_the_split_are_named(twelve_of_each, split, words):
    assert words in said(lambda: read(twelve_of_each, dataclasses.replace(OWN, **split)))


def test_a_split_by_class_without_labels_is_refused(tmp_path):
    (tmp_path / "own.csv").write_text("path\na.jpg\n")
    source = Source("own", "own.csv", queries_per_class=1)
    assert "own has no labels; queries_per_class needs one" in said(lambda: read(tmp_path, source))
