"""Routes of the versions: what there is, and which one is live."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from admin.access import authorised, is_told_why, limited
from admin.errors import Refusal
from admin.opened import folder_of
from admin.settings import Settings
from machine.settings import SettingError
from searcher import milvus, report, switch
from searcher.switch import Switch
from searcher.version import VersionError, read_manifest


class Activation(BaseModel):
    """How to make a version live."""

    model_config = ConfigDict(extra="forbid", strict=True)

    force: Annotated[
        bool, Field(description="also a version that was judged unfit; that is recorded")
    ] = False


def router(settings: Settings) -> APIRouter:
    index = settings.index
    routes = APIRouter(prefix="/api", tags=["versions"])
    changing = [Depends(authorised), Depends(limited("60/minute", "switch"))]

    @routes.get("/session")
    def session() -> dict:
        """Whether calls that change something need the token."""
        return {"token_required": settings.token is not None}

    @routes.get("/versions")
    def listed(request: Request) -> dict:
        """The versions, the lowest number first."""
        names, is_told = index.versions(), is_told_why(request)
        live, way_back = index.live(), index.before()
        target = way_back[-1] if way_back else None
        return {
            "live": live,
            "rollback_to": target,
            "versions": [_described(settings, name, live, target, is_told) for name in names],
        }

    @routes.get("/versions/{version}/report", dependencies=[Depends(authorised)])
    def judgement(version: str) -> dict:
        """What `efiss check` found."""
        folder = folder_of(index, version)
        judged = _checked(lambda: report.stored(folder))
        if judged is None:
            raise Refusal(
                404, "no_report", f"version {version} was not checked; `efiss check` does"
            )
        return judged.as_json()

    @routes.post("/versions/{version}/activate", dependencies=changing)
    def activate(version: str, wanted: Annotated[Activation | None, Body()] = None) -> dict:
        """Make a version live; answers when every worker answers from it."""
        folder_of(index, version)
        force = wanted is not None and wanted.force
        return _switched(lambda: switch.activate(index, version, settings.where, force=force))

    @routes.post("/rollback", dependencies=changing)
    def roll_back() -> dict:
        """Make the version live that was live before; again, the one before that."""
        return _switched(lambda: switch.roll_back(index, settings.where))

    return routes


def _described(
    settings: Settings, name: str, live: str | None, target: str | None, is_told: bool
) -> dict:
    """is_told: whether the caller may know files of this machine."""
    described = {
        "version": name,
        "is_live": name == live,
        "is_rollback_target": name == target,
        "damaged": None,
    }
    try:
        manifest = read_manifest(settings.index_root / name)
        judged = report.stored(settings.index_root / name)
    except VersionError as error:
        reason = str(error) if is_told else "damaged; why, callers with the admin token are told"
        return described | {"damaged": reason}
    return described | {
        "rows": manifest.rows,
        "rejected": manifest.rejected,
        "created": manifest.created,
        "index_mode": manifest.index_mode,
        "model": manifest.model,
        "bytes": manifest.size,
        "verified": judged.verdict if judged else None,
    }


def _switched(do) -> dict:
    done: Switch = _checked(do)
    return {
        "result": "success",
        "previous_index_database_version": done.before,
        "index_database_version": done.version,
        "workers": done.workers,
    }


def _checked(do):
    """What is refused is answered in the words of the command line."""
    try:
        return do()
    except switch.Unfit as error:
        raise Refusal(409, "unfit", str(error)) from None
    except VersionError as error:
        raise Refusal(409, "refused", str(error)) from None
    except milvus.Unavailable as error:
        raise Refusal(503, "search_unavailable", str(error)) from None
    except (SettingError, OSError) as error:
        raise Refusal(500, "failed", str(error)) from None
