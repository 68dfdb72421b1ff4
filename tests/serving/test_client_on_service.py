"""The Python client on the running service, and the examples of docs/client.md."""

import base64
import contextlib
import io
import os
import re

import pytest
from PIL import Image

from efiss_client import Client, ServiceError
from searcher import open_version
from tests.drawing import draw
from tests.handlers.ranking import IMPORTED, shop_of
from tests.pictures import encoded
from tests.running import IMAGES, ODD_NAMES, ROOT

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")


@pytest.fixture
def client(service):
    with Client(service.url) as client:
        yield client


@pytest.fixture
def photo(tmp_path):
    """The path of a picture that is not in the catalogue, and that is not reduced while a JPEG is
    decoded, as a larger one is."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(draw(1, 5000).resize((240, 320))))
    return path


def test_a_picture_is_the_same_as_path_bytes_and_image(client, photo):
    answers = [client.search(photo), client.search(photo.read_bytes())]
    answers.append(client.search(Image.open(photo)))
    assert all(answer.results == answers[0].results for answer in answers)
    first = answers[0]
    assert first.version == "1.0.0" and len(first.results) == 10 and len(first.code) == 16
    assert all(0 <= found.distance <= 64 for found in first.results)
    assert first.ms["model"] > 0 and first.cropped_image is None
    assert len({answer.request_id for answer in answers} - {None}) == 3
    by_distance = client.search(photo, rank="distance")
    by_code = client.search(code=first.code)
    distances = [found.distance for found in by_distance.results]
    assert [found.distance for found in by_code.results] == distances


def test_every_path_of_an_answer_can_be_asked_for_whatever_its_name(client, service):
    index = open_version(service.folder / "index" / "1.0.0")
    results = client.search(code="0" * 16, top_k=1000).results
    assert {found.path for found in results} == {index.path(row) for row in range(IMAGES)}
    odd = [
        found.path for found in results if os.path.basename(os.fsencode(found.path)) in ODD_NAMES
    ]
    assert len(odd) == len(ODD_NAMES)
    for path in odd:
        for like in (path, os.fsencode(path)):
            answer = client.search(like=like, max_distance=0)
            assert path in [found.path for found in answer.results]


def test_the_fields_reach_the_service(client, photo):
    shops = ["north.example", "linden.example"]
    everything = client.search(photo, top_k=1000, shops=shops).results
    assert {shop_of(found.path) for found in everything} == set(shops)
    some = client.search(photo, top_k=3, offset=1, diversity=2, shops=shops).results
    assert some == everything[2::2][:3]
    assert client.search(photo, shops=shops, exclude_shops=shops).results == []
    farthest = everything[4].distance
    assert client.search(photo, max_distance=farthest, shops=shops).results == [
        found for found in everything if found.distance <= farthest
    ]
    products = client.search(photo, top_k=1000, group_by="product", shops=shops).results
    assert set(products) <= set(everything)
    assert client.search(code="0" * 16, index_database_version=IMPORTED).version == IMPORTED
    part = client.search(photo, box=(0.25, 0.1, 0.75, 0.9))
    assert Image.open(io.BytesIO(part.cropped_image)).format == "JPEG"
    assert base64.b64decode(part.raw["cropped_image"]) == part.cropped_image


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [({}, 400, "no_image"), ({"code": "0" * 15}, 400, "bad_code"),
     ({"code": "0" * 16, "shops": "a.com"}, 400, "bad_shops"),
     ({"like": "none.jpg"}, 404, "unknown_like"),
     ({"code": "0" * 16, "index_database_version": "9.9.9"}, 404, "unknown_version"),
     ({"image": b"no picture"}, 400, "not_an_image")],
)  # fmt: skip
def test_a_refusal_has_its_status_and_kind(client, query, status, kind):
    with pytest.raises(ServiceError) as error:
        client.search(**query)
    assert (error.value.status, error.value.kind) == (status, kind)
    assert error.value.request_id and len(str(error.value)) > 20


def test_a_request_that_is_too_large(client):
    with pytest.raises(ServiceError) as error:
        client.search(b"A" * 26_000_000)
    assert error.value.status == 413


def test_the_examples_of_the_page(service, photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    script = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(script.replace("http://127.0.0.1:5000", service.url), names)
    lines = printed.getvalue().splitlines()
    assert lines[0].startswith("1.0.0 ") and len(lines) == 7
    assert f"prints `{lines[-1]}`" in PAGE
    assert Image.open("part.jpg").format == "JPEG"
