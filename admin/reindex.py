"""Routes of reindexing: the contract's call, and jobs to watch."""

import datetime
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from admin import jobs
from admin.access import at_most, authorised, limited
from admin.errors import Refusal
from admin.examples import is_demo
from admin.jobs import Job
from admin.runner import options
from admin.settings import Settings
from photographs import DATALAKE
from searcher.version import NUMBER, VersionError

NEWEST_JOBS = 50
MOST_WATCHERS = 100
_VERSION = f"^{NUMBER}$"


class ReindexRequest(BaseModel):
    """What to build.  Every field may be left out, and the body as well."""

    model_config = ConfigDict(extra="forbid", strict=True)

    new_index_database_version: Annotated[
        str | None,
        Field(
            pattern=_VERSION,
            description="number of the version; the next minor by default, and then nothing is "
            "built when the newest version holds just this catalogue",
            examples=["1.2.0"],
        ),
    ] = None
    mode: Annotated[
        Literal["default", "unnecessary fast"],
        Field(description="default: exact search; unnecessary fast: approximate search"),
    ] = "default"
    model_path: Annotated[
        str | None,
        Field(
            max_length=4096,
            description="a .pt file, or a folder that holds one, in the folder of the models; by "
            "default the live version's model, and of a first version the one of that folder",
            examples=["torchscripts_models/relahash-medium-64bits.pt"],
        ),
    ] = None
    wait: Annotated[bool, Field(description="false: answer at once with a job to watch")] = True
    force: Annotated[
        bool, Field(description="also take a version that is judged unfit; that is recorded")
    ] = False


class Reindexed(BaseModel):
    """The version that is live now."""

    result: Literal["success", "nothing new"]
    previous_index_database_version: str | None
    index_database_version: str
    timestamp: Annotated[str, Field(description="UTC", examples=["2020-05-02 12:00:00"])]


_BODY = {
    "requestBody": {
        "content": {"application/json": {"schema": ReindexRequest.model_json_schema()}},
        "required": False,
    }
}


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(prefix="/api", dependencies=[Depends(authorised)], tags=["reindexing"])

    @routes.post(
        "/reindex",
        response_model=Reindexed,
        responses={
            202: {"description": "a job was started"},
            409: {"description": "a job runs, the version exists, or it was judged unfit"},
        },
        openapi_extra=_BODY,
        dependencies=[Depends(limited("30/minute", "reindex"))],
    )
    async def reindex(request: Request, prefer: Annotated[str, Header()] = ""):
        """Index the configured catalogue; the new version is live when this answers."""
        wanted = _parsed(await request.body())
        _check_number(settings, wanted.new_index_database_version)
        model = _model(settings, wanted.model_path) if wanted.model_path is not None else None
        runner = request.app.state.runner
        asked = wanted.model_dump(exclude_unset=True)
        _check_no_other(request.app.state.jobs, settings)
        _check_no_demo(settings)
        try:
            job = await runner.start(
                asked,
                options(
                    settings, wanted.new_index_database_version, wanted.mode, model, wanted.force
                ),
            )
        except jobs.Busy as error:
            raise Refusal(409, "job_running", str(error), job_id=error.id) from None
        if not wanted.wait or "respond-async" in re.split(r"[,;\s]+", prefer.lower()):
            where = {"Location": f"/api/jobs/{job.id}", "Preference-Applied": "respond-async"}
            return JSONResponse({"job": job.as_json()}, 202, where)
        return _answer(await runner.ended(job))

    @routes.get("/reindex", response_model=dict)
    def what() -> Response:
        """What a reindex works on: the folder of shops that it lists, null where it takes the
        list as it is, and the list."""
        lake = settings.datalake
        told = {"datalake": str(lake) if lake else None, "database": str(settings.database)}
        # Names may hold bytes that are no UTF-8; escapes carry them.
        return Response(json.dumps(told), media_type="application/json")

    @routes.get("/jobs")
    async def newest(request: Request) -> dict:
        """The newest jobs, the newest first."""
        return {"jobs": [job.as_json() for job in request.app.state.jobs.newest(NEWEST_JOBS)]}

    @routes.get("/jobs/{id}")
    async def job(found: Annotated[Job, Depends(_existing)]) -> dict:
        """A job: its state, step, progress, rate, time left, and its report when it has ended."""
        return found.as_json()

    @routes.get(
        "/jobs/{id}/events",
        response_class=EventSourceResponse,
        dependencies=[Depends(at_most(MOST_WATCHERS, "watchers of jobs"))],
    )
    async def events(found: Annotated[Job, Depends(_existing)], request: Request):
        """The job now and at every change, as server-sent events, until it has ended."""
        async for job in request.app.state.runner.follow(found):
            yield ServerSentEvent(event="job", data=job.as_json())

    @routes.post("/jobs/{id}/cancel", status_code=202)
    async def cancel(found: Annotated[Job, Depends(_existing)], request: Request) -> dict:
        """Stop a job; what it has hashed is kept, and the live version stays."""
        if found.has_ended:
            raise Refusal(409, "job_ended", f"job {found.id} has ended: {found.state}")
        await request.app.state.runner.cancel(found.id)
        return request.app.state.jobs.get(found.id).as_json()

    return routes


def _parsed(body: bytes) -> ReindexRequest:
    """The request, whatever content type it came with: curl -d says that it is a form."""
    try:
        return ReindexRequest.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refusal(422, "bad_request", _sentence(field, first)) from None


def _sentence(field: str, error: Mapping) -> str:
    if field == "new_index_database_version":
        return f"{field} must be MAJOR.MINOR.PATCH, for example 1.5.0"
    if error["type"] == "extra_forbidden":
        return f"there is no field {field!r}; there are {', '.join(ReindexRequest.model_fields)}"
    return f"{field or 'the body'}: {error['msg']}"


def _check_number(settings: Settings, version: str | None) -> None:
    try:
        if version:
            settings.index.check_new(version)
    except VersionError:
        raise Refusal(
            409, "version_exists", f"version {version} exists; choose a new number or leave it out"
        ) from None


def _check_no_other(store: jobs.Jobs, settings: Settings) -> None:
    """One from a timer or a shell is no job of this service, and runs as well."""
    if store.running() is None and settings.index.is_reindexing():
        raise Refusal(
            409, "reindex_running", "`efiss reindex` runs outside of this service; wait for it"
        )


def _check_no_demo(settings: Settings) -> None:
    """The demo's page, which lists its photographs, may run beside a catalogue of one's own."""
    if settings.datalake != DATALAKE:
        return
    try:
        is_over_its_own = is_demo(settings.index)
    except Refusal:  # none is live, or it cannot be opened
        return
    if not is_over_its_own:
        raise Refusal(
            409,
            "another_catalogue",
            f"this service lists {DATALAKE}, the demo's photographs, and the live version is of "
            "other pictures: start it with EFISS_DATALAKE=DIR, the folder of your shops",
        )


def _model(settings: Settings, given: str) -> Path:
    """A model inside the folder of the models."""
    folder = settings.models.resolve()
    spellings = (folder, Path(os.path.abspath(settings.models)))
    for path in (Path(given), folder / given, folder.parent / given):
        # First by its letters alone: nothing outside the folder is looked at for a caller.
        path = Path(os.path.abspath(path))
        if "\0" in given or not any(map(path.is_relative_to, spellings)):
            continue
        try:
            path = path.resolve()
            is_model = path.is_dir() or (path.suffix == ".pt" and path.is_file())
        except (OSError, RuntimeError):  # too long, or links that go round
            continue
        if is_model and path.is_relative_to(folder):
            return path
    raise Refusal(
        400,
        "bad_model_path",
        f"model_path must be a .pt file, or a folder that holds one, inside {settings.models}",
    )


async def _existing(id: int, request: Request) -> Job:
    """A dependency: the job that the path names."""
    found = await request.app.state.jobs.find(id) if 0 < id < 2**63 else None
    if found is None:
        raise Refusal(404, "unknown_job", "there is no such job; /api/jobs lists them")
    return found


def _answer(job: Job) -> dict:
    results = {jobs.DONE: "success", jobs.NOTHING_NEW: "nothing new"}
    if job.state not in results:
        status = 500 if job.state in (jobs.FAILED, jobs.INTERRUPTED) else 409
        raise Refusal(status, f"reindex_{job.state}", str(job.message), job_id=job.id)
    assert job.ended  # as `state` says
    ended = datetime.datetime.fromisoformat(job.ended)
    return {
        "result": results[job.state],
        "previous_index_database_version": job.previous_index_database_version,
        "index_database_version": job.index_database_version,
        "timestamp": ended.strftime("%Y-%m-%d %H:%M:%S"),
    }
