"""What a request brings, as TorchServe hands it over -> the fields that it asks with.

Knows the ways to send them (docs/queries.md), not what they mean.
"""

import json
import urllib.parse
import zlib
from collections.abc import Mapping
from typing import Any

from handlers import HOW_TO_SEND, QUERY_HEADER
from hashing.formats import FORMATS, format_of
from machine import bounded_json
from machine.bounded_json import JsonError
from machine.errors import Problem

MOST_UNPACKED = 2**25
"""Bytes of a body that came compressed; as many as one may have that did not."""

_LITERALS = {"top_k", "topk", "offset", "diversity", "max_distance", "debug"}
_SHOPS = {"shops", "exclude_shops"}
_LISTS = {"box", *_SHOPS}
_FORM = "application/x-www-form-urlencoded"


class RequestError(Problem):
    """The request cannot be answered.  `status` is the HTTP status, `kind` a fixed word for
    programs, the message a sentence for the caller."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status = status
        self.kind = kind


def fields_of(row: Mapping[str, Any], headers: Mapping[str, Any]) -> dict:
    """The fields with their values as in JSON, but for `image`: `bytes` of a photo that was sent
    itself, a `bounded_json.Literal` or a str of base64 else.  Raises RequestError.

    row: name -> bytearray, of the parts of a form, and `body`, the body of what is no form.
    headers: of the request.
    """
    if header_of(headers, "content-type").partition(";")[0].strip().lower() == _FORM:
        raise RequestError(
            400,
            "form",
            "the body came as a url-encoded form (curl -d and --data-binary say so where no "
            f"Content-Type is given); {HOW_TO_SEND}",
        )
    name = "body" if row.get("body") else "data"
    body = _unpacked(name, row.get(name) or b"", header_of(headers, "content-encoding"))
    beside = _parameters(header_of(headers, QUERY_HEADER))
    for part, value in row.items():
        if part not in (name, "body"):
            _add(beside, part, bytes(value))
    if not body and not beside:
        raise RequestError(400, "no_body", f"the request has no body; {HOW_TO_SEND}")
    if not body:
        return _from_texts(beside)
    if format_of(body) is None:
        return _from_json(body, beside)
    if "image" in beside:
        raise RequestError(400, "bad_image", "the body is a photo already; leave image out")
    return _from_texts(beside) | {"image": bytes(body)}


def _parameters(query: str) -> dict[str, bytes]:
    """What stands behind the ? of an address, by name."""
    found: dict[str, bytes] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.replace("+", " ").partition("=")
            _add(found, urllib.parse.unquote(name), urllib.parse.unquote_to_bytes(value))
    return found


def _add(texts: dict[str, bytes], name: str, value: bytes) -> None:
    if name not in texts:
        texts[name] = value
    elif name in _SHOPS:
        texts[name] += b"," + value
    else:
        raise RequestError(400, "repeated_field", f"{shown(name)} is given twice; give it once")


def header_of(headers: Mapping[str, Any], name: str) -> str:
    """The value of a request's header, "" where there is none.  name: in small letters."""
    # TorchServe hands headers over as the caller spelled them.
    return next((value for sent, value in headers.items() if sent.lower() == name), "")


def _unpacked(name: str, body: bytes | bytearray, encoding: str) -> bytes | bytearray:
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip") or name != "body":
        raise RequestError(
            415,
            "bad_content_encoding",
            "Content-Encoding may be gzip, of a body that is a photo or JSON and no form; send "
            "this one without it",
        )
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(body, MOST_UNPACKED + 1)
    except zlib.error:
        raise _no_gzip() from None
    if len(unpacked) > MOST_UNPACKED:
        raise RequestError(
            413, "too_long", f"the body may have {MOST_UNPACKED // 2**20} MB when it is unpacked"
        )
    if not unpacker.eof or unpacker.unused_data:
        raise _no_gzip()
    return unpacked


def _no_gzip() -> RequestError:
    return RequestError(
        400,
        "bad_content_encoding",
        "Content-Encoding says gzip, but the body is no whole gzip file",
    )


def _from_json(body: bytes | bytearray, beside: Mapping[str, bytes]) -> dict:
    try:
        fields = bounded_json.read(body, apart="image")
    except JsonError as error:
        raise _not_json(body, error) from None
    if not isinstance(fields, dict):
        raise RequestError(
            400,
            "not_an_object",
            'the request must be a JSON object: {"image": "<base64>", "top_k": 10}',
        )
    if beside:
        raise RequestError(
            400,
            "unknown_field",
            f"beside JSON there is {shown(min(beside))}, in the address or in another part of the "
            f"form; put it into the JSON object, or {HOW_TO_SEND}",
        )
    return fields


def _not_json(body: bytes | bytearray, error: JsonError) -> RequestError:
    begins = bytes(body[:64]).strip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
    if begins.startswith((b"{", b"[")):
        status = 413 if error.kind == "too_long" else 400
        return RequestError(status, error.kind, str(error))
    return RequestError(
        400,
        "not_json",
        f"the body is neither a picture in {', '.join(FORMATS[:-1])} or {FORMATS[-1]} format nor "
        f"JSON; {HOW_TO_SEND}",
    )


def _from_texts(texts: Mapping[str, bytes]) -> dict:
    size = sum(len(value) for name, value in texts.items() if name != "image")
    if size > bounded_json.MOST_BYTES:
        raise RequestError(
            413,
            "too_long",
            f"the parts of the form may have {bounded_json.MOST_BYTES // 1024} KB beside image",
        )
    return {name: _meant(name, value) for name, value in texts.items()}


def _meant(name: str, value: bytes) -> Any:
    """The value that a field has in JSON where its text is this."""
    if name == "image":
        return value
    text = value.decode("utf-8", "surrogateescape")
    if name in _LITERALS or (name in _LISTS and text.startswith("[")):
        return _literal(text)
    if name == "box":
        return _literal(f"[{text}]")
    if name in _SHOPS:
        return text.split(",") if text else []
    return text


def _literal(text: str) -> Any:
    """What is no JSON stays a text, so that the field's own check says what it may be."""
    try:
        return bounded_json.read(text.encode())
    except (JsonError, UnicodeEncodeError):
        return text


def shown(value: Any) -> str:
    """A caller's value as it can stand in a message: JSON, ASCII, short."""
    text = json.dumps(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
