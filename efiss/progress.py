"""Progress on long work, for people."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from machine.progress import Tell

if TYPE_CHECKING:  # training imports torch, which takes seconds
    from trainer.train import Progress

LINE_SECONDS = 60
"""Between two lines in a log."""


class Pace:
    """How fast pictures are done.  Those done many at a time were known before, and do not count
    for the rate."""

    def __init__(self):
        self._start, self._known, self._done = time.monotonic(), 0, 0

    def at(self, done: int) -> float:
        """Pictures a second, when so many are done."""
        if done > self._done + 1:
            self._start, self._known = time.monotonic(), done
        self._done = done
        return (done - self._known) / max(time.monotonic() - self._start, 1e-9)


class PictureBar:
    """A progress bar over pictures, with their rate and the time left."""

    def __init__(self, label: str):
        self._label = label
        self._bar: Any = None

    def __enter__(self) -> "PictureBar":
        return self

    def __exit__(self, *error) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def show(self, done: int, total: int) -> None:
        """done of total pictures; the first call draws the bar."""
        if self._bar is None:
            self._pace = Pace()
            self._bar = click.progressbar(
                length=total,
                label=self._label,
                show_pos=True,
                file=sys.stderr,
                item_show_func=lambda rate: rate,
            ).__enter__()
        self._bar.update(done - self._bar.pos, f"{self._pace.at(done):.0f} images/s")


@contextlib.contextmanager
def bars() -> Iterator[Tell]:
    """Gives what draws the progress of several works that follow each other, each as a bar of its
    own; in a log only their names."""
    with contextlib.ExitStack() as drawn:
        name, bar = "", cast(Any, None)

        def tell(what: str, done: int, total: int) -> None:
            nonlocal name, bar
            if what != name:
                drawn.close()
                name, bar = what, click.progressbar(length=total, label=what)
                drawn.enter_context(bar)
            bar.update(done - bar.pos)
            if done == total:
                drawn.close()
                name = ""

        yield tell


@contextlib.contextmanager
def training_line() -> Iterator[Callable[["Progress"], None]]:
    """Gives a function that takes every step's Progress: one line that is rewritten on a terminal,
    a line a minute in a log."""
    is_terminal = sys.stderr.isatty()
    last = 0.0

    def tell(now: "Progress") -> None:
        nonlocal last
        is_last = now.step == now.steps
        if not is_last and time.monotonic() - last < (1 if is_terminal else LINE_SECONDS):
            return
        last = time.monotonic()
        line = line_of(now)
        click.echo(f"\r{line}\x1b[K" if is_terminal else line, err=True, nl=not is_terminal)

    yield tell
    if is_terminal:
        click.echo(err=True)


def line_of(now: "Progress") -> str:
    """`step 120 of 4,000 (3 %), 0:58:12 left, 105 pictures/s; relahash 2.81, instance 0.40`."""
    seconds = round(now.seconds_left)
    left = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    losses = ", ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
    return (
        f"step {now.step:,} of {now.steps:,} ({now.step / now.steps:.0%}), {left} left, "
        f"{now.pictures_per_second:.0f} pictures/s; {losses}"
    )
