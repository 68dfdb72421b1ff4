"""`efiss reindex`."""

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from efiss.commands.check import table
from efiss.commands.live import WAIT
from efiss.commands.options import (
    BACKEND,
    CONFIG,
    DEVICE,
    EXCLUDE,
    INDEX_MODE,
    INDEX_ROOT,
    NUM_WORKERS,
    SHOP_DEPTH,
    TRUST_CONTENT,
    URI,
    default_model,
    warn_of_unknown_settings,
)
from efiss.exits import NOTHING_NEW, REFUSED
from efiss.progress import Pace
from efiss.stopping import Stopped, stopping_on_signals
from indexer.outcome import FAILED
from machine.errors import Problem, sentence_of
from machine.settings import DATABASE, DATALAKE, MODELS

if TYPE_CHECKING:
    from indexer.reindex import Plan

PAUSES = {True: 0.25, False: 30.0}
"""Seconds between two counts of a step, as JSON and in a log."""


@click.command()
@click.option(
    "--datalake",
    envvar=DATALAKE.name,
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Folder of shops to list into --database first; without it, the list is taken as it is.",
)
@EXCLUDE
@click.option(
    "--database",
    envvar=DATABASE.name,
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=DATABASE.default,
    show_default=True,
    help="The catalogue: one image path a line.",
)
@click.option(
    "--new_index_database_version",
    "version",
    metavar="MAJOR.MINOR.PATCH",
    help="Number of the version; by default the next minor. Nothing is built when the version of "
    "this number, or by default the live one, holds just this catalogue.",
)
@click.option(
    "--model_path",
    type=click.Path(path_type=Path),
    help="A .pt file with its sidecar beside it, or its folder. By default the live version's "
    f"model, and of a first version {MODELS.name}, or the shipped one.",
)
@DEVICE
@NUM_WORKERS
@INDEX_MODE
@SHOP_DEPTH
@TRUST_CONTENT
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How many versions stay; beside these the live one, the one before, and those in use.",
)
@click.option(
    "--force", is_flag=True, help="Also take a version that is judged unfit; that is recorded."
)
@CONFIG
@WAIT
@BACKEND
@URI
@INDEX_ROOT
@click.option("--json", "as_json", is_flag=True, help="Tell every step as a line of JSON.")
def reindex(**options: Any) -> None:
    """List, index, check, activate and prune: for cron, a systemd timer or a CronJob.

    What was hashed before is not hashed again, the version is judged as `efiss check` does before
    it goes live, and the service answers all the while. It may be killed at any moment; the next
    run goes on from there. Two never run at once.

    \b
    Exit codes:
      0  the catalogue as it is now is live
      1  it failed; a sentence on stderr says why, and the old version is live
      2  an option is wrong
      3  nothing new: the live version holds just this catalogue
      4  refused: the version was judged unfit, and the old one is live

    \b
    Examples:
      efiss reindex --datalake data
    As a line of a crontab (docs/operating.md has a systemd timer and a CronJob as well):
      0 3 * * *  cd /srv/shop && .venv/bin/efiss reindex --datalake data >> reindex.log
    """
    import torch

    from indexer import reindex as steps

    warn_of_unknown_settings()
    torch.set_num_threads(1)  # the workers are the parallelism
    teller = Teller(options.pop("as_json"))
    start = time.monotonic()
    try:
        with stopping_on_signals():
            outcome = steps.reindex(_plan(**options), teller.tell)
    except Stopped:
        raise teller.failed(
            "stopped; what was hashed is kept, and the next run goes on from there"
        ) from None
    except (Problem, OSError) as error:
        if (sentence := sentence_of(error)) is None:
            raise
        raise teller.failed(sentence) from error
    teller.end(outcome, time.monotonic() - start)
    codes = {steps.DONE: 0, steps.NOTHING_NEW: NOTHING_NEW, steps.REFUSED: REFUSED}
    raise SystemExit(codes[outcome.state])


def _plan(config: Path, backend: str | None, uri: str | None, **options: Any) -> "Plan":
    from indexer import judge
    from indexer.pipeline import Order
    from indexer.reindex import Plan
    from machine.settings import BATCH_SIZE, max_pixels
    from searcher import milvus

    own = {name: options.pop(name) for name in ("datalake", "exclude", "keep", "wait", "force")}
    given = options.pop("model_path")
    order = Order(
        **options,
        model_path=given or default_model(),
        batch_size=BATCH_SIZE,
        max_pixels=max_pixels(),
        resume=True,
        # Whether too many are unreadable is for the check to say, with all else that is wrong.
        max_rejected=1.0,
    )
    thresholds, where = judge.read_thresholds(config), milvus.place(backend, uri)
    return Plan(order=order, thresholds=thresholds, where=where, keep_model=given is None, **own)


class Teller:
    """Tells what happens: to people in lines with the time, or to a program in lines of JSON."""

    def __init__(self, as_json: bool):
        self.step = "reindex"
        self._as_json, self._told = as_json, 0.0
        self._pace: Pace | None = None

    def tell(self, event) -> None:
        if event.step != self.step:
            self.step, self._told, self._pace = event.step, time.monotonic(), None
        rate = 0.0
        if event.total:
            self._pace = self._pace or Pace()
            rate = self._pace.at(event.done)
        if not event.message and not self._is_due(event):
            return
        left = (event.total - event.done) / rate if rate else None
        if self._as_json:
            values = dataclasses.asdict(event)
            values |= {"rate": round(rate, 1), "seconds_left": left and round(left, 1)}
            click.echo(json.dumps(values))
        elif event.message:
            self._say(event.message)
        elif event.total:
            over = f", {left / 60:,.0f} min left" if left else ""
            self._say(f"{event.done:,} of {event.total:,}, {rate:,.0f}/s{over}")

    def end(self, outcome, seconds: float) -> None:
        if self._as_json:
            report = outcome.report and outcome.report.as_json()
            click.echo(json.dumps(dataclasses.asdict(outcome) | {"report": report}))
            return
        if outcome.report and outcome.report.verdict == outcome.state == "refused":
            click.echo(table(outcome.report))
        self.step = outcome.state.replace("_", " ")
        self._say(f"{outcome.message} ({seconds:,.0f} s)")

    def failed(self, sentence: str) -> Problem:
        """The reason, which names the step; to a program it is told as an outcome is."""
        message = f"{self.step}: {sentence}"
        if self._as_json:
            click.echo(json.dumps({"state": FAILED, "message": message}))
        return Problem(message)

    def _is_due(self, event) -> bool:
        """Whether a count is told now: not every picture's; to a program every step's last."""
        now = time.monotonic()
        is_last = self._as_json and event.done == event.total
        if not is_last and now - self._told < PAUSES[self._as_json]:
            return False
        self._told = now
        return True

    def _say(self, text: str) -> None:
        click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.step:8} {text}")
