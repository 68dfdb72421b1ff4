"""What a soak comes to: its budgets, and the requests that are to blame where one is broken."""

import collections
import dataclasses
from collections.abc import Iterable

import click
import numpy as np
from soak_sending import Asked, Outcome
from soak_watch import Reading

MOST_PYTHON_MB = 1000
MOST_GROWTH, GROWTH_SLACK_MB = 1.1, 40
"""Of what all processes hold together.  The slack is for a short soak: Java's compiler goes on
learning for minutes, and a decoder's process is there or not."""
MOST_CPU_SECONDS = 0.7
"""Of a hostile request, on average."""
MOST_NAMED = 25


@dataclasses.dataclass
class Storm:
    """What happened."""

    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    quiet: list[Asked] = dataclasses.field(default_factory=list)
    asked: list[Asked] = dataclasses.field(default_factory=list)
    """By good clients, before it and in it."""
    cpu_seconds: float = 0.0
    """Of the service in it, without what the good clients took."""
    peaks: list[Reading] = dataclasses.field(default_factory=list)
    """Of every process, the reading with the highest peak."""
    lost: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    """When a process was gone that had to stay, and its role."""
    java_bound_mb: float | None = None
    held: tuple[list[Reading], list[Reading]] = ([], [])
    """All processes at rest, before and after."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """Something that has a bound."""

    name: str
    bound: str
    seen: str
    is_kept: bool
    blame: str = ""
    """What broke it, in words."""


def budgets(storm: Storm, within: float) -> list[Budget]:
    """All budgets; within: seconds that a good client may wait."""
    late = [one for one in storm.asked if one.seconds > within]
    wrong = [one for one in storm.asked if one.problem]
    slowest = max((one.seconds for one in storm.asked), default=0.0)
    failed = [one for one in storm.outcomes if any(500 <= s != 503 for s in one.statuses)]
    hung = [one for one in storm.outcomes if one.is_unanswered]
    return [
        Budget(
            "good questions answered in time",
            f"{within:g} s",
            f"{slowest:.2f} s",
            bool(storm.asked) and not late,
            _meanwhile(storm, late),
        ),
        Budget(
            "good questions answered rightly",
            "all",
            f"{len(storm.asked) - len(wrong)} of {len(storm.asked)}",
            bool(storm.asked) and not wrong,
            f"{'; '.join({str(one.problem)[:100] for one in wrong})}; {_meanwhile(storm, wrong)}",
        ),
        Budget(
            "processes lost",
            "0",
            str(len(storm.lost)),
            not storm.lost,
            f"{', '.join(role for _, role in storm.lost)}; "
            + _meanwhile(storm, [Asked(at - 1, 1, None) for at, _ in storm.lost]),
        ),
        *_of_memory(storm),
        _of_processors(storm),
        Budget("answers of 5xx other than 503", "0", str(len(failed)), not failed, _named(failed)),
        Budget("requests without an answer", "0", str(len(hung)), not hung, _named(hung)),
    ]


def _of_memory(storm: Storm) -> list[Budget]:
    by_peak = sorted(storm.peaks, key=lambda one: one.peak_mb)
    python = [one for one in by_peak if one.role != "java"][-1]
    found = [
        Budget(
            "largest Python process",
            f"{MOST_PYTHON_MB} MB",
            f"{python.peak_mb:.0f} MB",
            python.peak_mb <= MOST_PYTHON_MB,
            f"a {python.role}",
        ),
    ]
    for one in [one for one in by_peak if one.role == "java"][-1:]:
        bound = storm.java_bound_mb or 0
        found.append(
            Budget("Java", f"{bound:.0f} MB", f"{one.peak_mb:.0f} MB", one.peak_mb <= bound)
        )
    before, after = (sum(one.own_mb for one in held) for held in storm.held)
    most = before * MOST_GROWTH + GROWTH_SLACK_MB
    found.append(
        Budget(
            "all processes afterwards",
            f"{most:.0f} MB",
            f"{after:.0f} MB, before {before:.0f} MB",
            after <= most,
            _grown(*storm.held),
        )
    )
    return found


def _grown(before: list[Reading], after: list[Reading]) -> str:
    held = {one.pid: one.own_mb for one in before}
    return ", ".join(
        f"{one.role} {one.pid}: {held.get(one.pid, 0):.0f} to {one.own_mb:.0f} MB" for one in after
    )


def _of_processors(storm: Storm) -> Budget:
    each = storm.cpu_seconds / max(1, len(storm.outcomes))
    return Budget(
        "processors' time of a hostile request",
        f"{MOST_CPU_SECONDS} s",
        f"{each:.3f} s",
        each <= MOST_CPU_SECONDS,
    )


def _meanwhile(storm: Storm, asked: list[Asked]) -> str:
    """The requests that were under way when the first of these questions was."""
    if not asked:
        return ""
    first = min(asked, key=lambda one: one.at)
    until = first.at + first.seconds
    there = [one for one in storm.outcomes if one.start < until and one.end > first.at]
    there.sort(key=lambda one: max(one.start, first.at) - min(one.end, until))
    return f"under way meanwhile: {_named(there)}"


def _named(outcomes: Iterable[Outcome]) -> str:
    named = [f"{one.number} {one.kind} {list(one.statuses)[:3]}" for one in outcomes]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more


def show(storm: Storm, found: list[Budget]) -> None:
    """Print the tables."""
    click.echo(f"\n{len(storm.outcomes):,} hostile requests in {storm.seconds:.0f} s\n")
    click.echo(f"{'kind':26}  sent  answers")
    for kind, counts in _by_kind(storm).items():
        rest = "  ".join(f"{name}: {n}" for name, n in sorted(counts.items()) if name != "sent")
        click.echo(f"{kind:26}  {counts['sent']:4}  {rest}")
    click.echo(f"\n{'good questions':16}  number  p50 ms  p99 ms  max ms")
    for name, asked in (("before", storm.quiet), ("in the storm", storm.asked)):
        took = _latencies(asked)
        milliseconds = (f"{took[name]:6.0f}" for name in ("p50_ms", "p99_ms", "max_ms"))
        click.echo(f"{name:16}  {took['questions']:6.0f}  {'  '.join(milliseconds)}")
    click.echo(f"\n{'budget':37}  {'bound':>9}  seen")
    for one in found:
        click.echo(f"{one.name:37}  {one.bound:>9}  {one.seen}{'' if one.is_kept else '  BROKEN'}")
    for one in found:
        if not one.is_kept and one.blame:
            click.echo(f"\n{one.name}: {one.blame}")


def figures(storm: Storm, found: list[Budget]) -> dict:
    """As JSON has them."""
    return {
        "sent": len(storm.outcomes),
        "seconds": storm.seconds,
        "kinds": _by_kind(storm),
        "good": {"before": _latencies(storm.quiet), "in the storm": _latencies(storm.asked)},
        "processes": [vars(one) for one in storm.peaks],
        "held": [[vars(one) for one in readings] for readings in storm.held],
        "budgets": [vars(one) for one in found],
    }


def _by_kind(storm: Storm) -> dict[str, dict[str, int]]:
    """How often a kind was sent, and what answered it."""
    kinds = collections.defaultdict[str, collections.Counter[str]](collections.Counter)
    for one in storm.outcomes:
        kinds[one.kind].update(["sent", *{str(status) for status in one.statuses or ["none"]}])
    return {kind: dict(counts) for kind, counts in sorted(kinds.items())}


def _latencies(asked: list[Asked]) -> dict[str, float]:
    seconds = [one.seconds for one in asked] or [float("nan")]
    p50, p99, most = (float(value) * 1000 for value in np.percentile(seconds, [50, 99, 100]))
    return {"questions": len(asked), "p50_ms": p50, "p99_ms": p99, "max_ms": most}
