"""`efiss index` in a process that kills itself, for `test_resume`."""

import itertools
import os
import pkgutil
import signal
import types
from pathlib import Path

from indexer import table
from indexer.main import main

PART_RECORDS, MOST_PARTS = 4, 2


def index(arguments: list[str], log: Path, step: str | None = None, times: int = 0) -> None:
    """Run `efiss index` with arguments; with a step, `module:name`, the process ends by SIGKILL as
    soon as that was called so many times.  To the log goes a line for every picture hashed."""
    # Parts by number of records and not by seconds, so that every run has the same ones.
    ticks = itertools.count().__next__
    table.time = types.SimpleNamespace(monotonic=lambda: ticks() * table.PART_SECONDS / 4)
    table.MOST_PARTS = MOST_PARTS
    _after_each("hashing.model:Model.codes", lambda batch: _note(log, batch))
    if step:
        calls = itertools.count(1)
        _after_each(step, lambda *_: next(calls) == times and os.kill(os.getpid(), signal.SIGKILL))
    main(arguments)


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
