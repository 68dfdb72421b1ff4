"""Bodies that a stranger may send: JSON, forms, and what is neither.  A kind is a function that
draws one for a path."""

import dataclasses
import functools
import gzip
import json
import zlib
from random import Random

from soak_pictures import changed

LARGEST = 33_500_000
"""Bytes of a body: a little less than config.properties allows."""
SIZES, WEIGHTS = (10_000, 1_000_000, 16_000_000, LARGEST), (10, 4, 1, 1)
Step = bytes | float


@dataclasses.dataclass(frozen=True)
class Sent:
    """How something is sent."""

    steps: tuple[Step, ...]
    """Bytes; a number is so many seconds in which nothing is sent."""
    end: str = "answer"
    """What comes after that: `answer` waits for the answers, `half_close` closes the sending side
    first, `hold` waits for nothing in particular, `cut` breaks off."""
    answers: int = 1
    connections: int = 1
    """At a time, all alike."""


def post(body: bytes, path: str, content_type: str = "application/json", more: str = "") -> Sent:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: {content_type}\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Sent((head.encode("latin-1") + body,))


def _size(random: Random) -> int:
    return random.choices(SIZES, WEIGHTS)[0]


# -- JSON ----------------------------------------------------------------------------------------


def changed_json(random: Random, path: str) -> Sent:
    """A request that was right, with bytes changed."""
    body = {"code": "0123456789abcdef", "top_k": 10, "shops": ["a.com"], "box": [0, 0, 1, 1]}
    return post(changed(random, json.dumps(body).encode()), path)


def odd_values(random: Random, path: str) -> Sent:
    """Any value in any field."""
    values = (
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "\x00",
        "\ud800",
        "a" * 100_000,
        [],
        [[]],
        {},
        {"a": 1},
        [None] * 2000,
        ["a"] * 2000,
    )
    names = (
        "image",
        "code",
        "like",
        "top_k",
        "topk",
        "debug",
        "diversity",
        "offset",
        "shops",
        "exclude_shops",
        "group_by",
        "rank",
        "index_database_version",
        "box",
        "other",
    )
    some = {name: random.choice(values) for name in random.sample(names, random.randint(1, 5))}
    return post(json.dumps({"code": "0" * 16, **some}).encode(), path)


def deep_json(random: Random, path: str) -> Sent:
    """Brackets within brackets."""
    opening = random.choice((b"[", b'{"a":', b'{"box":['))
    return post(b'{"shops":' + opening * (_size(random) // len(opening)), path)


def wide_json(random: Random, path: str) -> Sent:
    """A list or an object of very many things."""
    thing = random.choice((b"{},", b"[],", b"0,", b'"a",', b'{"a":{}},', b"1.5e3,", b'"\\ud800",'))
    many = thing * (_size(random) // len(thing) - 10)
    return post(random.choice((b"[%s0]", b'{"shops":[%s0]}', b'{"code":[%s0]}')) % many, path)


def many_keys(random: Random, path: str) -> Sent:
    """An object of a thousand to half a million keys."""
    return post(_keys(random.choice((1000, 100_000, 500_000))), path)


@functools.cache
def _keys(count: int) -> bytes:
    return json.dumps({f"key{i}": i for i in range(count)}).encode()


def huge_numbers(random: Random, path: str) -> Sent:
    """Numbers of a million digits, and some that are none."""
    digits = b"9" * random.choice((4000, 5000, 1_000_000, LARGEST - 100))
    number = random.choice(
        (digits, b"-" + digits, b"1e999999", b"NaN", b"-Infinity", b"0." + digits)
    )
    return post(b'{"code": "0123456789abcdef", "top_k": %s}' % number, path)


def odd_letters(random: Random, path: str) -> Sent:
    """Bytes that are no UTF-8, and other encodings."""
    text = '{"code": "0123456789abcdef", "like": "ä\x7f"}'
    body = random.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-32"),
            b"\xef\xbb\xbf" + text.encode(),
            text.encode("latin-1"),
            b'{"like": "\xc0\xaf\xff"}',
            b"\0" * 1000,
        )
    )
    kind = random.choice(
        ("application/json", "application/json; charset=utf-7", "text/plain", "a/b")
    )
    return post(body, path, kind)


def long_text(random: Random, path: str) -> Sent:
    """A field that holds megabytes, of letters or of escapes."""
    letters = random.choice((b"a", b"\\u00e4", b"\\\\", b"=", b" "))
    field = random.choice((b"like", b"image", b"code", b"index_database_version", b"x" * 1000))
    return post(b'{"%s": "%s"}' % (field, letters * (_size(random) // len(letters) - 600)), path)


# -- forms ---------------------------------------------------------------------------------------

_URLENCODED = "application/x-www-form-urlencoded"
_BOUNDARY = b"xxSOAKxx"


def urlencoded_form(random: Random, path: str) -> Sent:
    """Very many fields, or a stray %."""
    field = random.choice((b"a&", b"a=b&", b"data=%7B%7D&", b"%", b"%zz=%&", b"=&"))
    return post(field * (_size(random) // 2 // len(field)), path, _URLENCODED)


def form_of_many_parts(random: Random, path: str) -> Sent:
    """Hundreds to a hundred thousand parts."""
    one = part(random.choice((b"data", b"a", b"")), b"{}")
    return multipart([one * random.choice((33, 1000, 10_000, 100_000))], path)


def form_of_long_headers(random: Random, path: str) -> Sent:
    """A part whose header is long, or that has very many."""
    short, long = b"X-A: b\r\n", b"X-A: " + b"b" * 60_000 + b"\r\n"
    headers = random.choice((short * 20, short * 10_000, long, long * 20, b"X" * 8_000_000))
    return multipart([part(b"data", b"{}", headers)], path)


def odd_form(random: Random, path: str) -> Sent:
    """A form without an end, without a boundary, or with the part in question twice."""
    data = part(b"data", b'{"code": "0123456789abcdef"}')
    headers = (
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=y\r\n",
        b"Content-Type: text/plain; charset=nonsense\r\n",
    )
    body = random.choice(
        (
            data,
            data * 2,
            b"\r\n" * 100_000 + data,
            changed(random, data),
            part(b'da"ta', b"{}"),
            *(part(b"data", b"{}", line) for line in headers),
        )
    )
    end = random.choice((b"--xxSOAKxx--\r\n", b"", b"--xxSOAKxx"))
    boundary = random.choice(
        (
            "; boundary=xxSOAKxx",
            "",
            "; boundary=",
            '; boundary="xxSOAKxx',
            "; boundary=" + "x" * 5000,
        )
    )
    return post(body + end, path, "multipart/form-data" + boundary)


def multipart(parts: list[bytes], path: str) -> Sent:
    body = b"".join(parts) + b"--" + _BOUNDARY + b"--\r\n"
    return post(body, path, "multipart/form-data; boundary=xxSOAKxx")


def part(name: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"--"
        + _BOUNDARY
        + b'\r\nContent-Disposition: form-data; name="'
        + name
        + b'"; filename="blob"\r\n'
        + headers
        + b"\r\n"
        + body
        + b"\r\n"
    )


# -- bodies that are something else --------------------------------------------------------------


def raw_body(random: Random, path: str) -> Sent:
    """Bytes of any length."""
    kind = random.choice(("application/octet-stream", "image/png", "text/html", "a" * 5000, ""))
    return post(random.randbytes(random.choices(SIZES, WEIGHTS)[0]), path, kind)


def bomb(random: Random, path: str) -> Sent:
    """A gigabyte of spaces that is a megabyte when it is sent."""
    coding = random.choice(("gzip", "deflate", "gzip, gzip", "br", "identity", "zstd"))
    body = _bomb(random.choice((1, 100, 1000)), "deflate" in coding)
    body = gzip.compress(body, mtime=0) if coding == "gzip, gzip" else body
    return post(body, path, more=f"Content-Encoding: {coding}\r\n")


@functools.cache
def _bomb(megabytes: int, is_zlib: bool) -> bytes:
    if is_zlib:
        return zlib.compress(b" " * 2**20 * min(megabytes, 100))
    return gzip.compress(b" " * 2**20, mtime=0) * megabytes  # members, which follow each other


JSON = (
    changed_json,
    odd_values,
    deep_json,
    wide_json,
    many_keys,
    huge_numbers,
    odd_letters,
    long_text,
)
FORMS = (urlencoded_form, form_of_many_parts, form_of_long_headers, odd_form)
BODIES = (raw_body, bomb)
