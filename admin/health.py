"""Whether this service runs, whether the search answers, and figures for Prometheus."""

import asyncio
import datetime
import shutil
import time
from collections.abc import Iterator

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from admin import jobs
from admin.access import is_told_why
from admin.settings import Settings
from efiss_client import Client, ServiceError
from searcher.version import VersionError, read_manifest

ANSWER_SECONDS = 5
FRESH_SECONDS = 1
"""How long one answer of the search service does for all who ask for it."""

_NOT_TOLD = "why, callers with the admin token are told"


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(tags=["health"])
    probe = _Probe(settings.service_url)
    limiter = CapacityLimiter(2)  # of its own: a slow disk holds up no other route

    @routes.get("/health/live")
    async def is_live() -> dict:
        """This service runs."""
        return {"live": True}

    @routes.get("/health/ready", responses={503: {"description": "the search does not answer"}})
    async def is_ready(request: Request) -> Response:
        """The search answers a real query; how old the index is, and how much disk is left."""
        search = await probe.result()
        index = await to_thread.run_sync(_index, settings, limiter=limiter)
        disk = await to_thread.run_sync(_disk, settings, limiter=limiter)
        if not is_told_why(request):  # the reasons name addresses and files
            search = search | {"message": _NOT_TOLD} if "message" in search else search
            index = {"message": _NOT_TOLD} if "message" in index else index
        found = {"ready": search["ok"], "search": search, "index": index, "disk": disk}
        return JSONResponse(found, 200 if search["ok"] else 503)

    @routes.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        registry = CollectorRegistry()
        is_ready = (await probe.result())["ok"]
        registry.register(_Figures(settings, request.app.state.jobs.counts(), is_ready))
        text = await to_thread.run_sync(generate_latest, registry, limiter=limiter)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


class _Probe:
    """Whether the search answers: one query at a time, however many want to know."""

    def __init__(self, url: str):
        self._url = url
        self._asked: asyncio.Task[dict] | None = None
        self._since = 0.0
        self._limiter = CapacityLimiter(1)

    async def result(self) -> dict:
        """What is known of it, within ANSWER_SECONDS."""
        age = time.monotonic() - self._since
        if self._asked is None or (self._asked.done() and age > FRESH_SECONDS):
            asked = to_thread.run_sync(_search, self._url, limiter=self._limiter)
            self._asked, self._since, age = asyncio.ensure_future(asked), time.monotonic(), 0.0
        done, _ = await asyncio.wait([self._asked], timeout=max(0, ANSWER_SECONDS - age))
        if done:
            return self._asked.result()
        return {"ok": False, "message": f"{self._url} does not answer in {ANSWER_SECONDS} s"}


def _search(url: str) -> dict:
    """A query by code, which every version answers: through the same doors as all others."""
    start = time.perf_counter()
    try:
        with Client(url, timeout=ANSWER_SECONDS, retries=0) as client:
            answer = client.search(code="0" * 16, top_k=1)
    except ServiceError as error:
        return {"ok": False, "message": str(error)}
    return {
        "ok": True,
        "index_database_version": answer.version,
        "ms": round(1000 * (time.perf_counter() - start), 1),
    }


def _index(settings: Settings) -> dict:
    try:
        live = settings.index.live()
        if live is None:
            return {"index_database_version": None}
        manifest = read_manifest(settings.index_root / live)
        created = datetime.datetime.fromisoformat(manifest.created)
        age = datetime.datetime.now(datetime.UTC) - created
    except (VersionError, OSError, ValueError, TypeError) as error:  # the latter of the date
        return {"message": str(error)}
    return {
        "index_database_version": live,
        "rows": manifest.rows,
        "age_seconds": round(age.total_seconds()),
    }


def _disk(settings: Settings) -> dict:
    usage = shutil.disk_usage(settings.index_root)
    return {"free_bytes": usage.free, "free_percent": round(100 * usage.free / usage.total, 1)}


class _Figures:
    """A collector of prometheus_client: figures as they are when they are asked for."""

    def __init__(self, settings: Settings, jobs_in: dict[str, int], is_ready: bool):
        """jobs_in: how many jobs there are of each state."""
        self._settings, self._jobs_in, self._is_ready = settings, jobs_in, is_ready

    def collect(self) -> Iterator:
        counted = CounterMetricFamily(
            "efiss_admin_jobs_total", "Reindex jobs by how they ended.", labels=["state"]
        )
        for state in jobs.ENDED:
            counted.add_metric([state], self._jobs_in[state])
        yield counted
        running = self._jobs_in[jobs.RUNNING] > 0
        yield _gauge("efiss_admin_job_running", "1 while a reindex job runs.", running)
        names = self._settings.index.versions()
        yield _gauge("efiss_index_versions", "Versions in the index folder.", len(names))
        index = _index(self._settings)
        if "rows" in index:
            yield _gauge("efiss_index_rows", "Rows of the live version.", index["rows"])
            yield _gauge(
                "efiss_index_age_seconds",
                "Seconds since the live version was built.",
                index["age_seconds"],
            )
        if when := self._settings.index.reindexed():
            yield _gauge(
                "efiss_reindex_last_success_timestamp_seconds",
                "When a reindex last succeeded, whoever ran it, Unix time.",
                when,
            )
        free = _disk(self._settings)["free_bytes"]
        yield _gauge("efiss_index_disk_free_bytes", "Free space where the index lies.", free)
        yield _gauge("efiss_ready", "1 when the search answers a query.", self._is_ready)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)
