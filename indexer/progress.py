"""Progress on long work, for people."""

import sys
import time

import click


class PictureBar:
    """A progress bar over pictures, with their rate and the time left."""

    def __init__(self, label: str):
        self._label, self._bar, self._start = label, None, time.monotonic()

    def __enter__(self) -> "PictureBar":
        return self

    def __exit__(self, *error) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def show(self, done: int, total: int) -> None:
        """done of total pictures; the first call draws the bar."""
        if self._bar is None:
            self._start = time.monotonic()
            self._bar = click.progressbar(
                length=total,
                label=self._label,
                show_pos=True,
                file=sys.stderr,
                item_show_func=lambda rate: rate,
            ).__enter__()
        seconds = max(time.monotonic() - self._start, 1e-9)
        self._bar.update(done - self._bar.pos, f"{done / seconds:.0f} images/s")
