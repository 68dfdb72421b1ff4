"""Jobs that outlive the service: each reindex that was asked for, and how it went.

index/.admin/jobs.db    SQLite
index/.admin/lock       held by the service that works on this index
"""

import asyncio
import collections
import contextlib
import dataclasses
import fcntl
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from indexer.outcome import DONE, FAILED, NOTHING_NEW, REFUSED
from machine.errors import Problem
from machine.settings import SettingError
from searcher.version import now

FOLDER = ".admin"
IN_MEMORY = 1000
"""Jobs, a few KB each."""
BUSY_SECONDS = 0.5
"""How long another program may hold the file before that is an error."""

RUNNING, CANCELLED, INTERRUPTED = "running", "cancelled", "interrupted"
ENDED = (DONE, NOTHING_NEW, REFUSED, FAILED, CANCELLED, INTERRUPTED)


@dataclasses.dataclass(frozen=True)
class Job:
    """One reindex."""

    id: int
    state: str
    """RUNNING or one of ENDED."""
    created: str
    """UTC, ISO 8601."""
    request: dict
    """What was asked for."""
    step: str | None = None
    """Where it is."""
    done: int = 0
    """Of total: pictures of that step."""
    total: int = 0
    rate: float | None = None
    """Pictures a second."""
    seconds_left: float | None = None
    """Of that step."""
    ended: str | None = None
    """UTC, ISO 8601."""
    message: str | None = None
    """How it ended, a sentence."""
    index_database_version: str | None = None
    previous_index_database_version: str | None = None
    report: dict | None = None
    """Of the version's judgement."""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def as_json(self) -> dict:
        return dataclasses.asdict(self)


_COLUMNS = [field.name for field in dataclasses.fields(Job)]
_AS_JSON = ("request", "report")


class Busy(Exception):
    """Another job runs: `id`."""

    def __init__(self, id: int):
        super().__init__(f"job {id} runs; wait until it has ended, or cancel it")
        self.id = id


class JobsError(Problem):
    """The list of jobs cannot be read or written; the message says what to do."""


class Jobs:
    """The jobs of one index folder; for one process at a time, and there for its event loop.

    While the service runs the newest jobs are in memory, and the file is what outlives it: where it
    is locked or damaged, jobs go on and end, and are written once it can be.
    """

    def __init__(self, root: Path):
        """Raises SettingError when another service works on this folder or it cannot be written.

        Jobs that a service left running are interrupted: their process ended with it.
        """
        folder = root / FOLDER
        self._path = folder / "jobs.db"
        self._saving, self._writers = asyncio.Lock(), CapacityLimiter(1)
        self._unsaved: set[int] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(folder / "lock", "a")  # noqa: SIM115 (held while the service runs)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._make()
        except BlockingIOError:
            raise SettingError(f"another `efiss admin` works on {root}; stop it first") from None
        except OSError as error:
            raise SettingError(f"{folder} cannot be used: {error}") from error
        except (sqlite3.Error, ValueError) as error:
            raise SettingError(self._sentence(error)) from error

    def _make(self) -> None:
        columns = ", ".join(name for name in _COLUMNS if name != "id")
        with self._opened("rwc") as database, database:
            database.execute(
                f"CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})"
            )
            database.execute(
                "UPDATE jobs SET state = ?, ended = ?, message = ? WHERE state = ?",
                (
                    INTERRUPTED,
                    now(),
                    "the admin service ended while this job ran; what was hashed is kept",
                    RUNNING,
                ),
            )
            newest = _select(database, "ORDER BY id DESC LIMIT ?", IN_MEMORY)
            rows = database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state")
            self._older = collections.Counter(dict(rows))
        self._newest = {job.id: job for job in reversed(newest)}
        self._older -= collections.Counter(job.state for job in newest)

    def close(self) -> None:
        self._lock.close()

    async def start(self, request: dict) -> Job:
        """A new job that runs.  Raises Busy, JobsError."""
        if running := self.running():
            raise Busy(running.id)
        job = Job(max(self._newest, default=0) + 1, RUNNING, now(), request)
        self._newest[job.id] = job
        self._unsaved.add(job.id)
        try:
            await self.save()
        except JobsError:
            del self._newest[job.id]
            self._unsaved.discard(job.id)
            raise
        if len(self._newest) > IN_MEMORY:
            oldest = self._newest.pop(next(iter(self._newest)))
            self._older[oldest.state] += 1
        return job

    def change(self, id: int, **fields) -> None:
        """Change a job, in memory; `save` writes it."""
        self._newest[id] = dataclasses.replace(self._newest[id], **fields)
        self._unsaved.add(id)

    async def save(self) -> None:
        """Write what was changed, off the event loop.  Raises JobsError."""
        async with self._saving:
            unsaved = set(self._unsaved)
            try:
                changed = [self._newest[id] for id in unsaved if id in self._newest]
                await to_thread.run_sync(self._write, changed, limiter=self._writers)
            except sqlite3.Error as error:
                raise JobsError(self._sentence(error)) from error
            self._unsaved -= unsaved

    def _write(self, changed: list[Job]) -> None:
        names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
        with self._opened("rw") as database, database:
            for job in changed:
                database.execute(f"REPLACE INTO jobs ({names}) VALUES ({marks})", _row(job))

    def get(self, id: int) -> Job:
        """One of the newest jobs.  Raises KeyError for another."""
        return self._newest[id]

    async def find(self, id: int) -> Job | None:
        """The job of a number, however old.  Raises JobsError."""
        if id in self._newest or not self._older:
            return self._newest.get(id)

        def read() -> list[Job]:
            with self._opened("ro") as database:
                return _select(database, "WHERE id = ?", id)

        try:
            return next(iter(await to_thread.run_sync(read)), None)
        except (sqlite3.Error, ValueError) as error:
            raise JobsError(self._sentence(error)) from error

    def running(self) -> Job | None:
        return next((job for job in self.newest(1) if job.state == RUNNING), None)

    def newest(self, count: int) -> list[Job]:
        """The newest first; at most IN_MEMORY."""
        return list(itertools.islice(reversed(self._newest.values()), count))

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each state."""
        counts = self._older + collections.Counter(job.state for job in self._newest.values())
        return {state: counts[state] for state in (RUNNING, *ENDED)}

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        """The file as it is now: one that was removed or replaced is noticed."""
        where = f"{self._path.absolute().as_uri()}?mode={mode}"
        database = sqlite3.connect(where, BUSY_SECONDS, uri=True)
        with contextlib.closing(database):
            yield database

    def _sentence(self, error: Exception) -> str:
        return (
            f"{self._path} cannot be used: {error}; end the program that holds it, or stop `efiss "
            "admin`, move this file away and start it again: only the list of past jobs is lost"
        )


def _select(database: sqlite3.Connection, rest: str, value: int) -> list[Job]:
    rows = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs {rest}", (value,))
    return [_job(row) for row in rows]


def _job(row: tuple) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in _AS_JSON:
        values[name] = json.loads(values[name]) if values[name] else None
    return Job(**values)


def _row(job: Job) -> list:
    values = vars(job)
    return [
        json.dumps(values[name]) if name in _AS_JSON and values[name] is not None else values[name]
        for name in _COLUMNS
    ]
