"""What a caller may ask, and how every mistake is worded."""

import base64

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import request
from handlers.body import RequestError
from handlers.request import Query, parse
from searcher.opened import Selection
from tests.handlers.sending import sent

IMAGE = base64.b64encode(b"the bytes of a file").decode()


def refused(row: dict) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(row)
    return caught.value


def refused_fields(**fields) -> RequestError:
    return refused(sent({"image": IMAGE, **fields}))


def test_absent_fields_have_the_defaults_of_the_contract():
    query = parse(sent({"image": IMAGE}))
    assert query == Query(image=b"the bytes of a file", top_k=10, diversity=1, debug=False)


def test_a_data_url_is_an_image():
    assert parse(sent({"image": "data:image/jpeg;base64," + IMAGE})).image == (
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


@pytest.mark.parametrize(
    ("name", "highest", "value"),
    [(name, highest, value) for name, highest in [("offset", 10_000), ("max_distance", 64)]
     for value in (-1, highest + 1, "2", True, 1.5, None, [], 10**30)],
)  # fmt: skip
def test_offset_and_max_distance_are_whole_numbers_from_0(name, highest, value):
    error = refused_fields(**{name: value})
    assert (error.status, error.kind) == (400, f"bad_{name}")
    assert f"{name} must be a whole number from 0 to {highest}" in str(error)


def asked(**fields) -> Query:
    return parse(sent({"image": IMAGE, **fields}))


@pytest.mark.parametrize("name", ["offset", "max_distance"])
def test_offset_and_max_distance_may_be_0(name):
    query = asked(**{name: 0})
    assert (query.offset if name == "offset" else query.selection.max_distance) == 0


def test_all_within_max_distance_come_when_top_k_is_not_given():
    assert asked(max_distance=8).top_k == 1000
    assert asked(max_distance=8, top_k=5).top_k == asked(max_distance=8, topk=5).top_k == 5


def test_no_page_reaches_beyond_the_deepest_hit():
    assert asked(offset=900, top_k=100, diversity=100).offset == 900
    error = refused_fields(offset=901, top_k=100, diversity=100)
    assert error.kind == "bad_offset" and "at most 900 with top_k 100" in str(error)
    assert asked(top_k=1000, diversity=100).diversity == 100


@pytest.mark.parametrize("value", ["abc.com", [1], ["abc.com", None], {}, None, ["a"] * 1001])
@pytest.mark.parametrize("name", ["shops", "exclude_shops"])
def test_shops_are_a_list_of_names(name, value):
    error = refused_fields(**{name: value})
    assert (error.status, error.kind) == (400, f"bad_{name}")
    assert f"{name} must be a list of" in str(error) and "1000 names of shops" in str(error)


def test_a_list_of_no_shops_is_refused_as_it_would_answer_nothing():
    assert refused_fields(shops=[]).kind == "bad_shops"
    assert asked(exclude_shops=[]).selection == Selection()


def test_fields_of_the_selection_come_together():
    query = asked(shops=["a", "b", "a"], exclude_shops=["b"], max_distance=3, group_by="product")
    assert query.selection == Selection(
        max_distance=3,
        shops=frozenset("ab"),
        exclude_shops=frozenset("b"),
        by_product=True,
    )


@pytest.mark.parametrize("value", ["shop", "Product", True, None, ["product"]])
def test_group_by_is_product_or_absent(value):
    error = refused_fields(group_by=value)
    assert (error.status, error.kind) == (400, "bad_group_by") and '"product"' in str(error)


@pytest.mark.parametrize("value", ["1.0", "../1.0.0", "1.0.0\n", "latest", "01.0.0", 1.0, None, []])
def test_a_version_is_three_numbers(value):
    error = refused_fields(index_database_version=value)
    assert (error.status, error.kind) == (400, "bad_index_database_version")
    assert "MAJOR.MINOR.PATCH" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "value",
    [[0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1.01], [-0.1, 0, 1, 1], [0.5, 0, 0.5, 1], [1, 0, 0, 1],
     [0, 0.99, 1, 1], [0, 0, float("nan"), 1], [0, 0, float("inf"), 1], [0, 0, "1", 1],
     [False, 0, 1, 1], "0,0,1,1", None, {}],
)  # fmt: skip
def test_a_box_is_four_numbers_that_leave_something(value):
    error = refused_fields(box=value)
    assert (error.status, error.kind) == (400, "bad_box")
    assert "[left, top, right, bottom]" in str(error)


def test_a_box_may_be_the_whole_or_the_least():
    assert asked(box=[0, 0, 1, 1]).box == (0, 0, 1, 1)
    assert asked(box=[0.98, 0.1, 1, 0.12]).box == (0.98, 0.1, 1, 0.12)


@pytest.mark.parametrize("fields", [{"code": "0" * 16}, {"like": "data/abc.com/1_abc_com.jpg"}])
def test_a_code_or_a_path_has_no_box(fields):
    error = refused(sent({**fields, "box": [0, 0, 1, 1]}))
    assert (error.status, error.kind) == (400, "bad_box") and "with image only" in str(error)


def test_a_code_or_a_path_stands_instead_of_an_image():
    assert parse(sent({"code": "00ffA1b2c3d4e5f6"})) == Query(
        code=b"\0\xff\xa1\xb2\xc3\xd4\xe5\xf6"
    )
    path = "data/Größe/caf\udce9 \\ 1.jpg"
    assert parse(sent({"like": path})) == Query(like=path)


@pytest.mark.parametrize(
    "value",
    ["0" * 15, "0" * 17, "0" * 15 + "g", "00 " * 5 + "0", "0" * 15 + "\n", "０" * 16, 0, 10**16,
     ["0" * 16]],
)  # fmt: skip
def test_a_code_is_16_hex_digits(value):
    error = refused(sent({"code": value}))
    assert (error.status, error.kind) == (400, "bad_code") and "16 hex digits" in str(error)


@pytest.mark.parametrize("value", [5, ["a"], {}, True, "half a \ud83d character"])
def test_like_is_a_path(value):
    error = refused(sent({"like": value}))
    assert (error.status, error.kind) == (400, "bad_like") and "\ud83d" not in str(error)


def test_one_of_image_code_and_like():
    code, like = "0" * 16, "a/b.jpg"
    for fields, kind in [
        ({"image": IMAGE, "code": code}, "bad_code"),
        ({"image": IMAGE, "like": like}, "bad_like"),
        ({"code": code, "like": like}, "bad_like"),
        ({"image": IMAGE, "code": code, "like": like}, "bad_code"),
    ]:
        error = refused(sent(fields))
        assert (error.status, error.kind) == (400, kind)
        assert "give one of image, code and like" in str(error)


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


def test_an_empty_object_lacks_an_image():
    assert refused(sent({})).kind == "no_image"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "no_image"), ("", "not_base64"), ("not base64!", "not_base64"), (17, "not_base64"),
     ("é" * 8, "not_base64"), ("A", "not_base64"), (["aGk="], "not_base64")],
)  # fmt: skip
def test_the_image_is_base64(value, kind):
    error = refused(sent({"image": value}))
    assert (error.status, error.kind) == (400, kind)


@pytest.mark.parametrize("decode", [base64.b64decode, pybase64.b64decode])
def test_the_same_texts_are_base64_with_the_fast_library_and_without(decode, monkeypatch):
    monkeypatch.setattr(request, "b64decode", decode)
    assert parse(sent({"image": IMAGE})).image == b"the bytes of a file"
    assert parse(sent({"image": "0B/a="})).image == b"\xd0\x1f\xda"  # more padding than is due
    assert parse(sent({"image": "s_8="})).image == b"\xb3\xff"
    assert refused(sent({"image": "aG=k"})).kind == "not_base64"


def test_no_image_field_at_all():
    assert refused({"body": b'{"top_k": 3}'}).kind == "no_image"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


names = ["image", "top_k", "topk", "debug", "diversity", "x", "code", "like", "offset", "shops",
         "exclude_shops", "max_distance", "group_by", "index_database_version", "box"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(names), json_values))
def test_whatever_fields_come_the_outcome_is_a_query_or_a_refusal(fields):
    try:
        query = parse(sent(fields))
    except RequestError as error:
        assert error.status == 400 and error.kind.isidentifier()
    else:
        assert 1 <= query.top_k <= 1000
        assert [type(v) for v in (query.image, query.code, query.like) if v is not None] in (
            [bytes], [str]
        )  # fmt: skip


@given(st.binary())
def test_whatever_bytes_come_the_outcome_is_a_photo_or_a_refusal(body):
    try:
        query = parse({"body": body})
    except RequestError as error:
        assert error.status == 400
    else:
        assert query == Query(image=body)


@given(st.binary(min_size=1), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_the_images_bytes_come_back(data, encode):
    text = encode(data).decode()
    assert parse(sent({"image": text})).image == data
    wrapped = "\r\n".join(text[i : i + 7] for i in range(0, len(text), 7))
    assert parse(sent({"image": wrapped})).image == data
    assert parse(sent({"image": text.rstrip("=")})).image == data
