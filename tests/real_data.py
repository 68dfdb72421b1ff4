"""Labelled photographs, for the tests that need real ones."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("EFISS_DATA") or Path(__file__).parents[2] / "shared" / "data")

needed = pytest.mark.skipif(
    not list(FOLDER.glob("fashion_products-*.parquet"))
    or not (FOLDER / "clothing_photos.parquet").is_file(),
    reason="no labelled photographs: set EFISS_DATA to a folder with fashion_products-*.parquet "
    "(Fashion Product Images (Small), Kaggle) and clothing_photos.parquet (Clothing dataset, CC0), "
    "columns as in trainer/recipes/fashion.toml",
)
