"""What was found when a version was judged: the report that is stored in it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from machine.files import sha256_of, write_whole
from searcher.index import Index
from searcher.version import MANIFEST, REPORT, VersionError, now

PASSED, REFUSED, FORCED, UNJUDGED = "passed", "refused", "forced", "unjudged"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One line of a report."""

    name: str
    value: float
    against: float | None = None
    """The same of the other version; None where there is nothing to compare."""
    unit: str = ""
    """`%`, `ms`, `bits`, or empty."""
    limit: str | None = None
    """The bound in words; None without one."""
    refused: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """The judgement of a version."""

    version: str
    against: str | None
    """The version it was compared with; None when none was live."""
    created: str
    """UTC, ISO 8601."""
    measures: list[Measure]
    """None of a version that was not judged, of which only `rolled_back` may be known."""
    refusals: list[str]
    """Sentences."""
    forced: str | None = None
    """When somebody overrode the refusals, UTC, ISO 8601."""
    rolled_back: str | None = None
    """When somebody went back from it to the version before, UTC, ISO 8601."""
    model_change: str | None = None
    """The models of both versions, a sentence; None where they have the same."""
    manifest: str | None = None
    """SHA-256 of the manifest of what was judged; None in reports of older programs."""

    @property
    def verdict(self) -> str:
        """One of PASSED, REFUSED, FORCED and UNJUDGED."""
        if not self.measures:
            return UNJUDGED
        if not self.refusals:
            return PASSED
        return FORCED if self.forced else REFUSED

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"verdict": self.verdict}


def stored(folder: Path) -> Report | None:
    """The report that the version in `folder` has, None without one.  One that was not made of
    this very version, or does not say so, is no judgement of it.  Raises VersionError."""
    path = folder / REPORT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise VersionError(
            f"{path} cannot be read ({error}); run `efiss check {folder.name}` again"
        ) from error
    try:
        values.pop("verdict")
        measures = [Measure(**measure) for measure in values.pop("measures")]
        report = Report(measures=measures, **values)
    except (AttributeError, KeyError, TypeError) as error:
        raise VersionError(
            f"the report of {folder} is damaged ({error!r}); run `efiss check {folder.name}` again"
        ) from error
    if report.manifest == digest_of(folder):
        return report
    return dataclasses.replace(report, measures=[], refusals=[], forced=None)


def digest_of(folder: Path) -> str:
    """What a version's report is bound to: SHA-256 of the manifest, which names all else."""
    return sha256_of(folder / MANIFEST)


def store(index: Index, report: Report) -> None:
    """Store a report in its version.  Raises VersionError, OSError."""
    place = index.folder(report.version) / REPORT
    staged = index.root / f".{report.version}.{REPORT}"  # a version holds nothing half-made
    write_whole(place, (json.dumps(report.as_json(), indent=2) + "\n").encode(), staged)


def force(index: Index, version: str) -> Report | None:
    """Record that the refusals of a version are overridden; returns its report, if it has one.

    Raises VersionError, OSError.
    """
    report = stored(index.folder(version))
    if report and report.verdict == REFUSED:
        report = dataclasses.replace(report, forced=now())
        store(index, report)
    return report


def roll_back(index: Index, version: str) -> None:
    """Record that somebody went back from a version.  Raises VersionError, OSError."""
    moment = now()
    folder = index.folder(version)
    report = stored(folder) or Report(version, None, moment, [], [])
    manifest = digest_of(folder)
    store(index, dataclasses.replace(report, rolled_back=moment, manifest=manifest))


def shown(value: float | None, unit: str) -> str:
    """A figure for people; a dash when there is none."""
    if value is None:
        return "–"
    number = f"{value:,.0f}" if value == int(value) and unit != "ms" else f"{value:,.2f}"
    return f"{number} {unit}".rstrip()
