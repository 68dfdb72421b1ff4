"""Asking a running service from Python.  docs/client.md has examples.

Needs the standard library and httpx alone, so that a program which only asks can import it.
"""

import base64
import dataclasses
import email.utils
import io
import itertools
import json
import os
import random
import time
import urllib.parse
from collections.abc import Collection, Sequence
from pathlib import Path

import httpx

PATH = "/predictions/image-retrieval-v1.0"

FIRST_PAUSE_SECONDS, DOUBLINGS = 0.2, 5
"""How long a request waits at most before it is repeated first, and how often that is doubled."""
LARGE_PIXELS = 4_000_000
LONGEST_QUERY = 3000
"""Letters of the fields in an address; a service reads some 4000."""
_JPEG_MODES, _PNG_MODES = ("L", "RGB", "CMYK"), ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_OF_A_SERVICE_WITHOUT_PHOTOS = ("not_json", "bad_answer")
"""It does not read the photo, or not the fields beside it, so that its answer lacks distances."""
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)


class ServiceError(RuntimeError):
    """The service did not answer with results; the message is a sentence that says why.

    status: the HTTP status, None when there was no answer of this service.  kind: a word for
    programs, the `type` of docs/queries.md or, without a status, `bad_url`, `unreachable`,
    `timeout` or `bad_answer`; None when the service said none.  request_id: under which the
    service's log has the request, None when there is none.  retry_after: seconds after which the
    service wants to be asked again, None when it did not say.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        kind: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(message)
        self.status, self.kind = status, kind
        self.request_id, self.retry_after = request_id, retry_after


@dataclasses.dataclass(frozen=True)
class Result:
    """A picture of the catalogue."""

    path: str
    """As the catalogue spells it; bytes that are not UTF-8 are surrogates, as `os.fsencode` takes
    them."""
    distance: int
    """Bits in which the codes differ, 0-64."""
    similarity: float | None = None
    """By both codes, -1 to 1; None where there is no longer code."""
    match: str | None = None
    """`same`, `alike` or `far`; None where the model does not say what is near."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the service found."""

    version: str
    """Of the index that answered."""
    results: list[Result]
    """Best first."""
    code: str
    """The query's, 16 hex digits."""
    ms: dict[str, float]
    """Milliseconds of each step."""
    cropped_image: bytes | None
    """Of a query with a box, JPEG of the part that was searched by."""
    request_id: str | None
    """Under which the service's log has the request."""
    raw: dict = dataclasses.field(repr=False)
    """The JSON object as it came."""
    rank: str | None = None
    """`distance` or `fine`, what ordered the results; None of a service that knows no ranks."""


class Client:
    """Asks the service at `url` (`http://127.0.0.1:5000`) by connections that are kept open.

    Use it as a context manager, or call `close`.  Threads may share one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30,
        connect_timeout: float = 5,
        retries: int = 3,
        retry_statuses: Collection[int] = (429, 500, 503, 507),
    ):
        """timeout: seconds a search may take in all, repeats and the pauses between them included;
        an answer that stops midway may take twice that, since httpx times each read by itself.
        connect_timeout: seconds of these for one connection.  retries: how often a request is
        repeated that was answered with one of retry_statuses, or whose connection failed.
        Raises ServiceError where `url` is none.
        """
        self.url = _checked(url)
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._retries, self._retry_statuses = retries, retry_statuses
        self._takes_photos = True
        self._http = httpx.Client()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def search(
        self,
        image=None,
        *,
        code: str | None = None,
        like: str | os.PathLike | None = None,
        box: Sequence[float] | None = None,
        top_k: int | None = None,
        offset: int | None = None,
        diversity: int | None = None,
        max_distance: int | None = None,
        shops: Sequence[str] | None = None,
        exclude_shops: Sequence[str] | None = None,
        group_by: str | None = None,
        rank: str | None = "fine",
        index_database_version: str | None = None,
    ) -> Answer:
        """Ask by one of image, code and like.  The fields are those of docs/queries.md, and what is
        None is not sent.

        image: the path of a file, the bytes of one, or a PIL image.  code: 16 hex digits.  like: a
        path of the catalogue.  rank: a service that does not know the field is asked again without
        it.  Raises ServiceError; OSError when the file cannot be read.
        """
        fields = {
            "code": code,
            "like": None if like is None else os.fsdecode(like),
            "box": box,
            "top_k": top_k,
            "offset": offset,
            "diversity": diversity,
            "max_distance": max_distance,
            "shops": shops,
            "exclude_shops": exclude_shops,
            "group_by": group_by,
            "rank": rank,
            "index_database_version": index_database_version,
            "debug": True,  # distances, code and times
        }
        given = {name: value for name, value in fields.items() if value is not None}
        deadline = time.monotonic() + self._timeout
        if image is None:
            return self._ask_by_json(given, deadline)
        return self._ask_by_photo(_encoded(image), given, deadline)

    def _ask_by_photo(self, photo: bytes, fields: dict, deadline: float) -> Answer:
        """The photo itself goes as the body; to a service of before, and where the fields are too
        long for an address, as base64 in JSON."""
        question = _photo_question(photo, fields)
        may_take_it = self._takes_photos and len(question.query) <= LONGEST_QUERY
        if may_take_it:
            try:
                return self._ask(question, deadline)
            except ServiceError as error:
                if error.kind not in _OF_A_SERVICE_WITHOUT_PHOTOS:
                    raise
        image = base64.b64encode(photo).decode("ascii")
        answer = self._ask_by_json({"image": image} | fields, deadline)
        if may_take_it:
            self._takes_photos = False
        return answer

    def _ask_by_json(self, fields: dict, deadline: float) -> Answer:
        try:
            return self._ask(_json_question(fields), deadline)
        except ServiceError as error:
            if "rank" not in fields or not _knows_no_rank(error):
                raise
        without = {name: value for name, value in fields.items() if name != "rank"}
        return self._ask(_json_question(without), deadline)

    def _ask(self, question: "_Question", deadline: float) -> Answer:  # type: ignore[return]  # see count()
        """The answer, at the first attempt or a later one: a search changes nothing, so to repeat
        it does no harm."""
        for attempt in itertools.count():
            try:
                return self._asked_once(question, deadline)
            except ServiceError as error:
                may_pass = error.kind == "unreachable" or error.status in self._retry_statuses
                pause = max(_pause(attempt), error.retry_after or 0)
                in_time = time.monotonic() + pause < deadline
                if not may_pass or attempt >= self._retries or not in_time:
                    raise
                time.sleep(pause)

    def _asked_once(self, question: "_Question", deadline: float) -> Answer:
        try:
            response, content = self._sent(question, deadline)
        except _BROKEN as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise ServiceError(
                f"{self.url} does not answer: {reason}; is `efiss serve` running?",
                kind="unreachable",
            ) from error
        except httpx.TimeoutException as error:
            raise ServiceError(
                f"{self.url} did not answer within {self._timeout:g} s; give it a longer timeout "
                "or look into its log",
                kind="timeout",
            ) from error
        except httpx.HTTPError as error:
            raise self._bad_answer(error) from error
        if response.status_code != 200:
            raise _refusal(response, content)
        try:
            return _answer(json.loads(content), response.headers.get("x-request-id"))
        except (ValueError, KeyError, TypeError) as error:
            raise self._bad_answer(error) from error

    def _sent(self, question: "_Question", deadline: float) -> tuple[httpx.Response, bytes]:
        left = max(deadline - time.monotonic(), 0.001)
        timeout = httpx.Timeout(left, connect=min(left, self._connect_timeout))
        content = bytearray()
        with self._http.stream(
            "POST",
            f"{self.url}{PATH}{question.query}",
            content=question.body,
            headers={"Content-Type": question.content_type},
            timeout=timeout,
        ) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer comes too slowly")
        return response, bytes(content)

    def _bad_answer(self, error: Exception) -> ServiceError:
        return ServiceError(
            f"{self.url} answers, but not as the image retrieval does "
            f"({type(error).__name__}: {error}); is it the address of `efiss serve`?",
            kind="bad_answer",
        )


@dataclasses.dataclass(frozen=True)
class _Question:
    """What is sent."""

    body: bytes
    content_type: str
    query: str = ""
    """The fields beside the body, with the ? before them."""


def _json_question(fields: dict) -> _Question:
    # In ASCII: the surrogates of a path cannot be encoded as UTF-8.
    return _Question(json.dumps(fields).encode("ascii"), "application/json")


def _photo_question(photo: bytes, fields: dict) -> _Question:
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }
    query = urllib.parse.urlencode(texts, errors="surrogateescape")
    return _Question(photo, "application/octet-stream", f"?{query}")


def _knows_no_rank(error: ServiceError) -> bool:
    """Whether a service of before refused the field."""
    return error.kind == "unknown_field" and str(error).startswith('unknown field "rank"')


def _checked(url: str) -> str:
    """The URL without a slash at its end."""
    try:
        parsed = httpx.URL(url)
        is_whole = parsed.scheme in ("http", "https") and parsed.host
    except (httpx.InvalidURL, TypeError):
        is_whole = False
    if not is_whole:
        raise ServiceError(
            f"the address of the service must be http://HOST:PORT, not {url!r}", kind="bad_url"
        )
    return url.rstrip("/")


def _encoded(image) -> bytes:
    """The bytes of a file: those given, those in the file of a path, or a PIL image as a file.

    PNG loses nothing, and TIFF, for the modes that PNG does not have, neither: the code is that of
    the image's pixels.  A large image is sent as a JPEG of high quality, since its PNG may be more
    than a request may hold: what the JPEG loses, the service loses as well when it reduces so large
    a picture to the size that the model looks at.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not hasattr(image, "save"):
        return Path(image).read_bytes()
    buffer = io.BytesIO()
    exif = image.info.get("exif", b"")  # it may say how the picture is turned
    if image.width * image.height > LARGE_PIXELS and image.mode in _JPEG_MODES:
        image.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    elif image.mode in _PNG_MODES:
        image.save(buffer, "PNG", compress_level=1, exif=exif)
    else:
        image.save(buffer, "TIFF", compression="tiff_deflate", exif=exif)
    return buffer.getvalue()


def _answer(raw: dict, request_id: str | None) -> Answer:
    count = len(raw["relevant"])
    columns = (
        raw["relevant"],
        raw["distances"],
        raw.get("similarities", [None] * count),
        raw.get("match", [None] * count),
    )
    cropped = raw.get("cropped_image")
    return Answer(
        version=raw["index_database_version"],
        results=[Result(*values) for values in zip(*columns, strict=True)],
        code=raw["code"],
        ms=raw["ms"],
        cropped_image=None if cropped is None else base64.b64decode(cropped),
        request_id=request_id,
        raw=raw,
        rank=raw.get("rank"),
    )


def _refusal(response: httpx.Response, content: bytes) -> ServiceError:
    try:
        body = json.loads(content)
        message, kind = body["message"], body.get("type")
    except (ValueError, KeyError, TypeError, AttributeError):
        kind = None
        message = f"the service answered {response.status_code} {response.reason_phrase}".rstrip()
    return ServiceError(
        message,
        response.status_code,
        kind,
        response.headers.get("x-request-id"),
        _seconds(response.headers.get("retry-after")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """What the header says, a number of seconds or a date; None where it says nothing."""
    if retry_after is None:
        return None
    try:
        return max(float(retry_after), 0)
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(retry_after).timestamp()
    except ValueError:
        return None
    return max(moment - time.time(), 0)


def _pause(attempt: int) -> float:
    """Seconds before the next attempt; not always the same, so that many clients that failed
    together do not come back together."""
    return FIRST_PAUSE_SECONDS * 2 ** min(attempt, DOUBLINGS) * random.uniform(0.5, 1)
