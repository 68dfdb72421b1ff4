"""Routes of the search: the question, passed on to the search service, and what can be found."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
from fastapi import APIRouter, Depends, Request, Response

from admin.access import at_most, limited
from admin.errors import Refusal
from admin.opened import opened
from admin.settings import Settings
from efiss_client import PATH

ANSWER_SECONDS = 30
"""TorchServe itself gives a request up after 20."""
MOST_AT_ONCE = 100
"""Searches that are passed on at once."""

_IS_JSON = {"Content-Type": "application/json"}
_PASSED_ON = ("content-type", "x-index-version", "x-request-id")

_BODY = {
    "requestBody": {
        "description": "the fields of docs/queries.md: image, code or like, top_k, rank and others",
        "content": {"application/json": {"schema": {"type": "object"}}},
        "required": True,
    }
}


def router(settings: Settings) -> APIRouter:
    service = httpx.AsyncClient(
        base_url=settings.service_url,
        timeout=ANSWER_SECONDS,
        limits=httpx.Limits(max_connections=MOST_AT_ONCE),
    )

    @contextlib.asynccontextmanager
    async def connected(app):
        async with service:
            yield

    routes = APIRouter(prefix="/api", tags=["search"], lifespan=connected)

    @routes.post(
        "/search",
        responses={503: {"description": "the search service does not answer"}},
        openapi_extra=_BODY,
        dependencies=[
            Depends(limited("600/minute", "search")),
            Depends(at_most(MOST_AT_ONCE, "searches")),
        ],
    )
    async def search(request: Request) -> Response:
        """Ask the search service; its answer, whatever it is, is passed on."""
        # Piece by piece: `Bodies` has it whole, and one in memory is enough.
        length = {"Content-Length": request.headers.get("content-length", "0")}
        is_passed_on = asyncio.Event()
        body = _told(is_passed_on, request.stream())
        asking = asyncio.ensure_future(service.post(PATH, content=body, headers=_IS_JSON | length))
        leaving = asyncio.ensure_future(_hangs_up(request, is_passed_on))
        leaving.add_done_callback(lambda _: asking.cancel())
        try:
            answer = await asking
        except asyncio.CancelledError:
            if not leaving.done():
                raise
            return Response(status_code=499)  # nobody reads it
        except httpx.TransportError:
            raise Refusal(
                503,
                "search_unreachable",
                "the search service does not answer; start it with `efiss serve`, or ask again in "
                "a moment if it runs",
            ) from None
        finally:
            leaving.cancel()
        passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        return Response(answer.content, answer.status_code, passed)

    @routes.get("/catalogue", response_model=dict)
    def catalogue():
        """The live version: how many pictures it has, in which shops."""
        version = opened(settings.index)
        manifest = version.manifest
        described = {
            "index_database_version": manifest.version,
            "rows": manifest.rows,
            "index_mode": manifest.index_mode,
            "created": manifest.created,
            "shops": [
                {"name": name, "pictures": pictures}
                for name, pictures in sorted(version.shops.items())
            ],
        }
        # Folder names may hold bytes that are no UTF-8; escapes carry them, as in search answers.
        return Response(json.dumps(described), media_type="application/json")

    return routes


async def _told(is_passed_on: asyncio.Event, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in body:
        yield piece
    is_passed_on.set()


async def _hangs_up(request: Request, is_passed_on: asyncio.Event) -> None:
    """Return when the client has."""
    await is_passed_on.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass
