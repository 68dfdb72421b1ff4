"""Watching a service that was ready: it goes on answering, or TorchServe is started again."""

import time
from collections.abc import Callable
from typing import NoReturn

from serving.front import Front
from serving.log import Log
from serving.probe import worker_answers
from serving.settings import StartError
from serving.torchserve import TorchServe

LOOK_SECONDS = 10
"""From one look at it to the next."""
ASK_SECONDS = 8
"""That an answer to its own question may take."""
SILENT_SECONDS = 40
"""Without any answer of a worker, until TorchServe is started again: it replaces a worker that
hangs by itself after 20."""
MOST_STARTS, CALM_SECONDS = 5, 600
"""So many starts, each within so many seconds of the one before, until it gives up."""
LONGEST_PAUSE = 30


class Watch:
    """Looks whether workers answer; asks itself where nobody else does."""

    def __init__(
        self,
        front: Front,
        torchserve: TorchServe,
        log: Log,
        wait_until_ready: Callable[[], str],
    ):
        self._front, self._torchserve, self._log = front, torchserve, log
        self._wait_until_ready = wait_until_ready
        self._starts = 0
        self._last_start = time.monotonic()

    def go_on(self) -> NoReturn:
        """Watch until the process is told to stop.  Raises StartError when TorchServe does not
        answer after MOST_STARTS starts."""
        while True:
            trouble = self._trouble()
            self._log.say("ERROR", "efiss", f"{trouble}; it is started again")
            self._start_again(trouble)

    def _trouble(self) -> str:
        """What is wrong, once something is."""
        seen, answered_at = self._front.answered, time.monotonic()
        has_rested = False
        while True:
            code = self._torchserve.ended(within=LOOK_SECONDS)
            if code is not None:
                return f"TorchServe ended by itself (exit code {code})"
            if not self._front.is_running:
                raise StartError("the front ended by itself; the log says why")
            if self._front.answered != seen:
                seen, answered_at, has_rested = self._front.answered, time.monotonic(), False
            elif self._answers():
                answered_at = time.monotonic()
                if not has_rested:
                    self._torchserve.give_memory_back()
                    has_rested = True
            elif time.monotonic() - answered_at > SILENT_SECONDS:
                return f"no query was answered for {SILENT_SECONDS} s"

    def _answers(self) -> bool:
        trouble = worker_answers(self._torchserve.search, ASK_SECONDS)
        if trouble is not None:
            self._log.say("WARN", "efiss", f"a query of the service's own failed: {trouble}")
        return trouble is None

    def _start_again(self, trouble: str) -> None:
        if time.monotonic() - self._last_start > CALM_SECONDS:
            self._starts = 0
        while True:
            self._torchserve.end(patiently=False)
            if self._starts == MOST_STARTS:
                raise self._torchserve.failed(
                    f"TorchServe was started {MOST_STARTS} times again and does not go on "
                    f"answering ({trouble})"
                )
            time.sleep(min(2**self._starts - 1, LONGEST_PAUSE))
            self._starts += 1
            self._front.restarts += 1
            self._torchserve.start()
            try:
                version = self._wait_until_ready()
            except StartError as error:
                trouble = str(error).partition("; its last lines")[0]
                self._log.say("ERROR", "efiss", trouble)
                continue
            self._last_start = time.monotonic()
            self._log.say("WARN", "efiss", f"it answers again, from index version {version}")
            return
