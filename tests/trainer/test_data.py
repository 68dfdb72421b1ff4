"""Labelled pictures from parquet files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from efiss.demo_catalogue import draw
from tests.pictures import encoded
from trainer.data import DataError, is_held_out, read_photos, read_products


def write(path, **columns):
    pq.write_table(pa.table(columns), path)


def pictures(count: int) -> list[bytes]:
    return [encoded(draw(3, index)[0]) for index in range(count)]


def test_products_come_row_by_row_from_all_files(tmp_path):
    jpegs = pictures(3)
    for number, rows in enumerate([[0, 1], [2]]):
        write(tmp_path / f"fashion_products-{number}.parquet",
              jpeg=[jpegs[i] for i in rows], article_type=[f"type {i}" for i in rows],
              base_colour=["Red" if i else None for i in rows], gender=["Men" for _ in rows],
              dup_group=[f"group {i}" for i in rows])  # fmt: skip
    products = read_products(tmp_path, 16, "bilinear")
    assert products.pixels.shape == (3, 16, 16, 3) and products.pixels.dtype == np.uint8
    assert products.article_type.tolist() == ["type 0", "type 1", "type 2"]
    assert products.colour.tolist() == ["", "Red", "Red"]
    assert products.held_out.tolist() == [is_held_out(f"group {i}") for i in range(3)]


def test_photos_labels_become_article_types_where_there_is_one(tmp_path):
    write(tmp_path / "clothing_photos.parquet", jpeg=pictures(3),
          label=["Polo", "Blazer", "Hoodie"], id=["a", "b", "c"])  # fmt: skip
    photos = read_photos(tmp_path, 16, "bilinear")
    assert photos.article_type.tolist() == ["Tshirts", "Blazer", "Sweatshirts"]
    assert photos.colour.tolist() == photos.gender.tolist() == ["", "", ""]


def test_a_missing_column_is_named(tmp_path):
    write(tmp_path / "clothing_photos.parquet", jpeg=pictures(1), kind=["Polo"])
    with pytest.raises(DataError, match="no column label; it has jpeg, kind"):
        read_photos(tmp_path, 16, "bilinear")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "clothing_photos.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"clothing_photos\.parquet"):
        read_photos(tmp_path, 16, "bilinear")


def test_a_damaged_picture_is_said(tmp_path):
    write(tmp_path / "clothing_photos.parquet", jpeg=[b"no picture"], label=["Polo"], id=["a"])
    with pytest.raises(DataError, match="row 0"):
        read_photos(tmp_path, 16, "bilinear")
