"""The page: the files of admin/page, which load nothing from anywhere else."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

from admin.settings import Settings

_FOLDER = Path(__file__).with_name("page")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # asked for again every time, and then mostly answered with 304
}


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=_FOLDER)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return await _file("index.html", request)

    @routes.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def part(name: str, request: Request) -> Response:
        return await _file(name, request)

    async def _file(name: str, request: Request) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers.update(_HEADERS)
        return response

    return routes
