"""The ways to send a request: JSON, the photo itself, parts of a form, parameters, gzip."""

import base64
import gzip
import json
import subprocess
import sys

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers import HOW_TO_SEND, QUERY_HEADER, body
from handlers.body import RequestError
from handlers.request import RANGES, Query, parse
from hashing.picture import FORMATS
from searcher.opened import Selection
from tests.handlers.sending import sent
from tests.pictures import encoded
from tests.running import ROOT

pillow_heif.register_heif_opener()  # that it can be written
PHOTO = encoded(Image.new("RGB", (8, 8)))
FIELDS = {"image": base64.b64encode(PHOTO).decode(), "top_k": 3}
JSON = json.dumps(FIELDS).encode()
ZIPPED = {"Content-Encoding": "gzip"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def refused(row: dict, headers: dict | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(row, headers=headers)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        ({"body": JSON}, {}),
        ({"body": bytearray(JSON)}, {"content-type": "application/json"}),
        ({"data": JSON}, {"Content-Type": "multipart/form-data; boundary=b"}),
        ({"body": b"", "data": JSON}, {}),
        ({"body": "\ufeff".encode() + JSON}, {}),
        ({"body": JSON.decode().encode("utf-16")}, {}),  # as PowerShell writes a file
        ({"body": gzip.compress(JSON)}, ZIPPED),
        ({"body": gzip.compress(JSON)}, {"content-encoding": " X-GZIP "}),
        ({"body": JSON}, {"Content-Encoding": "identity"}),
        ({"body": PHOTO, "top_k": b"3"}, {"Content-Type": "image/jpeg"}),
        ({"body": bytearray(PHOTO), "topk": bytearray(b"3")}, {}),
        ({"body": PHOTO, "top_k": b"3"}, {"Content-Type": "application/json"}),
        ({"body": gzip.compress(PHOTO), "top_k": b"3"}, ZIPPED),
        ({"image": PHOTO, "top_k": b"3"}, {}),
        ({"image": PHOTO, "top_k": b"3", "body": b""}, {}),
        ({"data": PHOTO, "top_k": b"3"}, {}),
    ],
)
def test_every_way_gives_the_same_query(row, headers):
    assert parse(row, headers=headers) == Query(image=PHOTO, top_k=3)


@pytest.mark.parametrize("name", FORMATS)
def test_the_photo_itself_in_every_format(name):
    photo = encoded(Image.new("RGB", (8, 8)), name)
    assert parse({"body": photo}).image == photo


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_a_tiff_of_either_byte_order_and_a_big_one(start):
    assert parse({"body": start + bytes(20)}).image == start + bytes(20)


def test_texts_are_as_fields_of_json():
    texts = {
        "top_k": "5", "debug": "true", "offset": "2", "diversity": "2", "max_distance": "9",
        "shops": "a.com,Größe.de", "exclude_shops": "b.com", "group_by": "product",
        "box": "0.1,0.1, 0.7,1", "rank": "fine", "index_database_version": "1.0.0",
    }  # fmt: skip
    row = {"body": PHOTO} | {name: text.encode() for name, text in texts.items()}
    assert parse(row) == Query(
        image=PHOTO, top_k=5, debug=True, offset=2, diversity=2, box=(0.1, 0.1, 0.7, 1),
        rank="fine", version="1.0.0",
        selection=Selection(
            max_distance=9, shops=frozenset(["a.com", "Größe.de"]),
            exclude_shops=frozenset(["b.com"]), by_product=True,
        ),
    )  # fmt: skip
    assert parse({"code": b"00ff00ff00ff00ff"}) == Query(code=bytes([0, 255] * 4))
    assert parse({"like": "data/é/1.jpg".encode(), "body": b""}) == Query(like="data/é/1.jpg")


def test_a_list_may_be_json_as_well():
    row = {"body": PHOTO, "box": b"[0, 0, 1, 0.5]", "shops": b'["a,b", "c"]', "exclude_shops": b""}
    query = parse(row)
    assert query.box == (0, 0, 1, 0.5)
    assert query.selection == Selection(shops=frozenset(["a,b", "c"]))


def test_every_field_that_is_no_text_in_json_is_read_from_a_text():
    assert {*RANGES, "topk", "debug"} == body._LITERALS


TEXTS = [
    ("top_k", "0", 0), ("top_k", "1001", 1001), ("top_k", "ten", "ten"), ("top_k", "", ""),
    ("top_k", "10.0", 10.0), ("top_k", "+1", "+1"), ("top_k", "1_0", "1_0"), ("top_k", "１", "１"),
    ("topk", "null", None), ("offset", "-1", -1), ("diversity", "true", True),
    ("top_k", "9" * 5000, "9" * 5000), ("offset", "[" * 5000, "[" * 5000),
    ("debug", "1", 1), ("debug", "True", "True"), ("debug", "yes", "yes"), ("debug", "", ""),
    ("max_distance", "65", 65), ("shops", "", []), ("shops", "[1]", [1]),
    ("shops", ",".join("a" * 1001), ["a"] * 1001), ("group_by", "shop", "shop"),
    ("rank", "best", "best"), ("index_database_version", "1.0", "1.0"),
    ("box", "0,0,1", [0, 0, 1]), ("box", "0,0,1,2", [0, 0, 1, 2]), ("box", "0,0,0,0", [0] * 4),
    ("box", "0,0,NaN,1", [0, 0, float("nan"), 1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), TEXTS)
def test_a_text_gets_the_check_and_the_message_of_the_field(name, text, value):
    by_text = refused({"body": PHOTO, name: text.encode()})
    by_json = refused(sent({"image": FIELDS["image"], name: value}))
    assert (by_text.status, by_text.kind, str(by_text)) == (400, by_json.kind, str(by_json))


@given(st.sampled_from(sorted(RANGES)), st.text() | st.integers().map(str))
def test_whatever_text_a_number_has_the_outcome_is_a_query_or_a_refusal(name, text):
    try:
        query = parse({"body": PHOTO, name: text.encode("utf-8", "surrogatepass")})
    except RequestError as error:
        assert error.status == 400
    else:
        assert str(getattr(query, name, query.selection.max_distance)) == text.strip(" \t\r\n")


def test_the_parameters_of_an_address_are_fields():
    address = {"X-Efiss-Query": "top_k=3&debug=true&&like=a%2Fcaf%E9+1%2B.jpg&exclude_shops="}
    assert parse({"body": b""}, headers=address) == Query(
        like="a/caf\udce9 1+.jpg", top_k=3, debug=True
    )
    row = {"body": PHOTO, "debug": b"true"}
    assert parse(row, headers={QUERY_HEADER: "topk=3"}) == Query(PHOTO, top_k=3, debug=True)
    assert parse({"body": JSON}, headers={QUERY_HEADER: ""}).top_k == 3


def test_shops_may_be_given_several_times_and_nothing_else_may():
    address = {QUERY_HEADER: "shops=a,b&shops=c%2Cd&exclude_shops=e"}
    selection = parse({"body": PHOTO}, headers=address).selection
    assert selection == Selection(shops=frozenset("abcd"), exclude_shops=frozenset("e"))
    for row, query in [
        ({"body": PHOTO}, "top_k=1&top_k=1"), ({"image": PHOTO, "top_k": b"1"}, "top_k=2"),
        ({"body": PHOTO}, "a%0D%0A=1&a%0d%0A=2"),
    ]:  # fmt: skip
        error = refused(row, {QUERY_HEADER: query})
        assert (error.status, error.kind) == (400, "repeated_field")
        assert str(error).endswith("is given twice; give it once")


@given(st.text('abtopk=&%+[]{}",é0159'))
def test_whatever_the_address_has_the_outcome_is_a_query_or_a_refusal(query):
    try:
        assert parse({"body": PHOTO}, headers={QUERY_HEADER: query}).image == PHOTO
    except RequestError as error:
        assert error.status == 400


def test_bytes_that_are_no_text():
    assert refused({"body": PHOTO, "rank": b"\xff"}).kind == "bad_rank"
    assert refused({"body": PHOTO, "top_k": b"\xff"}).kind == "bad_top_k"
    assert refused({"body": PHOTO, "box": b"\xff"}).kind == "bad_box"


# -- what is refused -----------------------------------------------------------------------------

MP4 = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 20_000


@pytest.mark.parametrize(
    "sent_bytes", [b" ", b"photo.jpg", MP4, b"%PDF-1.7 ", b"<svg>", b"9" * 6000,
                   gzip.compress(JSON), b"top_k=3", JSON[1:]],
)  # fmt: skip
def test_what_is_neither_is_told_both_ways(sent_bytes):
    error = refused({"body": sent_bytes})
    assert (error.status, error.kind) == (400, "not_json")
    assert str(error).startswith("the body is neither a picture in JPEG, PNG, ")
    assert str(error).endswith(HOW_TO_SEND)


def test_both_ways_are_shown_as_commands():
    assert "curl -T photo.jpg 'http" in HOW_TO_SEND and "?top_k=10'" in HOW_TO_SEND
    assert "curl -T request.json http" in HOW_TO_SEND and "application/json" in HOW_TO_SEND


@pytest.mark.parametrize(
    "sent_bytes", [b"{", b"\xff\xfe{}", b'{"image": ' + b"[" * 5, b" [1,", b'{"a": 1} x']
)
def test_broken_json_is_told_what_is_wrong_with_it(sent_bytes):
    error = refused({"body": sent_bytes})
    assert (error.status, error.kind) == (400, "not_json")
    assert str(error).startswith("the body is not JSON: ") and len(str(error)) < 250


@pytest.mark.parametrize("sent_bytes", [b"[]", b'"text"', b"1", b"null", b"true", b"NaN"])
def test_json_that_is_no_object_is_refused(sent_bytes):
    assert refused({"body": sent_bytes}).kind == "not_an_object"


@pytest.mark.parametrize(
    "other", [[[]] * 2048, [[[[[[[[]]]]]]]], dict.fromkeys(map(str, range(4097)))]
)
def test_json_of_more_values_than_any_field_has_is_refused(other):
    error = refused({"body": json.dumps(FIELDS | {"other": other}).encode()})
    assert (error.status, error.kind) == (400, "too_complex")


def test_json_with_too_much_beside_the_image_is_413():
    error = refused({"body": b'{"image": "aGk=", "x": "' + b"a" * 2**20 + b'"}'})
    assert (error.status, error.kind) == (413, "too_long")


@pytest.mark.parametrize("row", [{}, {"body": None}, {"body": b""}, {"data": bytearray()}])
def test_a_request_without_anything_says_what_to_send(row):
    error = refused(row)
    assert error.kind == "no_body" and str(error).endswith(HOW_TO_SEND)


@pytest.mark.parametrize("row", [{"a": b"b"}, {"body": JSON}, {'{"image": "aGk': b'"}'}])
def test_a_url_encoded_form_is_told_both_ways(row):
    charset = {"content-TYPE": "Application/X-WWW-Form-Urlencoded; charset=utf-8"}
    for headers in (FORM, charset):
        error = refused(row, headers)
        assert (error.status, error.kind) == (400, "form") and str(error).endswith(HOW_TO_SEND)


def test_an_unknown_part_or_parameter_is_named():
    for row in ({"file": PHOTO}, {"body": PHOTO, "file": b""}):
        error = refused(row)
        assert error.kind == "unknown_field" and '"file"' in str(error) and "image" in str(error)


def test_what_stands_beside_json_is_refused_as_it_would_go_unnoticed():
    for error in (
        refused({"body": JSON, "top_k": b"5"}),
        refused({"body": JSON}, {QUERY_HEADER: "top_k=5"}),
    ):
        assert error.kind == "unknown_field" and '"top_k"' in str(error)
        assert "into the JSON object" in str(error)


def test_two_photos_are_refused():
    assert refused({"body": PHOTO, "image": PHOTO}).kind == "bad_image"


def test_a_photo_and_a_code_are_refused_as_in_json():
    assert refused({"body": PHOTO, "code": b"0" * 16}).kind == "bad_code"


def test_texts_without_a_photo_lack_an_image():
    assert refused({"top_k": b"3"}).kind == "no_image"


# -- gzip ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent_bytes",
    [JSON, gzip.compress(JSON)[:-1], gzip.compress(JSON) + b"x", gzip.compress(JSON) * 2, b"\x1f",
     gzip.compress(JSON)[:-8] + bytes(8)],
)  # fmt: skip
def test_what_is_no_whole_gzip_is_refused(sent_bytes):
    error = refused({"body": sent_bytes}, ZIPPED)
    assert (error.status, error.kind) == (400, "bad_content_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "é\n"])
def test_another_encoding_is_refused(encoding):
    error = refused({"body": JSON}, {"Content-Encoding": encoding})
    assert (error.status, error.kind) == (415, "bad_content_encoding")


def test_a_form_is_not_unpacked():
    assert refused({"data": gzip.compress(JSON)}, ZIPPED).status == 415


def test_an_empty_body_is_no_gzip():
    assert refused({"body": b""}, ZIPPED).kind == "no_body"


def test_how_large_a_body_may_be_when_it_is_unpacked():
    fits = JSON + b" " * (2**20 - 1000)
    assert parse({"body": gzip.compress(fits)}, headers=ZIPPED).top_k == 3
    photo = PHOTO + bytes(2**25 - len(PHOTO))
    assert parse({"body": gzip.compress(photo)}, headers=ZIPPED).image == photo
    error = refused({"body": gzip.compress(photo + b"x")}, ZIPPED)
    assert (error.status, error.kind) == (413, "too_long") and "32 MB" in str(error)


# -- what it costs -------------------------------------------------------------------------------

MEASURED = """
import gzip, io, resource, sys, time
from handlers.body import RequestError
from handlers.request import parse
size = 33_000_000
def bomb():
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
        for _ in range(400):
            packed.write(bytes(2**20))
    return file.getvalue()
makers = [
    lambda: ({"body": bytearray(bomb())}, {"Content-Encoding": "gzip"}),
    lambda: ({"body": bytearray(b'\\0[' * (size // 2))}, {}),
    lambda: ({"body": bytearray(b'\\0\\0\\0\\x18ftypheic' + b'\\0[' * (size // 2))}, {}),
    lambda: ({"top_k": b"[" + b"1," * (size // 2) + b"1]"}, {}),
    lambda: ({"shops": b"," * size}, {}),
    lambda: ({"shops": b"," * 2**20}, {}),
    lambda: ({"box": b"[" * 2**20}, {}),
    lambda: ({"body": b"\\xff\\xd8" + bytes(size), "top_k": b"9" * 2**20}, {}),
]
images = [b"A", b"A\\\\n", b" ", b"=", "é".encode(), b"\\\\/", b"\\\\u0041", b'\\\\"']
bodies = [
    *(lambda text=text: b'{"image": "' + text * (size // len(text)) + b'"}' for text in images),
    lambda: b'[' + b'{},' * (size // 3) + b'{}]',
    lambda: b'{"image": "aGk=", "x": [' + b'{"a":1},' * (size // 8) + b'0]}',
    lambda: b'{' + b'"image":"",' * (size // 11) + b'"x":0}',
    lambda: b'{' + b'"image" ' * (size // 8) + b'}',
    lambda: b'"image"' + b' ' * size,
    lambda: b'[' * size,
    lambda: b'{"a":' * (size // 5),
    lambda: b'"' * size,
    lambda: b'9' * size,
    lambda: b'{' + b'"' * 2**19 + b'}' + b',' * 2**18,
    lambda: b'{"a":"' + b'\\\\"' * 2**18 + b',' * 2**18,
    lambda: b'[' + b'[],' * (2**20 // 3 - 2) + b'0]',
    lambda: b'[' + b'{"a":0},' * (2**20 // 8 - 2) + b'0]',
    lambda: b'{' + b','.join(b'"%x":0' % i for i in range(2**20 // 10)) + b'}',
]
makers += [lambda make=make: ({"body": bytearray(make())}, {}) for make in bodies]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
worst = 0.0
for make in makers:
    row, headers = make()
    start = time.process_time()
    try:
        query = parse(row, headers=headers)
    except RequestError:
        pass
    query = None
    worst = max(worst, time.process_time() - start)
print(worst, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_32_mb_of_anything_cost_tenths_of_a_second_and_some_copies_of_the_body():
    """Slow, since it makes and reads 700 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 0.7 and megabytes < 400  # the body's own 33 MB among them
