"""Whether this service runs, whether the search answers, and figures for Prometheus."""

import datetime
import shutil
import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from admin import jobs
from admin.jobs import Jobs
from admin.settings import Settings
from efiss_client import Client, ServiceError
from searcher.version import VersionError, read_manifest

ANSWER_SECONDS = 5


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health/live")
    async def is_live() -> dict:
        """This service runs."""
        return {"live": True}

    @routes.get("/health/ready", responses={503: {"description": "the search does not answer"}})
    def is_ready() -> Response:
        """The search answers a real query; how old the index is, and how much disk is left."""
        search = _search(settings)
        found = {
            "ready": search["ok"],
            "search": search,
            "index": _index(settings),
            "disk": _disk(settings),
        }
        return JSONResponse(found, 200 if search["ok"] else 503)

    @routes.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(_Figures(settings, request.app.state.jobs))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _search(settings: Settings) -> dict:
    """A query by code, which every version answers: through the same doors as all others."""
    start = time.perf_counter()
    try:
        with Client(settings.service_url, timeout=ANSWER_SECONDS, retries=0) as client:
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
    except (VersionError, OSError) as error:
        return {"message": str(error)}
    created = datetime.datetime.fromisoformat(manifest.created)
    return {
        "index_database_version": live,
        "rows": manifest.rows,
        "age_seconds": round((datetime.datetime.now(datetime.UTC) - created).total_seconds()),
    }


def _disk(settings: Settings) -> dict:
    usage = shutil.disk_usage(settings.index_root)
    return {"free_bytes": usage.free, "free_percent": round(100 * usage.free / usage.total, 1)}


class _Figures:
    """A collector of prometheus_client: figures as they are when they are asked for."""

    def __init__(self, settings: Settings, store: Jobs):
        self._settings, self._jobs = settings, store

    def collect(self) -> Iterator:
        counted = CounterMetricFamily(
            "efiss_admin_jobs_total", "Reindex jobs by how they ended.", labels=["state"]
        )
        for state, count in self._jobs.counts().items():
            if state != jobs.RUNNING:
                counted.add_metric([state], count)
        yield counted
        running = self._jobs.running() is not None
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
        yield _gauge(
            "efiss_ready", "1 when the search answers a query.", _search(self._settings)["ok"]
        )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)
