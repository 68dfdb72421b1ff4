"""What a reindex tells while it runs, and how it ended; no torch here: the admin service asks."""

import dataclasses
from collections.abc import Callable

from searcher.report import Report

DONE, NOTHING_NEW, REFUSED, FAILED = "done", "nothing_new", "refused", "failed"
"""How a reindex ends.  One that fails has no Outcome: it raises."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in a step."""

    step: str
    done: int = 0
    """Of total: pictures, or rows sent."""
    total: int = 0
    """0 when nothing is counted."""
    message: str = ""
    """A line for the log, empty when only the count has changed."""


Tell = Callable[[Event], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How it ended."""

    state: str
    """DONE, NOTHING_NEW or REFUSED."""
    version: str
    """The one that was built, or that holds the same already."""
    before: str | None
    """The version that was live until then."""
    message: str
    report: Report | None = None
