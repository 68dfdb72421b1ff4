"""Bodies that a front hands to a worker beside TorchServe."""

import os

import pytest

from handlers import handed
from serving.handing import LEAST_BYTES, Body, body_of, can_hand
from serving.message import Request

pytestmark = pytest.mark.skipif(not can_hand(), reason="no memory without a name here")

PHOTO = bytearray(os.urandom(3_000_001))


@pytest.fixture
def behind_front(monkeypatch):
    monkeypatch.setenv(handed.BEHIND_FRONT, "1")


def headers(body: Body) -> dict[str, str]:
    name, value = body.header
    return {"Host": "here", name.decode(): value.decode()}


@pytest.fixture
def body():
    body = Body(PHOTO)
    yield body
    body.close()


def test_a_body_comes_as_it_was_as_often_as_it_is_taken(behind_front, body):
    assert handed.taken(headers(body)) == handed.taken(headers(body)) == PHOTO


def test_a_request_without_the_header_brings_its_own(behind_front):
    assert handed.taken({"Content-Type": "image/jpeg"}) is None


def test_without_a_front_the_header_says_nothing(body):
    assert handed.taken(headers(body)) is None


def test_another_file_of_the_same_descriptor_is_not_taken_for_it(behind_front):
    first = Body(PHOTO)
    given_up = headers(first)
    first.close()
    with pytest.raises(FileNotFoundError):
        handed.taken(given_up)
    second = Body(bytearray(b"another client's"))
    try:
        descriptor = given_up[handed.HEADER].split("-")[1]
        assert descriptor == headers(second)[handed.HEADER].split("-")[1]
        with pytest.raises(FileNotFoundError):
            handed.taken(given_up)
    finally:
        second.close()


@pytest.mark.parametrize(
    ("content_type", "size", "is_handed"),
    [
        (b"image/jpeg", LEAST_BYTES, True),
        (b"application/json", 10 * LEAST_BYTES, True),
        (b"application/json", LEAST_BYTES - 1, False),
        (b" Multipart/Form-Data; boundary=x", 10 * LEAST_BYTES, False),  # TorchServe reads it
    ],
)
def test_large_bodies_but_forms_are_handed(content_type, size, is_handed):
    request = Request(headers=[(b"Content-Type", content_type)], body=bytearray(size))
    body = body_of(request)
    assert (body is not None) == is_handed
    if body:
        body.close()
