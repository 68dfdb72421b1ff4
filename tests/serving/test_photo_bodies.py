"""The photo itself as the body, parts and parameters: through a real TorchServe, with curl."""

import base64
import contextlib
import gzip
import json
import os
import subprocess
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efiss_client import PATH
from handlers import HOW_TO_SEND
from serving import handing
from tests.drawing import draw
from tests.pictures import encoded
from tests.running import wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With photo.jpg, request.json of the same photo, and both packed."""
    folder = tmp_path_factory.mktemp("sent")
    photo = encoded(draw(1, 5000))
    wanted = {"image": base64.b64encode(photo).decode(), "top_k": 4, "debug": True}
    for name, data in [("photo.jpg", photo), ("request.json", json.dumps(wanted).encode())]:
        (folder / name).write_bytes(data)
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    return folder


def curl(service, folder: Path, parameters: str, *options: str) -> tuple[int, dict]:
    """Status and answer."""
    address = service.url + PATH + parameters
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", address, *options],
        cwd=folder, capture_output=True, check=True,
    )  # fmt: skip
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(answer)


@pytest.fixture(scope="module")
def wanted(service, folder) -> dict:
    status, answer = curl(service, folder, "", "-T", "request.json")
    assert status == 200 and len(answer["relevant"]) == 4
    return answer


TYPES = ["image/jpeg", "image/x-unknown", "application/octet-stream", "application/json",
         "text/plain; charset=utf-8"]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ("?top_k=4&debug=true", ["-T", "photo.jpg"]),
        *[
            ("?topk=4&debug=true", ["--data-binary", "@photo.jpg", "-H", f"Content-Type: {name}"])
            for name in TYPES
        ],
        ("", ["-F", "image=@photo.jpg", "-F", "top_k=4", "-F", "debug=true"]),
        ("?top_k=4", ["-F", "image=@photo.jpg;type=text/plain", "-F", "debug=true"]),
        ("?top_k=4&debug=true", ["-F", "data=@photo.jpg"]),
        ("", ["-T", "request.json.gz", "-H", "Content-Encoding: gzip"]),
        (
            "",
            ["-T", "request.json.gz", "-H", "Content-Encoding: gzip",
             "-H", "Content-Type: application/json"],
        ),
        ("?top_k=4&debug=true", ["-T", "photo.jpg.gz", "-H", "Content-Encoding: gzip"]),
    ],
)  # fmt: skip
def test_every_way_gives_the_same_answer(service, folder, wanted, parameters, options):
    status, answer = curl(service, folder, parameters, *options)
    assert status == 200, answer
    assert {**answer, "ms": 0} == {**wanted, "ms": 0}


def test_parameters_have_the_checks_of_the_fields(service, folder):
    for parameters, kind in [
        ("?top_k=0", "bad_top_k"), ("?debug=yes", "bad_debug"), ("?topK=3", "unknown_field"),
        ("?box=1,2", "bad_box"), ("?code=00ff00ff00ff00ff", "bad_code"),
    ]:  # fmt: skip
        status, answer = curl(service, folder, parameters, "-T", "photo.jpg")
        assert (status, answer["type"]) == (400, kind), answer


def test_shops_are_separated_by_commas(service, folder):
    shops = sorted(path.name for path in (service.folder / "data").iterdir())[:2]
    for given in (f"shops={','.join(shops)}", "&".join(f"shops={shop}" for shop in shops)):
        _, answer = curl(service, folder, f"?top_k=1000&{given}", "-T", "photo.jpg")
        assert {path.split("/")[1] for path in answer["relevant"]} == set(shops)


def test_a_code_may_be_asked_by_its_address_alone(service, folder, wanted):
    status, answer = curl(service, folder, f"?code={wanted['code']}&top_k=4&debug=true")
    assert status == 200 and answer["distances"] == wanted["distances"]


def test_a_photo_that_curl_calls_a_form_is_told_both_ways(service, folder):
    status, answer = curl(service, folder, "", "--data-binary", "@photo.jpg")
    assert 400 <= status < 500 and HOW_TO_SEND in answer["message"]


def test_what_is_neither_is_told_both_ways(service, folder):
    status, answer = curl(service, folder, "?top_k=4", "-T", "photo.jpg.gz")
    assert (status, answer["type"]) == (400, "not_json") and HOW_TO_SEND in answer["message"]


def test_a_photo_in_a_part_without_a_file_name(service, folder, wanted):
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n%b\r\n--b--\r\n'
    (folder / "form").write_bytes(body % (folder / "photo.jpg").read_bytes())
    typed = ("-H", "Content-Type: multipart/form-data; boundary=b")
    _, answer = curl(service, folder, "?debug=true", "--data-binary", "@form", *typed)
    assert (answer["code"], answer["distances"][:4]) == (wanted["code"], wanted["distances"])


def test_a_path_whose_bytes_are_no_utf_8_can_be_asked_for_by_its_address(service, folder):
    path = next(
        line for line in (service.folder / "database_info.txt").read_bytes().splitlines()
        if line.endswith(b"caf\xe9_not utf-8.jpg")
    )  # fmt: skip
    quoted = urllib.parse.quote(path)
    status, answer = curl(service, folder, f"?like={quoted}&top_k=1&debug=true")
    assert status == 200 and answer["distances"] == [0]


@pytest.fixture(scope="module")
def noise(folder) -> bytes:
    """A photo that is handed to the worker beside TorchServe."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    photo = encoded(Image.fromarray(pixels))
    assert len(photo) > 2 * handing.LEAST_BYTES
    (folder / "noise.jpg").write_bytes(photo)
    return photo


def bodies_held(service) -> int:
    """Those that the front holds for workers."""
    held = 0
    for link in Path(f"/proc/{service.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held += "memfd:body" in os.readlink(link)
    return held


def test_a_body_beside_torchserve_is_answered_as_one_that_goes_through_it(service, folder, noise):
    answers = [
        curl(service, folder, "?top_k=4&debug=true", "-T", "noise.jpg"),
        curl(service, folder, "?top_k=4&debug=true", "-F", "image=@noise.jpg"),  # it reads a form
    ]
    (status, beside), (_, through) = answers
    assert status == 200
    assert (beside["code"], beside["relevant"]) == (through["code"], through["relevant"])
    wait_for(lambda: bodies_held(service) == 0)


def test_no_client_names_a_body_of_the_front(service, folder, noise):
    body = handing.Body(bytearray(noise))
    try:
        sent = (f"{name}: {body.header[1].decode()}" for name in ("x-efiss-body", "X-Efiss-Body"))
        for header in sent:
            _, answer = curl(
                service, folder, "?top_k=4&debug=true", "-T", "photo.jpg", "-H", header
            )
            _, wanted = curl(service, folder, "?top_k=4&debug=true", "-T", "photo.jpg")
            assert answer["code"] == wanted["code"]
    finally:
        body.close()


@pytest.mark.parametrize("more", range(4000, 4300, 25))
def test_an_address_and_headers_are_answered_up_to_what_torchserve_reads(
    service, folder, noise, more
):
    shops = "exclude_shops=" + "a" * 3900
    status, _ = curl(service, folder, f"?{shops}", "-T", "noise.jpg", "-H", "X: " + "y" * more)
    assert status in (200, 431)
