"""The change from one live version to another, seen through to every worker that answers."""

import contextlib
import dataclasses
import time

from searcher import acknowledgements, milvus, milvus_publish, report
from searcher.index import Index
from searcher.version import VersionError

WAIT_SECONDS = 60
LOOK_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Switch:
    """What was done."""

    version: str
    before: str | None
    """The version that was live until now, if any."""
    workers: int
    """How many answer from `version` now; 0 when no service follows this folder."""


class Unfit(VersionError):
    """The version was judged unfit for going live; the message says why."""


def activate(
    index: Index,
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
    with index.switching(), index.holding(version) as folder:
        if force:
            report.force(index, version)
        judged = report.stored(folder)
        if judged and judged.verdict == report.REFUSED:
            raise Unfit(
                f"version {version} was judged unfit and stays off: {'; '.join(judged.refusals)}; "
                "--force takes it all the same"
            )
        return _switch(index, version, None, where, seconds)


def roll_back(
    index: Index, where: milvus.Place | None = None, seconds: float = WAIT_SECONDS
) -> Switch:
    """As `activate`, of the version that was live before the live one; again, of the one before
    that.  Raises VersionError also when there is none."""
    with index.switching():
        way_back = index.before()
        if not way_back:
            raise VersionError(
                f"no version was live before {index.live() or 'now'} and is still there; "
                "activate one by its number"
            )
        done = _switch(index, way_back[-1], way_back[:-1], where, seconds)
        # A damaged report, or one that finds no room, does not undo the way back.
        with contextlib.suppress(VersionError, OSError):
            if done.before in index.versions():
                with index.holding(done.before):
                    report.roll_back(index, done.before)
        return done


def _switch(
    index: Index,
    version: str,
    way_back: list[str] | None,
    where: milvus.Place | None,
    seconds: float,
) -> Switch:
    if where:
        milvus.check(index.folder(version), where)
    was_live, was_activated = index.live(), index.activation()
    with index.ready_to_stay() as stay:
        try:
            index.activate(version, way_back)
            workers = _wait(index, seconds)
            if where:
                milvus_publish.point_alias(where, version)
        except BaseException as error:  # also when the operator loses patience
            if index.activation() != was_activated:
                stay()
            if not isinstance(error, _NotFollowed):
                raise
            stays = f"{was_live} stays live" if was_live else "no version is live"
            raise VersionError(f"version {version} was taken back and {stays}: {error}") from None
    return Switch(version, was_live, workers)


class _NotFollowed(Exception):
    """Says which workers did not follow, and why."""


def _wait(index: Index, seconds: float) -> int:
    """How many workers answer from what was activated, as soon as all do.  Raises _NotFollowed."""
    deadline = time.monotonic() + seconds
    activated = _activated(index)
    while True:
        words = acknowledgements.alive(index)
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


def refusals(index: Index) -> str:
    """Which workers refuse the live version, and why; empty when none does.  Some may after a kill
    in the middle of a switch."""
    activated = _activated(index)
    words = acknowledgements.alive(index) if activated else []
    return _refusals([w for w in words if w.activated == activated and w.refused])


def _activated(index: Index) -> int | None:
    """When the live version was activated (ns)."""
    return activation[1] if (activation := index.activation()) else None


def _refusals(words: list[acknowledgements.Word]) -> str:
    return "; ".join(f"worker {w.name} refused it: {w.refused}" for w in words)


# -- removing ------------------------------------------------------------------------------------


def _in_use(index: Index) -> dict[str, str]:
    """The versions that must stay, and why."""
    held = filter(index.is_held, index.versions())
    reasons = dict.fromkeys(held, "it is being checked or activated")
    for word in acknowledgements.alive(index):
        reasons |= dict.fromkeys(word.pinned, "requests to a running service name it")
        reasons[word.version] = "a worker answers from it"
    if way_back := index.before():
        reasons[way_back[-1]] = "`efiss rollback` would go back to it"
    if live := index.live():
        reasons[live] = "it is live"
    return reasons


def remove(index: Index, *unwanted: str) -> None:
    """Remove versions that nobody needs; none of them when one is needed or is not there.
    Raises VersionError, OSError."""
    with index.switching(), index.writing():
        in_use = _in_use(index)
        for version in unwanted:
            index.folder(version)
            if reason := in_use.get(version):
                raise VersionError(f"version {version} is not removed: {reason}")
        for version in dict.fromkeys(unwanted):
            index.remove(version)


def prune(index: Index, keep: int) -> list[str]:
    """Remove all versions that nobody needs, but for the `keep` of the highest numbers; returns
    which.  Raises VersionError, OSError."""
    with index.switching(), index.writing():
        names = index.versions()
        needed = {*_in_use(index), *names[max(0, len(names) - keep) :]}
        removed = [name for name in names if name not in needed]
        for name in removed:
            index.remove(name)
    return removed
