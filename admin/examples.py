"""Photographs to ask with, offered to whoever tries the demo."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from admin.access import limited
from admin.errors import Refusal
from admin.opened import opened
from admin.settings import Settings
from photographs import DATALAKE, Photograph, catalogue, queries
from searcher.index import Index

FRESH_SECONDS = 24 * 3600
"""How long a browser shows one again without asking."""


def is_demo(index: Index) -> bool:
    """Whether the live version is of the demo's catalogue.  Raises Refusal."""
    return opened(index).row(f"{DATALAKE}/{catalogue()[0].path}") is not None


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["search"])

    def offered() -> dict[str, Photograph]:
        """A dependency: what is offered, by its id; nothing beside another catalogue."""
        if not is_demo(settings.index):
            return {}
        return {photograph.id: photograph for photograph in queries()}

    Offered = Annotated[dict[str, Photograph], Depends(offered)]

    @routes.get("/examples")
    def examples(offered: Offered) -> dict:
        """Photographs to ask with: some where the demo's catalogue is live, else none."""
        return {"examples": [{"id": id, "shows": one.caption} for id, one in offered.items()]}

    @routes.get(
        "/examples/{id}",
        response_class=FileResponse,
        responses={200: {"content": {"image/jpeg": {}}}, 404: {}},
        dependencies=[Depends(limited("6000/minute", "example"))],
    )
    def example(id: str, offered: Offered) -> FileResponse:
        """One of them: JPEG, at most 448 pixels a side."""
        if id not in offered:
            raise Refusal(404, "unknown_example", "there is no such example; see /api/examples")
        headers = {"Cache-Control": f"public, max-age={FRESH_SECONDS}"}
        return FileResponse(offered[id].file, media_type="image/jpeg", headers=headers)

    return routes
