"""What a caller may ask: the body of a request -> a checked `Query`.

Knows the fields and the transports, not TorchServe and not the index.
"""

import dataclasses
import difflib
import json

from hashing import picture

DEFAULT_TOP_K, MOST_TOP_K = 10, 1000
MOST_DIVERSITY = 100

_FIELDS = ("image", "top_k", "topk", "debug", "diversity")


class RequestError(ValueError):
    """The request cannot be answered.  `status` is the HTTP status, `kind` a fixed word for
    programs, the message a sentence for the caller."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclasses.dataclass(frozen=True)
class Query:
    """A checked request.  image: the encoded picture's bytes.  top_k: 1-1000 answers wanted.
    diversity: every d-th of the ranked hits is returned, 1-100.  debug: with distances."""

    image: bytes
    top_k: int
    diversity: int
    debug: bool


def parse(row: dict) -> Query:
    """One request of a batch, as TorchServe hands it over, as a Query.  Raises RequestError.

    row: {"data": …} for a multipart part named `data`, {"body": …} for every other body; the value
    is bytes, or what TorchServe already decoded (a dict for JSON, str for text).
    """
    fields = _fields(_body(row))
    _refuse_unknown(fields)
    return Query(
        top_k=_count(fields),
        diversity=_whole_number(fields, "diversity", 1, MOST_DIVERSITY),
        debug=_debug(fields),
        image=_image(fields),
    )


_HOW_TO_SEND = (
    "send one JSON object with Content-Type: application/json (curl --data without it sends a "
    "form), or multipart/form-data with a part named data"
)


def _body(row: dict):
    if beside := row.keys() - {"data", "body"}:
        name = _shown(min(beside))
        raise RequestError(
            400,
            "unknown_field",
            f"unknown part, form field or URL parameter {name}; {_HOW_TO_SEND}",
        )
    for name in ("data", "body"):
        if row.get(name) not in (None, b"", ""):
            return row[name]
    raise RequestError(400, "no_body", f"the request has no body; {_HOW_TO_SEND}")


def _fields(body) -> dict:
    if isinstance(body, bytes | bytearray | memoryview | str):
        body = _from_json(body)
    if not isinstance(body, dict):
        raise RequestError(
            400,
            "not_an_object",
            'the request must be a JSON object: {"image": "<base64>", "top_k": 10}',
        )
    return body


def _from_json(body):
    try:
        return json.loads(body if isinstance(body, str) else bytes(body))
    except RecursionError:
        raise RequestError(400, "not_json", "the JSON is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, absurdly long numbers
        reason = str(error).splitlines()[0][:200]
        raise RequestError(400, "not_json", f"the body is not JSON: {reason}") from None


def _refuse_unknown(fields: dict) -> None:
    unknown = [name for name in fields if name not in _FIELDS]
    if not unknown:
        return
    name = unknown[0]
    near = difflib.get_close_matches(name[:100].lower(), _FIELDS, n=1, cutoff=0.0)[0]
    raise RequestError(
        400,
        "unknown_field",
        f"unknown field {_shown(name)}, did you mean {near!r}? The fields are {', '.join(_FIELDS)}",
    )


def _count(fields: dict) -> int:
    if "top_k" in fields and "topk" in fields:
        raise RequestError(400, "bad_top_k", "give top_k or topk, not both")
    name = "topk" if "topk" in fields else "top_k"
    return _whole_number(fields, name, DEFAULT_TOP_K, MOST_TOP_K)


def _whole_number(fields: dict, name: str, default: int, highest: int) -> int:
    value = fields.get(name, default)
    if type(value) is not int or not 1 <= value <= highest:
        raise RequestError(
            400,
            "bad_" + ("top_k" if name == "topk" else name),
            f"{name} must be a whole number from 1 to {highest}, not {_shown(value)}",
        )
    return value


def _debug(fields: dict) -> bool:
    value = fields.get("debug", False)
    if type(value) is not bool:
        raise RequestError(400, "bad_debug", f"debug must be true or false, not {_shown(value)}")
    return value


def _image(fields: dict) -> bytes:
    value = fields.get("image")
    if value is None:
        raise RequestError(400, "no_image", "there is no image; send the file's bytes as base64")
    if not isinstance(value, str):
        raise RequestError(400, "not_base64", f"image must be base64 text, not {_shown(value)}")
    try:
        return picture.from_base64(value)
    except picture.PictureError as error:
        raise RequestError(400, error.kind, str(error)) from None


def _shown(value) -> str:
    """A caller's value as it can stand in a message: JSON, ASCII, short."""
    text = json.dumps(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
