"""Jobs that outlive the service: each reindex that was asked for, and how it went.

index/.admin/jobs.db    SQLite
index/.admin/lock       held by the service that works on this index
"""

import dataclasses
import fcntl
import json
import sqlite3
from pathlib import Path

from indexer.outcome import DONE, FAILED, NOTHING_NEW, REFUSED
from machine.settings import SettingError
from searcher.version import now

FOLDER = ".admin"

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


class Jobs:
    """The jobs of one index folder; for one process at a time, and there for one thread."""

    def __init__(self, root: Path):
        """Raises SettingError when another service works on this folder or it cannot be written.

        Jobs that a service left running are interrupted: their process ended with it.
        """
        folder = root / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(folder / "lock", "a")  # noqa: SIM115 (held while the service runs)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._database = sqlite3.connect(folder / "jobs.db", check_same_thread=False)
            self._make()
        except BlockingIOError:
            raise SettingError(f"another `efiss admin` works on {root}; stop it first") from None
        except (OSError, sqlite3.Error) as error:
            raise SettingError(f"{folder} cannot be used: {error}") from error

    def _make(self) -> None:
        columns = ", ".join(name for name in _COLUMNS if name != "id")
        with self._database as database:
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

    def close(self) -> None:
        self._database.close()
        self._lock.close()

    def start(self, request: dict) -> Job:
        """A new job that runs.  Raises Busy."""
        with self._database as database:
            if running := self.running():
                raise Busy(running.id)
            done = database.execute(
                "INSERT INTO jobs (state, created, request, done, total) VALUES (?, ?, ?, 0, 0)",
                (RUNNING, now(), json.dumps(request)),
            )
        assert done.lastrowid is not None  # it was an INSERT
        return self.get(done.lastrowid)

    def change(self, id: int, **fields) -> Job:
        values = [
            json.dumps(value) if name in _AS_JSON and value is not None else value
            for name, value in fields.items()
        ]
        with self._database as database:
            sets = ", ".join(f"{name} = ?" for name in fields)
            database.execute(f"UPDATE jobs SET {sets} WHERE id = ?", [*values, id])
        return self.get(id)

    def get(self, id: int) -> Job:
        """The job of a number that `start` gave.  Raises KeyError for another."""
        if found := self.find(id):
            return found
        raise KeyError(id)

    def find(self, id: int) -> Job | None:
        return next(iter(self._select("WHERE id = ?", id)), None)

    def running(self) -> Job | None:
        return next(iter(self._select("WHERE state = ?", RUNNING)), None)

    def newest(self, count: int) -> list[Job]:
        return self._select("ORDER BY id DESC LIMIT ?", count)

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each state."""
        rows = self._database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        return dict.fromkeys((RUNNING, *ENDED), 0) | dict(rows)

    def _select(self, rest: str, *values) -> list[Job]:
        rows = self._database.execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs {rest}", values)
        return [_job(row) for row in rows]


def _job(row: tuple) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in _AS_JSON:
        values[name] = json.loads(values[name]) if values[name] else None
    return Job(**values)
