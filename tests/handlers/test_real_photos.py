"""The whole way on real photographs: products of a shop, phone photos as queries."""

import subprocess
import sys

import pytest

from efiss_client import Client
from tests import real_data
from tests.running import ROOT, efiss, serving

pytestmark = real_data.needed
PRODUCTS, PHOTOS = 200, 40


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return _pictures("clothing_photos.parquet", PHOTOS)


def _pictures(name: str, count: int) -> list[bytes]:
    import pyarrow.parquet as pq

    batches = pq.ParquetFile(real_data.FOLDER / name).iter_batches(count, columns=["jpeg"])
    return next(batches).column("jpeg").to_pylist()


def test_products_find_themselves_and_phone_photos_find_products(deployed, photos, model_path):
    """Indexes real photographs and starts TorchServe with them."""
    folder = deployed / "real"
    for i, data in enumerate(_pictures("fashion_products-0.parquet", PRODUCTS)):
        shop = folder / "data" / ["abc.com", "x & y.de"][i % 2]
        shop.mkdir(parents=True, exist_ok=True)
        (shop / f"{i}_shop.jpg").write_bytes(data)
    script = ROOT / "indexer" / "extract_datalake.sh"
    subprocess.run(["bash", script, "data"], cwd=folder, check=True, capture_output=True)
    index = [sys.executable, ROOT / "indexer" / "main.py", "--database", "database_info.txt",
             "--model_path", model_path, "--device", "cpu",
             "--new_index_database_version", "1.5.0"]  # fmt: skip
    subprocess.run(index, cwd=folder, check=True, capture_output=True)
    for command in (["activate", "1.5.0"], ["archive", "--index_version", "1.5.0"]):
        assert efiss(*command, folder=folder).returncode == 0
    paths = (folder / "database_info.txt").read_text().splitlines()
    assert len(paths) == PRODUCTS
    with serving(folder) as service, Client(service.url) as client:
        for path in paths[::10]:
            results = client.search(folder / path, top_k=100).results
            same_code = [found.path for found in results if found.distance == 0]
            assert path in same_code and (len(same_code) > 1 or results[0].path == path)
        for photo in photos:
            answer = client.search(photo, top_k=5)
            assert answer.version == "1.5.0" and len(answer.results) == 5
            assert {found.path for found in answer.results} <= set(paths)
