"""What is told of a request that was handled: to the metrics, and in the log.

Nothing of the picture, no path and no text of the caller's but an id of harmless letters.
"""

import dataclasses
import datetime
import re

from handlers.answer import Job
from handlers.body import header_of

_HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclasses.dataclass(frozen=True)
class Record:
    """One request; its fields are those of its line in the log, None where it has no such thing."""

    time: str
    """When it was answered, UTC."""
    request_id: str | None
    """TorchServe's, which also stands in the answer's header x-request-id."""
    caller_id: str | None
    """The caller's own, of its header X-Request-Id."""
    status: int
    outcome: str
    """answered, described, or the type of the mistake."""
    index_version: str
    query: str | None
    """image, code or like."""
    top_k: int | None
    narrowed: bool | None
    """Whether the nearest of all pictures may be kept out of the answer, by a page further on,
    shops or a distance."""
    results: int | None
    first_distance: int | None
    """Of the first result, in bits."""
    ms: dict[str, float]
    """Milliseconds of each step that it had, and in total in the worker."""


def record_of(
    context,
    i: int,
    job: Job | None,
    live: str,
    ms: dict[str, float],
    answer: dict,
    seconds: float,
) -> Record:
    """Of the i-th request of a batch that took so many seconds.  job: None of a request that was
    not a query, or not understood; it counts to the live version."""
    query, distances = (job.query, job.distances) if job else (None, None)
    now = datetime.datetime.now(datetime.UTC)
    return Record(
        time=now.isoformat(timespec="milliseconds"),
        request_id=context.get_request_id(i),
        caller_id=_caller_id(context.get_all_request_header(i)),
        status=context.get_response_status(i)[0],
        outcome=answer.get("type", "answered" if query else "described"),
        index_version=job.serving.version if job else live,
        query=query.kind if query else None,
        top_k=query.top_k if query else None,
        narrowed=query.narrowed if query else None,
        results=None if distances is None else len(distances),
        first_distance=distances[0] if distances else None,
        ms=ms | {"total": round(seconds * 1000, 3)},
    )


def _caller_id(headers: dict[str, str]) -> str | None:
    sent = header_of(headers, "x-request-id")
    return sent if _HARMLESS_ID.fullmatch(sent) else None
