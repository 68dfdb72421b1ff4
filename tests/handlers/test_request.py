"""What a caller may ask, and how every mistake is worded."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.request import Query, RequestError, parse

IMAGE = base64.b64encode(b"the bytes of a file").decode()


def refused(row: dict) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(row)
    return caught.value


def refused_fields(**fields) -> RequestError:
    return refused({"body": json.dumps({"image": IMAGE, **fields}).encode()})


def test_absent_fields_have_the_defaults_of_the_contract():
    query = parse({"body": {"image": IMAGE}})
    assert query == Query(image=b"the bytes of a file", top_k=10, diversity=1, debug=False)


@pytest.mark.parametrize(
    "row",
    [
        {"body": {"image": IMAGE, "top_k": 3}},  # JSON that TorchServe decoded
        {"body": json.dumps({"image": IMAGE, "top_k": 3}).encode()},  # curl -T, --data-binary
        {"body": bytearray(json.dumps({"image": IMAGE, "top_k": 3}).encode())},
        {"body": json.dumps({"image": IMAGE, "top_k": 3})},  # Content-Type: text/plain
        {"data": json.dumps({"image": IMAGE, "topk": 3}).encode()},  # multipart/form-data
        {"data": {"image": IMAGE, "topk": 3}},
    ],
)
def test_every_transport_gives_the_same_query(row):
    assert parse(row) == Query(image=b"the bytes of a file", top_k=3, diversity=1, debug=False)


def test_a_data_url_is_an_image():
    assert parse({"body": {"image": "data:image/jpeg;base64," + IMAGE}}).image == (
        b"the bytes of a file"
    )


@pytest.mark.parametrize("value", [0, -1, 1001, 2.0, "10", True, False, None, [1], {}, 10**30])
@pytest.mark.parametrize("name", ["top_k", "topk"])
def test_top_k_is_a_whole_number_from_1_to_1000(name, value):
    error = refused_fields(**{name: value})
    assert (error.status, error.kind) == (400, "bad_top_k")
    assert f"{name} must be a whole number from 1 to 1000" in str(error)


def test_top_k_and_topk_together_are_refused():
    assert refused_fields(top_k=1, topk=1).kind == "bad_top_k"


@pytest.mark.parametrize("value", [0, 101, "2", True, 1.5, None])
def test_diversity_is_a_whole_number_from_1_to_100(value):
    error = refused_fields(diversity=value)
    assert (error.status, error.kind) == (400, "bad_diversity")


@pytest.mark.parametrize("value", [0, 1, "true", None, []])
def test_debug_is_true_or_false(value):
    error = refused_fields(debug=value)
    assert (error.status, error.kind) == (400, "bad_debug")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("topK", "'topk'"), ("top_kk", "'top_k'"), ("img", "'image'"), ("Debug", "'debug'")],
)
def test_an_unknown_field_is_named_with_the_nearest_known_one(written, meant):
    error = refused_fields(**{written: 1})
    assert error.kind == "unknown_field"
    assert f'"{written}"' in str(error) and f"did you mean {meant}" in str(error)


@pytest.mark.parametrize(
    "body", [b" ", b"{", b"\xff\xfe{}", b"photo.jpg", b'{"image": ' + b"[" * 5000, b"9" * 6000]
)
def test_what_is_not_json_is_said_so(body):
    error = refused({"body": body})
    assert (error.status, error.kind) == (400, "not_json")
    assert "\n" not in str(error)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true", b"NaN"])
def test_json_that_is_no_object_is_refused(body):
    assert refused({"body": body}).kind == "not_an_object"


@pytest.mark.parametrize("row", [{}, {"body": None}, {"body": b""}, {"data": bytearray()}])
def test_a_request_without_a_body_says_what_to_send(row):
    error = refused(row)
    assert error.kind == "no_body" and "a part named data" in str(error)


@pytest.mark.parametrize(
    "row",
    [
        {"file": b"a part of another name"},
        {"body": {"image": IMAGE}, "top_k": b"5"},  # ?top_k=5 would go unnoticed
        {'{"image": "aGk': b'"}'},  # curl --data without a content type
    ],
)
def test_what_comes_beside_the_json_is_refused(row):
    error = refused(row)
    assert error.kind == "unknown_field" and "Content-Type: application/json" in str(error)


def test_an_empty_object_lacks_an_image():
    assert refused({"body": {}}).kind == "no_image"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "no_image"), ("", "not_base64"), ("not base64!", "not_base64"), (17, "not_base64"),
     ("é" * 8, "not_base64"), ("A", "not_base64"), (["aGk="], "not_base64")],
)  # fmt: skip
def test_the_image_is_base64(value, kind):
    error = refused({"body": {"image": value}})
    assert (error.status, error.kind) == (400, kind)


def test_no_image_field_at_all():
    assert refused({"body": b'{"top_k": 3}'}).kind == "no_image"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["image", "top_k", "topk", "debug", "diversity", "x"]),
                       json_values))  # fmt: skip
def test_whatever_fields_come_the_outcome_is_a_query_or_a_refusal(fields):
    try:
        query = parse({"body": fields})
    except RequestError as error:
        assert error.status == 400 and error.kind.isidentifier()
    else:
        assert 1 <= query.top_k <= 1000 and isinstance(query.image, bytes)


@given(st.binary())
def test_whatever_bytes_come_the_outcome_is_a_query_or_a_refusal(body):
    assert refused({"body": body}).status == 400


@given(st.binary(min_size=1), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_the_images_bytes_come_back(data, encode):
    text = encode(data).decode()
    wrapped = "\r\n".join(text[i : i + 7] for i in range(0, len(text), 7))
    assert parse({"body": {"image": wrapped}}).image == data
    assert parse({"body": {"image": text.rstrip("=")}}).image == data
