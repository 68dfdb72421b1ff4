"""Runs a job: `efiss reindex` in a process of its own, followed line by line.

The process ends with the service, however that ends; a search that is being answered, and this
service itself, never share a process with the work.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from admin import jobs
from admin.jobs import Job, Jobs, JobsError
from admin.settings import Settings
from machine.errors import sentence_of
from machine.processes import end_with_parent
from searcher.version import now

LONGEST_LINE = 2**20
STOP_SECONDS = 20
RETRY_SECONDS = 5
SAVE_SECONDS = 2
"""How often counts are written at most."""

log = logging.getLogger(__name__)


class Runner:
    """Starts, follows and cancels jobs, one at a time."""

    def __init__(self, settings: Settings, store: Jobs):
        self._settings, self._jobs = settings, store
        self._changed = asyncio.Condition()
        self._process: Process | None = None
        self._task: asyncio.Task | None = None
        self._stopped: str | None = None  # what becomes of a job that is asked to end
        self._saved = 0.0  # when counts were written last
        self._is_closing = False

    async def start(self, request: dict, options: list[str]) -> Job:
        """Start a job.  request: as it was asked for.  options: of `efiss reindex`.

        Raises jobs.Busy, jobs.JobsError.
        """
        job = await self._jobs.start(request)
        self._task = asyncio.create_task(self._run(job.id, options))
        return job

    async def cancel(self, id: int) -> None:
        """Ask the process of a running job to end; it keeps what it has done."""
        running = self._jobs.running()
        if running and running.id == id:
            self._stop(jobs.CANCELLED)

    async def follow(self, job: Job) -> AsyncIterator[Job]:
        """The job now and at every change, until it has ended."""
        while True:
            yield job
            if job.has_ended:
                return
            async with self._changed:
                while (newer := self._jobs.get(job.id)) == job:
                    await self._changed.wait()
            job = newer

    async def ended(self, job: Job) -> Job:
        """The job when it has ended."""
        async for newer in self.follow(job):
            job = newer
        return job

    async def close(self) -> None:
        """End the process that runs, if any."""
        if self._task is None or self._task.done():
            return
        self._is_closing = True
        self._stop(jobs.INTERRUPTED)
        _, late = await asyncio.wait([self._task], timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _stop(self, state: str) -> None:
        self._stopped = state
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _run(self, id: int, options: list[str]) -> None:
        try:
            ending = await self._ending(id, options)
        except Exception as error:  # whatever it is, the job must not seem to run for ever
            log.exception("job %d could not be run", id)
            reason = sentence_of(error) or "the log of this service says why"
            ending = {"state": jobs.FAILED, "message": f"the reindex could not be run: {reason}"}
        ending |= {"ended": now(), "rate": None, "seconds_left": None}
        self._stopped = None
        await self._change(id, **ending)
        await self._written(id)

    async def _written(self, id: int) -> None:
        """Write how a job ended, once that can be done."""
        was_told = False
        while True:
            try:
                return await self._jobs.save()
            except JobsError as error:  # a full disk, it may be
                if not was_told:
                    log.error("job %d has ended and that cannot be written yet: %s", id, error)
                was_told = True
            if self._is_closing:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _ending(self, id: int, options: list[str]) -> dict:
        """Run the process and follow it; what becomes of the job."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "efiss", "reindex", "--json"),
            *("--index_root", self._settings.index_root, "--config", self._settings.config),
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=end_with_parent,
            limit=LONGEST_LINE,
        )
        if self._stopped:  # while it was being started
            self._stop(self._stopped)
        try:
            outcome = await self._told(id, process)
            code = await process.wait()
        finally:
            self._process = None
            if process.returncode is None:  # nobody listens to it any more
                process.kill()
        if self._stopped and (outcome is None or outcome["state"] == jobs.FAILED):
            return {"state": self._stopped, "message": "stopped; what was hashed is kept"}
        if outcome is None:
            message = f"the reindex crashed (exit code {code}); the log of this service says why"
            log.error("job %d: %s", id, message)
            return {"state": jobs.FAILED, "message": message}
        return {
            "state": outcome["state"],
            "message": outcome["message"],
            "index_database_version": outcome.get("version"),
            "previous_index_database_version": outcome.get("before"),
            "report": outcome.get("report"),
        }

    async def _told(self, id: int, process: Process) -> dict | None:
        """The outcome that a process tells before it ends, None of one that crashes: what it has
        to say of that goes to this service's own stderr.  Counts go into the job."""
        outcome = None
        assert process.stdout  # a pipe, as was asked for
        async for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # what a library says is not for here
            if not isinstance(told, dict):
                continue
            if "state" in told:
                outcome = told
            else:
                await self._count(id, told)
        return outcome

    async def _count(self, id: int, told: dict) -> None:
        names = ("step", "done", "total", "rate", "seconds_left")
        await self._change(id, **{name: told[name] for name in names})
        if time.monotonic() - self._saved < SAVE_SECONDS:
            return
        with contextlib.suppress(JobsError):  # a count that is not written stops no work
            await self._jobs.save()
        self._saved = time.monotonic()

    async def _change(self, id: int, **fields) -> None:
        self._jobs.change(id, **fields)
        async with self._changed:
            self._changed.notify_all()


def options(
    settings: Settings, version: str | None, mode: str, model: Path | None, force: bool
) -> list:
    """Of `efiss reindex`, for the catalogue of the settings."""
    return [
        *(("--datalake", settings.datalake) if settings.datalake else ()),
        *("--database", settings.database),
        *(("--model_path", model) if model else ()),
        *("--index_mode", mode),
        *(("--new_index_database_version", version) if version else ()),
        *(("--force",) if force else ()),
    ]
