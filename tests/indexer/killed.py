"""Indexing and reindexing in a process that kills itself, for `test_resume`, `test_reindex`."""

import collections
import itertools
import os
import pkgutil
import signal
import types
from collections.abc import Callable, Iterable
from pathlib import Path

from efiss.commands.index import index as command
from indexer import reindex as steps
from indexer import table

PART_RECORDS, MOST_PARTS = 4, 2
CHANGES_THE_FOLDER = {"os:replace", "os:rename", "os:unlink"}
"""Steps of which no two calls are alike: after each, the folder is another one."""
MOST_MOMENTS = 5


def moments(step: str, calls: int) -> list[int]:
    """After which of so many calls of a step to kill: after each of a few; of many that are like
    one another, after the first, some between, and the last."""
    few = calls if step in CHANGES_THE_FOLDER else min(calls, MOST_MOMENTS)
    return [1 + i * (calls - 1) // max(few - 1, 1) for i in range(few)]


def counting(calls: Path, steps: Iterable[str], run: Callable, *arguments) -> None:
    """Run it undisturbed; to `calls` goes a line for every call of one of the steps."""
    file = open(calls, "a", buffering=1)  # noqa: SIM115 - until the process ends
    for step in steps:
        _after_each(step, lambda *_, step=step: file.write(f"{step}\n"))
    run(*arguments)


def read_calls(calls: Path) -> collections.Counter[str]:
    """How often each step was called."""
    return collections.Counter(calls.read_text().splitlines())


def index(arguments: list[str], log: Path, step: str | None = None, times: int = 0) -> None:
    """Run `efiss index` with arguments; with a step, `module:name`, the process ends by SIGKILL as
    soon as that was called so many times.  To the log goes a line for every picture hashed."""
    _prepare()
    _after_each("hashing.model:Model.outputs", lambda batch: _note(log, batch))
    _kill_after(step, times)
    command(arguments)


def reindex(
    plan: steps.Plan, folder: Path, log: Path, step: str | None = None, times: int = 0
) -> None:
    """As `index`; in a folder.  To the log goes what it tells."""
    os.chdir(folder)
    _prepare()
    with open(log, "a", buffering=1) as file:
        _kill_after(step, times)
        done = steps.reindex(plan, lambda event: print(event.step, event.message, file=file))
    os._exit({steps.DONE: 0, steps.NOTHING_NEW: 3, steps.REFUSED: 4}[done.state])


def _prepare() -> None:
    """With the engine that is there at once; and small parts, by number of records and not by
    seconds, so that every run has the same ones."""
    os.environ["EFISS_ENGINE"] = "torchscript"
    ticks = itertools.count().__next__
    table.time = types.SimpleNamespace(monotonic=lambda: ticks() * table.PART_SECONDS / 4)
    table.MOST_PARTS = MOST_PARTS


def _kill_after(step: str | None, times: int) -> None:
    if step:
        calls = itertools.count(1)
        _after_each(step, lambda *_: next(calls) == times and os.kill(os.getpid(), signal.SIGKILL))


def _after_each(step: str, then) -> None:
    """Make every call of a function or method be followed by then(its last argument)."""
    owner, _, name = step.replace(":", ".").rpartition(".")
    owner = pkgutil.resolve_name(owner)
    original = getattr(owner, name)

    def call(*arguments, **options):
        result = original(*arguments, **options)
        then(arguments[-1] if arguments else None)
        return result

    setattr(owner, name, call)


def _note(log: Path, batch) -> None:
    with open(log, "a") as file:
        file.write("picture\n" * sum(row.any() for row in batch))
