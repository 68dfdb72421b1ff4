"""JSON as json.loads reads it, at a cost that is known before."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine import bounded_json
from machine.bounded_json import MOST_BYTES, MOST_VALUES, JsonError, Literal, read

LONG = 2 * MOST_BYTES


def meant(value):
    """A value with its literals as the texts that they mean."""
    if isinstance(value, dict):
        return {name: meant(inner) for name, inner in value.items()}
    return value.text() if isinstance(value, Literal) else value


def refused(body: bytes, apart: str | None = None) -> JsonError:
    with pytest.raises(JsonError) as caught:
        meant(read(body, apart))
    assert "\n" not in str(caught.value)
    return caught.value


texts = st.text() | st.sampled_from(['"', "\\", '\\"', 'image": "', '"image": "x"', "a" * 100])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts | st.just("image"), inner),
    max_leaves=8,
)


@given(values, st.booleans(), st.sampled_from([None, 1]), st.sampled_from(["utf-8", "utf-8-sig"]))
def test_what_is_written_is_read_back(value, ascii_alone, indent, encoding):
    text = json.dumps(value, ensure_ascii=ascii_alone, indent=indent)
    body = text.encode(encoding, "surrogatepass")
    assert meant(read(body, apart="image")) == read(body) == value


@given(
    st.lists(
        st.sampled_from(
            ['"image"', ":", ",", "{", "}", "[", "]", '"', "\\", " ", "\n", "1", '"a"', "aGk=", "é"]
        )
    ).map("".join)
)
def test_what_json_does_not_read_is_refused_and_what_it_reads_is_the_same(text):
    try:
        wanted = json.loads(text)
    except ValueError:
        assert refused(text.encode(), apart="image").kind == "not_json"
    else:
        assert meant(read(text.encode(), apart="image")) == wanted


def test_the_long_text_is_not_copied():
    body = bytearray(b'{"a": 1, "image" :\n"' + b"A" * LONG + b'", "b": 2}')
    value = read(body, apart="image")
    assert (value["a"], value["b"]) == (1, 2)
    assert value["image"].raw.obj is body and value["image"].raw == b"A" * LONG


def test_escapes_of_the_long_text_are_read_when_it_is_asked_what_it_means():
    image = read(rb'{"image": "\/\u0041\n\\x"}', apart="image")["image"]
    assert image.raw == rb"\/\u0041\n\\x" and image.text() == "/A\n\\x"


@pytest.mark.parametrize("text", [b"a\nb", b"\xff", b"\xc3", rb"\x", rb"\u12", b"\0"])
def test_a_long_text_that_is_none_is_refused_when_it_is_asked_what_it_means(text):
    assert refused(b'{"image": "' + text + b'"}', apart="image").kind == "not_json"


@pytest.mark.parametrize(
    ("body", "image"),
    [
        (b'{"image": "first", "image": "last"}', "last"),
        (b'{"image": "first", "image": 3}', 3),
        (b'{"image": 3, "image": "last"}', "last"),
        (rb'{"im\u0061ge": "escaped"}', "escaped"),
        (rb'{"x": "\"image\": \"", "image": "last"}', "last"),
        (rb'{"x\"image": "no", "image": "last"}', "last"),
        (rb'{"image": "ends in \\"}', "ends in \\"),
        (b'{"x": {"image": "inner"}, "image": "outer"}', "outer"),
    ],
)
def test_which_text_is_the_fields(body, image):
    assert meant(read(body, apart="image"))["image"] == image


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_every_encoding_that_json_detects(encoding):
    body = '{"image": "aGk=", "shops": ["Größe"]}'.encode(encoding)
    assert meant(read(body, apart="image")) == {"image": "aGk=", "shops": ["Größe"]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": "' + b"a" * LONG + b'"}',
        b'{"image": ["' + b"a" * LONG + b'"]}',
        b'{"x": {"image": "b"}, "image": "' + b"a" * LONG + b'"}',
        b'{"image": "a", "image": "' + b"a" * LONG + b'"}',
        b'{"image": "' + b'\\"' * LONG + b'"}',
        b'{"image": "' + b"a" * LONG,
        b" " * LONG + b"{}",
        b"[" * LONG,
        b'{"image": "a"' + b" " * LONG + b"}",
        "{}".encode("utf-16") * LONG,
    ],
)
def test_what_is_long_beside_the_long_text_is_refused_before_it_is_parsed(body):
    error = refused(body, apart="image")
    assert error.kind == "too_long" and "beside the text of image" in str(error)


def test_how_much_there_may_be():
    text = b'{"image": "", "shops": []}'
    spaces = b" " * (MOST_BYTES - len(text))
    longest = text.replace(b'""', b'"%b"' % (b"a" * LONG)) + spaces
    assert meant(read(longest, apart="image"))["image"] == "a" * LONG
    assert refused(longest + b" ", apart="image").kind == "too_long"
    error = refused(b"[%b]" % spaces + b" " * 2000)
    assert str(error).startswith("the JSON may have 1024 KB, not 1026; ")


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b"\xff\xfe{}", b"9" * 6000])
def test_what_is_no_json_is_said_so(body):
    assert refused(body).kind == "not_json"


def test_a_mistake_behind_the_long_text_has_no_place_that_misleads():
    assert str(refused(b'{"image": "aGk=", x}', apart="image")).endswith(", further on")
    assert "(char 1)" in str(refused(b'{x, "image": "aGk="}', apart="image"))


@given(values)
def test_how_deep_and_how_many_the_values_are_is_counted_outside_texts(value):
    """A text full of marks, so that all are counted exactly."""
    text = json.dumps([value, '[{,\\"' * 2000])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bounded_json, "DEEPEST", 1 + depth(value))
        patched.setattr(bounded_json, "MOST_VALUES", len(text))
        assert read(text.encode()) == json.loads(text)


def depth(value) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@pytest.mark.parametrize(
    "inner", [b"[" * 7 + b"]" * 7, b'{"a":' * 7 + b"0" + b"}" * 7, b"[" * 7 + b'"]]"' + b"]" * 7]
)
def test_how_deep_it_may_be(inner):
    assert read(b'{"a": %b}' % inner, apart="image") == json.loads(b'{"a": %b}' % inner)
    for body in (b'{"a": [%b]}' % inner, b'{"image": "aGk=", "a": [%b]}' % inner):
        error = refused(body, apart="image")
        assert (error.kind, str(error)) == ("too_complex", "the JSON is nested over 8 levels deep")


@pytest.mark.parametrize(("value", "marks"), [(b"0", 1), (b"[]", 2), (b"{}", 2)])
def test_how_many_values_there_may_be(value, marks):
    most = MOST_VALUES // marks
    assert len(read(b"[%b]" % b",".join([value] * (most - 1)))) == most - 1
    error = refused(b'{"image": "", "a": [%b]}' % b",".join([value] * (most + 1)), apart="image")
    assert (error.kind, str(error)) == ("too_complex", "the JSON has more than 4096 values")
    keys = b",".join(b'"%d":0' % number for number in range(MOST_VALUES + 1))
    assert refused(b"{%b}" % keys).kind == "too_complex"


def test_a_photo_costs_less_than_to_parse_it():
    body = b'{"top_k": 10, "image": "' + b"aGk=" * 60_000 + b'", "debug": true}'

    def fastest(work) -> float:
        times = []
        for _ in range(50):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    assert fastest(lambda: read(body, apart="image")) < fastest(lambda: json.loads(body)) / 2


def test_the_bound_is_of_the_longest_request():
    names = [f"{i:0255d}" for i in range(1000)]
    body = json.dumps({"shops": names, "exclude_shops": names}).encode()
    assert MOST_BYTES / 3 < len(body) < MOST_BYTES and read(body)["shops"] == names
