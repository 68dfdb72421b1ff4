"""What was found when a version was judged: the report that is stored in it."""

import dataclasses
from pathlib import Path

from searcher import versions
from searcher.versions import VersionError

PASSED, REFUSED, FORCED, UNJUDGED = "passed", "refused", "forced", "unjudged"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One line of a report.  against: the same of the other version, None where there is nothing
    to compare.  limit: the bound in words, None without one.  unit: "", "%", "ms" or "bits"."""

    name: str
    value: float
    against: float | None = None
    unit: str = ""
    limit: str | None = None
    refused: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """The judgement of a version.

    against: the version it was compared with, None when none was live.  created, forced: UTC, ISO
    8601; forced is when somebody overrode the refusals, None otherwise.  refusals: sentences.
    rolled_back: when somebody went back from it to the version before; of one that was never judged
    that alone is known, and there are no measures.
    """

    version: str
    against: str | None
    created: str
    measures: list[Measure]
    refusals: list[str]
    forced: str | None = None
    rolled_back: str | None = None

    @property
    def verdict(self) -> str:
        if not self.measures:
            return UNJUDGED
        if not self.refusals:
            return PASSED
        return FORCED if self.forced else REFUSED

    def as_json(self) -> dict:
        return dataclasses.asdict(self) | {"verdict": self.verdict}


def stored(folder: Path) -> Report | None:
    """The report that the version in `folder` has, None without one.  Raises VersionError."""
    values = versions.read_report(folder)
    if values is None:
        return None
    try:
        values.pop("verdict")
        measures = [Measure(**measure) for measure in values.pop("measures")]
        return Report(measures=measures, **values)
    except (AttributeError, KeyError, TypeError) as error:
        raise VersionError(
            f"the report of {folder} is damaged ({error!r}); run `efiss check {folder.name}` again"
        ) from error


def force(root: Path, version: str) -> Report | None:
    """Record that the refusals of a version are overridden; returns its report, if it has one.

    Raises VersionError, OSError.
    """
    report = stored(versions.existing(root, version))
    if report and report.verdict == REFUSED:
        report = dataclasses.replace(report, forced=versions.now())
        versions.write_report(root, version, report.as_json())
    return report


def roll_back(root: Path, version: str) -> None:
    """Record that somebody went back from a version.  Raises VersionError, OSError."""
    moment = versions.now()
    report = stored(versions.existing(root, version)) or Report(version, None, moment, [], [])
    rolled_back = dataclasses.replace(report, rolled_back=moment)
    versions.write_report(root, version, rolled_back.as_json())


def shown(value: float | None, unit: str) -> str:
    """A figure for people; a dash when there is none."""
    if value is None:
        return "–"
    number = f"{value:,.0f}" if value == int(value) and unit != "ms" else f"{value:,.2f}"
    return f"{number} {unit}".rstrip()
