"""Progress on long work, for people."""

import sys
import time

import click


class PictureBar:
    """A progress bar over pictures, with their rate and the time left."""

    def __init__(self, label: str):
        self._label, self._bar = label, None

    def __enter__(self) -> "PictureBar":
        return self

    def __exit__(self, *error) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def show(self, done: int, total: int) -> None:
        """done of total pictures; the first call draws the bar.  Pictures done many at a time were
        known before, and do not count for the rate."""
        if self._bar is None:
            self._start, self._known = time.monotonic(), 0
            self._bar = click.progressbar(
                length=total,
                label=self._label,
                show_pos=True,
                file=sys.stderr,
                item_show_func=lambda rate: rate,
            ).__enter__()
        if done > self._bar.pos + 1:
            self._start, self._known = time.monotonic(), done
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (done - self._known) / seconds
        self._bar.update(done - self._bar.pos, f"{rate:.0f} images/s")
