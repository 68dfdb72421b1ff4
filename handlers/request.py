"""What a caller may ask: the fields of a request -> a checked `Query`.

Knows the fields, not TorchServe and not the index.  docs/queries.md says what each one means.
"""

import binascii
import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from typing import Any

from handlers.body import RequestError, fields_of, shown
from hashing import picture
from hashing.codes import CODE_BITS
from machine.bounded_json import JsonError, Literal
from machine.settings import RANKS
from searcher.opened import EVERYTHING, Selection
from searcher.version import is_number

try:
    from pybase64 import b64decode
except ImportError:  # stock TorchServe without this project
    from base64 import b64decode  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Range:
    """What a field that is a whole number may be, and is when it is absent."""

    default: int
    lowest: int
    highest: int


RANGES = {
    "top_k": Range(10, 1, 1000),
    "diversity": Range(1, 1, 100),
    "offset": Range(0, 0, 10_000),
    "max_distance": Range(CODE_BITS, 0, CODE_BITS),
}
DEEPEST_HIT = 100_000
"""The last of the ranked hits that a page may reach: (offset + top_k) x diversity."""
MOST_SHOPS = 1000
LEAST_SIDE = 0.02
"""Of a box, as a part of the picture's."""

_KINDS_OF_QUERY = ("image", "code", "like")
_FIELDS = (
    *_KINDS_OF_QUERY,
    *("top_k", "topk", "debug", "diversity", "offset", "max_distance", "shops", "exclude_shops"),
    *("group_by", "rank", "index_database_version", "box"),
)
_CODE = re.compile(r"[0-9a-fA-F]{16}")


@dataclasses.dataclass(frozen=True)
class Query:
    """A checked request: one of image, code and like, the others None."""

    image: bytes | None = None
    """The encoded picture's bytes."""
    code: bytes | None = None
    """8 bytes."""
    like: str | None = None
    """A path of the catalogue."""
    top_k: int = RANGES["top_k"].default
    """1-1000 answers wanted."""
    diversity: int = RANGES["diversity"].default
    """Every d-th of the ranked hits is returned, 1-100."""
    offset: int = RANGES["offset"].default
    """So many answers are passed over first."""
    selection: Selection = EVERYTHING
    """Which rows may be answered."""
    version: str | None = None
    """The one to answer from, None for the live one."""
    box: picture.Box | None = None
    """Left, top, right and bottom of the part of the image to search by, 0-1."""
    rank: str = "distance"
    """One of RANKS: what orders the answers."""
    debug: bool = False
    """With distances, code and times."""

    @property
    def kind(self) -> str:
        """image, code or like."""
        return next(name for name in _KINDS_OF_QUERY if getattr(self, name) is not None)

    @property
    def narrowed(self) -> bool:
        """Whether the nearest of all pictures may be kept out of the answer."""
        by_picture = dataclasses.replace(self.selection, by_product=False)
        return self.offset > 0 or by_picture != EVERYTHING


def parse(
    row: Mapping[str, Any], rank: str = "distance", headers: Mapping[str, Any] | None = None
) -> Query:
    """One request of a batch, as TorchServe hands it over, as a Query.  Raises RequestError.

    row, headers: as `body.fields_of` takes them.  rank: of a request that names none.
    """
    fields = fields_of(row, headers or {})
    _refuse_unknown(fields)
    top_k, diversity = _count(fields), _whole_number(fields, "diversity")
    # The image comes last: to decode it is work, in vain when another field is wrong.
    return Query(
        top_k=top_k,
        diversity=diversity,
        offset=_offset(fields, top_k, diversity),
        selection=_selection(fields),
        version=_version(fields),
        rank=_rank(fields, rank),
        debug=_debug(fields),
        box=_box(fields),
        **_searched_by(fields),
    )


def _refuse_unknown(fields: dict) -> None:
    unknown = [name for name in fields if name not in _FIELDS]
    if not unknown:
        return
    name = unknown[0]
    near = difflib.get_close_matches(name[:100].lower(), _FIELDS, n=1, cutoff=0.0)[0]
    raise RequestError(
        400,
        "unknown_field",
        f"unknown field {shown(name)}, did you mean {near!r}? The fields are {', '.join(_FIELDS)}",
    )


def _count(fields: dict) -> int:
    if "top_k" in fields and "topk" in fields:
        raise RequestError(400, "bad_top_k", "give top_k or topk, not both")
    if "topk" in fields:
        return _whole_number(fields, "topk", of="top_k")
    if "top_k" not in fields and "max_distance" in fields:
        return RANGES["top_k"].highest  # all that is so near, as far as one answer goes
    return _whole_number(fields, "top_k")


def _whole_number(fields: dict, name: str, of: str | None = None) -> int:
    """The field `name`, a spelling of the field `of` where that is another."""
    of = of or name
    allowed = RANGES[of]
    value = fields.get(name, allowed.default)
    if type(value) is not int or not allowed.lowest <= value <= allowed.highest:
        raise _bad(
            of, f"{name} must be a whole number from {allowed.lowest} to {allowed.highest}", value
        )
    return value


def _offset(fields: dict, top_k: int, diversity: int) -> int:
    offset = _whole_number(fields, "offset")
    if (offset + top_k) * diversity > DEEPEST_HIT:
        most = DEEPEST_HIT // diversity - top_k
        raise RequestError(
            400,
            "bad_offset",
            f"offset must be at most {most} with top_k {top_k} and diversity {diversity}, "
            f"not {offset}: no page reaches beyond ranked hit {DEEPEST_HIT}",
        )
    return offset


def _selection(fields: dict) -> Selection:
    by_product = "group_by" in fields
    if by_product and fields["group_by"] != "product":
        raise _bad("group_by", 'group_by must be "product", or absent', fields["group_by"])
    return Selection(
        max_distance=_whole_number(fields, "max_distance"),
        shops=_names(fields, "shops", least=1) if "shops" in fields else None,
        exclude_shops=_names(fields, "exclude_shops", least=0),
        by_product=by_product,
    )


def _names(fields: dict, name: str, least: int) -> frozenset[str]:
    value = fields.get(name, [])
    is_list = isinstance(value, list) and all(isinstance(shop, str) for shop in value)
    if not is_list or not least <= len(value) <= MOST_SHOPS:
        raise _bad(name, f"{name} must be a list of {least} to {MOST_SHOPS} names of shops", value)
    return frozenset(value)


def _version(fields: dict) -> str | None:
    if "index_database_version" not in fields:
        return None
    value = fields["index_database_version"]
    if not isinstance(value, str) or not is_number(value):
        raise _bad(
            "index_database_version",
            "index_database_version must be MAJOR.MINOR.PATCH, for example 1.5.0",
            value,
        )
    return value


def _rank(fields: dict, default: str) -> str:
    value = fields.get("rank", default)
    if value not in RANKS:
        raise _bad("rank", 'rank must be "distance" or "fine"', value)
    return value


def _debug(fields: dict) -> bool:
    value = fields.get("debug", False)
    if type(value) is not bool:
        raise _bad("debug", "debug must be true or false", value)
    return value


def _box(fields: dict) -> picture.Box | None:
    if "box" not in fields:
        return None
    if fields.get("image") is None:
        raise RequestError(400, "bad_box", "box is a part of an image; send it with image only")
    value = fields["box"]
    is_box = (
        isinstance(value, list)
        and len(value) == 4
        and all(type(number) in (int, float) and 0 <= number <= 1 for number in value)
    )
    # A little less is taken, for sides that are the least but for the rounding of a subtraction.
    if not is_box or min(value[2] - value[0], value[3] - value[1]) < LEAST_SIDE - 1e-9:
        raise _bad(
            "box",
            "box must be [left, top, right, bottom], parts of the width and height from 0 to 1, "
            f"right and bottom at least {LEAST_SIDE} more than left and top",
            value,
        )
    return tuple(value)


def _searched_by(fields: dict) -> dict:
    """image, code or like: the one of them that there is."""
    given = [name for name in _KINDS_OF_QUERY if fields.get(name) is not None]
    if not given:
        raise RequestError(
            400,
            "no_image",
            "there is no image; send the photo itself as the body or as base64 in the field image, "
            "or code or like instead",
        )
    if len(given) > 1:
        raise RequestError(
            400, f"bad_{given[1]}", f"give one of image, code and like, not {' and '.join(given)}"
        )
    (name,) = given
    return {name: {"image": _image, "code": _code, "like": _like}[name](fields[name])}


def _image(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Literal):
        with contextlib.suppress(binascii.Error):
            if data := b64decode(value.raw, validate=True):
                return data
        value = _text(value)  # white space, escapes, another alphabet, no padding: all slower
    if not isinstance(value, str):
        raise RequestError(400, "not_base64", f"image must be base64 text, not {shown(value)}")
    try:
        return picture.from_base64(value)
    except picture.PictureError as error:
        raise RequestError(400, error.kind, str(error)) from None


def _text(literal: Literal) -> str:
    try:
        return literal.text()
    except JsonError as error:
        raise RequestError(400, error.kind, str(error)) from None


def _code(value) -> bytes:
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise _bad("code", "code must be 16 hex digits", value)
    return bytes.fromhex(value)


def _like(value) -> str:
    try:
        os.fsencode(value)
    except (TypeError, UnicodeEncodeError):  # no text, or with half a character
        raise _bad("like", "like must be a path as the catalogue spells it", value) from None
    return value


def _bad(field: str, sentence: str, value) -> RequestError:
    return RequestError(400, f"bad_{field}", f"{sentence}, not {shown(value)}")
