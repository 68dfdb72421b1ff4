"""A form in parts, looked at before TorchServe parses it."""

import re

from serving.message import Answer, Request, refusal

MOST_PARTS = 32
LONGEST_PART_HEADERS = 4096
"""Bytes of the headers of a part."""

_TYPE = b"multipart/form-data"
_BOUNDARY = re.compile(
    rb";\s*boundary=\"?([0-9A-Za-z'()+_,./:=?-]{1,70})\"?\s*(;|$)", re.IGNORECASE
)
_VALUE = rb"(?:\"(?:[^\"\\\r\n]|\\.)*\"|[^\";\s]*)"
_DISPOSITION = re.compile(
    rb"^content-disposition:[ \t]*form-data((?:[ \t]*;[ \t]*[\w*-]+=" + _VALUE + rb")*)[ \t;]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = re.compile(rb";[ \t]*name=(" + _VALUE + rb")", re.IGNORECASE)
# TorchServe answers 500 to every other one, and to a stray % in the name of a file.
_ENCODED = re.compile(
    rb"^content-transfer-encoding:[ \t]*(?!(7bit|8bit|binary)\s)"
    rb"|charset=\"?(?!(utf-?8|us-ascii|iso-8859-1)[\"\s;])"
    rb"|;[ \t]*[\w-]+\*=(?!(utf-8|iso-8859-1)'[\w-]*'([^\s%\";]|%[0-9a-f]{2})*[ \t]*(;|\r?$))",
    re.IGNORECASE | re.MULTILINE,
)
_END_OF_HEADERS = re.compile(rb"\n\r?\n")


def is_form(request: Request) -> bool:
    """Whether its body is said to be a form in parts."""
    return (request.header(b"content-type") or b"").strip().lower().startswith(_TYPE)


def refused_form(request: Request) -> Answer | None:
    """Why a request whose body has come is refused, where that is a form in parts; else None.

    The Content-Type of one that passes is written anew, so that TorchServe finds the same boundary.
    """
    if not is_form(request):
        return None
    found = _BOUNDARY.search(request.header(b"content-type") or b"")
    if found is None:
        return _bad_form("names no boundary; let an HTTP library write the Content-Type")
    request.headers = [pair for pair in request.headers if pair[0].lower() != b"content-type"] + [
        (b"content-type", _TYPE + b'; boundary="' + found[1] + b'"')
    ]
    parts = _parts(request.body, b"--" + found[1])
    if len(parts) > MOST_PARTS:
        return _bad_form(f"has more than {MOST_PARTS} parts")
    names: set[bytes] = set()
    for start in parts:
        headers = request.body[start : start + LONGEST_PART_HEADERS]
        end = _END_OF_HEADERS.search(headers)
        if end is None:
            return _bad_form(
                f"has a part whose headers do not end within {LONGEST_PART_HEADERS} bytes"
            )
        if b"multipart/" in headers[: end.start()].lower():
            return _bad_form("has a part that is a form itself")
        if _ENCODED.search(headers, 0, end.end()):
            return _bad_form(
                "has a part in an encoding; send its bytes as they are, texts in UTF-8"
            )
        found = _DISPOSITION.search(headers, 0, end.end())
        found = found and _NAME.search(found[1])
        if found is None:
            return _bad_form("has a part without a name; let an HTTP library write the parts")
        name = bytes(found[1]).strip(b'"')
        if name in names:  # TorchServe would hand on the last one alone
            return _bad_form("has two parts of one name; separate names of shops by commas")
        names.add(name)
    return None


def _parts(body: bytearray, delimiter: bytes) -> list[int]:
    """Where the parts begin behind their delimiters; no more of them than one over the limit."""
    starts = [len(delimiter)] if body.startswith(delimiter) else []
    delimiter = b"\n" + delimiter
    at = body.find(delimiter)
    while at >= 0 and len(starts) <= MOST_PARTS:
        starts.append(at + len(delimiter))
        at = body.find(delimiter, starts[-1])
    return [start for start in starts if body[start : start + 2] != b"--"]


def _bad_form(what: str) -> Answer:
    return refusal(400, "bad_form", f"the form {what}")
