"""JSON that a stranger sent: what it costs is bounded before it is parsed.

Parsed JSON takes up to fifty times its bytes, so 32 MB of objects would take 2 GB and seconds.
"""

import dataclasses
import json
import re
import secrets
from typing import Any

from machine.errors import Problem

MOST_BYTES = 2**20
"""Of the whole text, but for the text of one field.  The longest of what is asked, two lists of
1000 names of folders, has half of it."""
MOST_VALUES = 4096
"""Of all objects and lists together.  The same request has 2000."""
DEEPEST = 8
"""Objects and lists within one another; what is asked has 2."""

# Also one that does not end, so that no second attempt begins within it.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class JsonError(Problem):
    """The text is not parsed.  `kind` is for programs: `not_json`, `too_long` or `too_complex`."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Literal:
    """A text as it stands in JSON, in place: neither copied nor parsed."""

    raw: memoryview
    """uint8 [bytes], what stands between the quotes, with its escapes."""

    def text(self) -> str:
        """What it means.  Raises JsonError."""
        return _parsed(b'"' + self.raw + b'"')


def read(body: bytes | bytearray, apart: str | None = None) -> Any:
    """The value of a JSON text of at most MOST_BYTES, MOST_VALUES and DEEPEST.  Raises JsonError.

    apart: name of a field of the outermost object, letters alone; its text, where it is the only
    such field, does not count to these and comes as a `Literal`.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        body = _decoded(body, encoding).encode("utf-8", "surrogatepass")
    if apart and (place := _place(body, apart)):
        start, end = place
        _refuse_long(len(body) - (end - start), apart)
        # No caller can guess what stands for the text that is cut out.
        token = secrets.token_hex(16)
        rest = body[:start] + token.encode() + body[end:]
        _refuse_complex(rest)
        value = _parsed(rest, start)
        if isinstance(value, dict) and value.get(apart) == token:
            return value | {apart: Literal(memoryview(body)[start:end])}
        # Of an inner object, or a later field of the same name counts.
    _refuse_long(len(body), apart)
    _refuse_complex(body)
    return _parsed(body)


def refuse_long(body: bytes | bytearray, apart: str) -> None:
    """Raises JsonError where `read` would of the length alone, were the text in UTF-8."""
    if len(body) > MOST_BYTES:
        start, end = _place(body, apart) or (0, 0)
        _refuse_long(len(body) - (end - start), apart)


def _place(body: bytes | bytearray, name: str) -> tuple[int, int] | None:
    """Where the text of the field `name` begins and ends, without its quotes; None where none is
    found that begins within MOST_BYTES.

    Within a string there is no quote without a backslash before it, so what is found in valid JSON
    is a field; and no invalid JSON becomes valid without the text, since it has no quote.
    """
    pattern = re.compile(rb'(?<!\\)"%b"[ \t\r\n]*:[ \t\r\n]*"' % name.encode())
    field = pattern.search(body, 0, MOST_BYTES)
    if field is None:
        return None
    end = body.find(b'"', field.end())
    is_whole = end >= 0 and not body.endswith(b"\\", field.end(), end)
    return (field.end(), end) if is_whole else None


def _refuse_long(size: int, apart: str | None) -> None:
    if size > MOST_BYTES:
        beside = f" beside the text of {apart}" if apart else ""
        raise JsonError(
            "too_long",
            f"the JSON may have {MOST_BYTES // 1024} KB{beside}, not {size / 1024:.0f}; leave out "
            "what is no field of the request",
        )


def _refuse_complex(body: bytes | bytearray) -> None:
    if body.count(b"[") + body.count(b"{") <= DEEPEST and body.count(b",") < MOST_VALUES - DEEPEST:
        return  # even if none of them stands in a text
    marks = _TEXT.sub(b"", body)
    opened = marks.count(b"[") + marks.count(b"{")
    if opened + marks.count(b",") > MOST_VALUES:
        raise JsonError("too_complex", f"the JSON has more than {MOST_VALUES} values")
    depth = 0
    for mark in marks.translate(None, _NO_BRACKETS):
        depth += 1 if mark in b"[{" else -1
        if depth > DEEPEST:
            raise JsonError("too_complex", f"the JSON is nested over {DEEPEST} levels deep")
        if depth < 0:
            return  # it is no JSON


def _decoded(body: bytes | bytearray, encoding: str) -> str:
    try:
        return body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise _not_json(str(error)) from None


def _parsed(body: bytes | bytearray, cut: int | None = None) -> Any:
    """cut: where a text was cut out, so that places behind it are not those of the caller."""
    try:
        return json.loads(body)
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        is_in_place = cut is None or error.pos <= cut
        raise _not_json(str(error) if is_in_place else f"{error.msg}, further on") from None
    except ValueError as error:  # UnicodeDecodeError, absurdly long numbers
        raise _not_json(str(error)) from None


def _not_json(reason: str) -> JsonError:
    return JsonError("not_json", f"the body is not JSON: {reason.splitlines()[0][:200]}")
