"""Progress on long work, for people."""

import sys
import time
from typing import Any

import click


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
