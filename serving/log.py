"""The log of a service; whoever writes a line never waits for whoever reads them."""

import contextlib
import queue
import threading
import time
from datetime import datetime
from typing import TextIO

MOST_LINES = 10_000
"""That wait for the reader; more are left out."""
REFUSALS_A_SECOND = 20


class Log:
    """Writes lines in a thread of its own."""

    def __init__(self, out: TextIO):
        self._out = out
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_LINES)
        self._second, self._refusals = 0, 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def line(self, line: str) -> None:
        """Write a line as it is, with its end."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def say(self, level: str, name: str, message: str) -> None:
        """Write a line in the form of TorchServe's."""
        now = datetime.now().isoformat(timespec="milliseconds").replace(".", ",")
        self.line(f"{now} {level:<5} {name} - {message}\n")

    def refusal(self, message: str) -> None:
        """Say what a client was refused; of many in a second the first, and how many more."""
        second = int(time.monotonic())
        if second != self._second:
            left_out = self._refusals - REFUSALS_A_SECOND
            if left_out > 0:
                self.say("INFO", "ACCESS_LOG", f"and {left_out} more within a second")
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals <= REFUSALS_A_SECOND:
            self.say("INFO", "ACCESS_LOG", message)

    def close(self) -> None:
        """Wait a moment for the last lines."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(timeout=1)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the disk is full
                self._out.write(line)
                if self._lines.empty():
                    self._out.flush()
