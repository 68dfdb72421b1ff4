"""Requests without HTTP, small: that they are answered and counted, not how many."""

import json
from base64 import b64encode

import pytest

from benchmarks.in_process import requests_a_second
from indexer.pipeline import Order, index_catalogue
from searcher.index import Index
from tests.drawing import draw
from tests.pictures import encoded


@pytest.fixture
def index_root(tmp_path, tiny_models):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(encoded(draw(seed=1, index=i)))
    database = tmp_path / "database_info.txt"
    database.write_text("".join(f"{tmp_path}/{i}.jpg\n" for i in range(3)))
    root = tmp_path / "index"
    index_catalogue(Order(database, tiny_models[0], "cpu", "1.0.0", root, 1, 4, 1_000_000))
    Index(root).activate("1.0.0")
    return root


@pytest.mark.slow("starts three processes that import torch")
def test_answers_are_counted_over_processes_and_a_refusal_ends_it(index_root):
    picture = b64encode(encoded(draw(seed=2, index=0))).decode()
    body = json.dumps({"image": picture, "top_k": 2}).encode()
    rate, cpu_seconds = requests_a_second(index_root, [body], processes=2, seconds=0.2)
    assert rate > 10 and 0 < cpu_seconds < 0.2
    with pytest.raises(RuntimeError, match="ended early"):
        requests_a_second(index_root, [b"{}"], processes=1, seconds=0.2)
