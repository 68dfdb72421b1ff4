"""The change from one live version to another, seen through to every worker that answers."""

import contextlib
import dataclasses
import time
from pathlib import Path

from searcher import acknowledgements, milvus, report, versions
from searcher.versions import VersionError

WAIT_SECONDS = 60
LOOK_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Switch:
    """What was done.  before: the version that was live until now, if any.  workers: how many
    answer from `version` now; 0 when no service follows this folder."""

    version: str
    before: str | None
    workers: int


class Unfit(VersionError):
    """The version was judged unfit for going live; the message says why."""


def activate(
    root: Path,
    version: str,
    where: milvus.Place | None = None,
    seconds: float = WAIT_SECONDS,
    force: bool = False,
) -> Switch:
    """Verify a version, make it live and wait until every worker answers from it.

    where: it is searched in Milvus, where it must be completely published.  Where a worker refuses
    the version, or has not answered from it after so many seconds, the version before is live
    again.  force: whether a version that was judged unfit is taken, which is recorded in it.
    Raises Unfit, VersionError, milvus.Unavailable, OSError.
    """
    with versions.switching(root):
        if force:
            report.force(root, version)
        judged = report.stored(versions.existing(root, version))
        if judged and judged.verdict == report.REFUSED:
            raise Unfit(
                f"version {version} was judged unfit and stays off: {'; '.join(judged.refusals)}; "
                "--force takes it all the same"
            )
        return _switch(root, version, None, where, seconds)


def roll_back(
    root: Path, where: milvus.Place | None = None, seconds: float = WAIT_SECONDS
) -> Switch:
    """As `activate`, of the version that was live before the live one; again, of the one before
    that.  Raises VersionError also when there is none."""
    with versions.switching(root):
        way_back = versions.before(root)
        if not way_back:
            raise VersionError(
                f"no version was live before {versions.live(root) or 'now'} and is still there; "
                "activate one by its number"
            )
        done = _switch(root, way_back[-1], way_back[:-1], where, seconds)
        if done.before in versions.versions(root):
            with contextlib.suppress(VersionError):  # a damaged report does not undo the way back
                report.roll_back(root, done.before)
        return done


def _switch(root: Path, version: str, way_back: list[str] | None, where, seconds) -> Switch:
    was_back = versions.before(root)
    if where:
        milvus.check(root, version, where)
    was_live = versions.activate(root, version, way_back)
    activated = versions.activation(root)[1]
    try:
        workers = _wait(root, activated, seconds)
        if where:
            milvus.point_alias(where, version)
    except BaseException as error:  # also when the operator loses patience
        versions.make_live(root, was_live, was_back)
        if not isinstance(error, _NotFollowed):
            raise
        stays = f"{was_live} stays live" if was_live else "no version is live"
        raise VersionError(f"version {version} was taken back and {stays}: {error}") from None
    return Switch(version, was_live, workers)


class _NotFollowed(Exception):
    """Says which workers did not follow, and why."""


def _wait(root: Path, activated: int, seconds: float) -> int:
    """How many workers answer from what was activated, as soon as all do.  Raises _NotFollowed."""
    deadline = time.monotonic() + seconds
    while True:
        words = acknowledgements.alive(root)
        refusing = [w for w in words if w.activated == activated and w.refused]
        late = [w for w in words if w.activated != activated]
        if refusing:
            raise _NotFollowed(_refusals(refusing))
        if not late:
            return len(words)
        if time.monotonic() > deadline:
            raise _NotFollowed(
                "; ".join(
                    f"worker {w.name} still answers from {w.version} after {seconds:g} s, its "
                    "service's log may say why"
                    for w in late
                )
            )
        time.sleep(LOOK_SECONDS)


def refusals(root: Path) -> str:
    """Which workers refuse the live version, and why; empty when none does.  Some may after a kill
    in the middle of a switch."""
    activated = versions.activation(root)
    words = acknowledgements.alive(root) if activated else []
    return _refusals([w for w in words if w.activated == activated[1] and w.refused])


def _refusals(words: list[acknowledgements.Word]) -> str:
    return "; ".join(f"worker {w.name} refused it: {w.refused}" for w in words)


# -- removing ------------------------------------------------------------------------------------


def _in_use(root: Path) -> dict[str, str]:
    """The versions that must stay, and why."""
    reasons: dict[str, str] = {}
    for word in acknowledgements.alive(root):
        reasons |= dict.fromkeys(word.pinned, "requests to a running service name it")
        reasons[word.version] = "a worker answers from it"
    if way_back := versions.before(root):
        reasons[way_back[-1]] = "`efiss rollback` would go back to it"
    if live := versions.live(root):
        reasons[live] = "it is live"
    return reasons


def remove(root: Path, *unwanted: str) -> None:
    """Remove versions that nobody needs; none of them when one is needed or is not there.
    Raises VersionError, OSError."""
    with versions.switching(root), versions.writing(root):
        in_use = _in_use(root)
        for version in unwanted:
            versions.existing(root, version)
            if reason := in_use.get(version):
                raise VersionError(f"version {version} is not removed: {reason}")
        for version in dict.fromkeys(unwanted):
            versions.remove(root, version)


def prune(root: Path, keep: int) -> list[str]:
    """Remove all versions that nobody needs, but for the `keep` of the highest numbers; returns
    which.  Raises VersionError, OSError."""
    with versions.switching(root), versions.writing(root):
        names = versions.versions(root)
        needed = {*_in_use(root), *names[max(0, len(names) - keep) :]}
        removed = [name for name in names if name not in needed]
        for name in removed:
            versions.remove(root, name)
    return removed
