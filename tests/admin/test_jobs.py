"""What becomes of jobs where the file they are kept in is locked, deleted or damaged."""

import asyncio
import contextlib
import sqlite3
import time

import httpx
import pytest

from admin import jobs
from admin.jobs import DONE, INTERRUPTED, RUNNING, Jobs, JobsError
from admin.reindex import MOST_WATCHERS
from machine.settings import SettingError
from tests.admin.conftest import Admin
from tests.running import wait_for


def file_of(admin: Admin):
    return admin.folder / "index" / ".admin" / "jobs.db"


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def deleted(path):
    kept = path.read_bytes()
    path.unlink()
    yield
    path.write_bytes(kept)


@contextlib.contextmanager
def damaged(path):
    kept = path.read_bytes()
    path.write_bytes(b"no database" * 1000)
    yield
    path.write_bytes(kept)


@pytest.mark.server
@pytest.mark.parametrize("harm", [locked, deleted, damaged])
def test_a_job_ends_and_the_rest_goes_on_where_its_file_cannot_be_used(admin, harm):
    """Jobs in processes that load torch."""
    id = admin.post("/api/reindex", {"wait": False}).json()["job"]["id"]
    with harm(file_of(admin)):
        wait_for(lambda: admin.job(id)["state"] == "done", 180)
        start = time.perf_counter()
        refused = admin.post("/api/reindex")
        assert (refused.status_code, refused.json()["type"]) == (503, "jobs_unavailable")
        assert "jobs.db cannot be used" in refused.json()["message"]
        assert "move this file away" in refused.json()["message"]
        assert 'efiss_admin_jobs_total{state="done"} 1.0' in admin.get("/metrics").text
        assert len(admin.get("/api/jobs").json()["jobs"]) == 1
        assert time.perf_counter() - start < 10
    # As soon as it can be, it is written.
    with contextlib.closing(sqlite3.connect(file_of(admin), timeout=10)) as kept:
        states = "SELECT state FROM jobs"
        wait_for(lambda: kept.execute(states).fetchall() == [("done",)])
    again = admin.post("/api/reindex")
    assert again.json()["result"] == "nothing new"


@pytest.mark.server
def test_watchers_are_counted_and_those_that_hang_up_make_room(admin):
    id = admin.post("/api/reindex", {"wait": False}).json()["job"]["id"]

    def watch(stack: contextlib.ExitStack) -> int:
        client = stack.enter_context(httpx.Client(timeout=30))
        address = f"{admin.url}/api/jobs/{id}/events"
        return stack.enter_context(client.stream("GET", address)).status_code

    with admin.halted():
        with contextlib.ExitStack() as watching:
            every = [watch(watching) for _ in range(MOST_WATCHERS + 1)]
            assert every == [200] * MOST_WATCHERS + [429]
            assert admin.get(f"/api/jobs/{id}").status_code == 200
        with contextlib.ExitStack() as watching:
            wait_for(lambda: watch(watching) == 200)
    admin.post(f"/api/jobs/{id}/cancel")


def test_a_damaged_file_is_said_at_the_start(tmp_path):
    (tmp_path / ".admin").mkdir()
    (tmp_path / ".admin" / "jobs.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SettingError, match=r"jobs\.db cannot be used: .*move this file away"):
        Jobs(tmp_path)


async def fill(root, count: int) -> None:
    with contextlib.closing(Jobs(root)) as store:
        for number in range(count):
            job = await store.start({"number": number})
            store.change(job.id, state=DONE, report={"verdict": "passed"})
            await store.save()


def test_old_jobs_are_found_in_the_file_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "IN_MEMORY", 3)

    async def look() -> None:
        await fill(tmp_path, 5)
        with contextlib.closing(Jobs(tmp_path)) as store:
            assert [job.id for job in store.newest(9)] == [5, 4, 3]
            oldest = await store.find(1)
            assert oldest and oldest.request == {"number": 0}
            assert oldest.report == {"verdict": "passed"}
            assert await store.find(6) is None
            sixth = await store.start({})
            assert (sixth.id, sixth.state) == (6, RUNNING)
            assert (store.counts()[DONE], store.counts()[RUNNING]) == (5, 1)
            (tmp_path / ".admin" / "jobs.db").unlink()
            with pytest.raises(JobsError):
                await store.find(1)

    asyncio.run(look())


def test_a_job_that_cannot_be_written_is_not_begun(tmp_path):
    async def look() -> None:
        with contextlib.closing(Jobs(tmp_path)) as store:
            with locked(tmp_path / ".admin" / "jobs.db"), pytest.raises(JobsError, match="locked"):
                await store.start({})
            assert store.running() is None and store.newest(1) == []
            assert (await store.start({})).id == 1
        with contextlib.closing(Jobs(tmp_path)) as store:
            assert store.get(1).state == INTERRUPTED

    asyncio.run(look())
