"""Small pictures of the catalogue for the page: of its rows, and of no other file."""

import functools
import hashlib
import io
import os
import time
from pathlib import Path
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response

from admin.access import limited
from admin.errors import Refusal
from admin.opened import opened
from admin.settings import Settings
from hashing import picture, remote
from hashing.picture import PictureError
from hashing.reading import read_files
from machine.settings import max_pixels

EDGE = 320
"""The longest side, in pixels."""
AT_A_TIME = 4
"""Pictures that are decoded at once: the largest take some 200 MB each."""
KEPT = 1000
"""Thumbnails in memory, some 15 KB each."""
FRESH_SECONDS = 300
"""How long a browser shows one again without asking."""

_PARAMETERS = {
    "parameters": [
        {
            "name": "path",
            "in": "query",
            "required": True,
            "schema": {"type": "string"},
            "description": "as answers spell it; bytes that are not UTF-8 percent-encoded",
        },
        {"name": "version", "in": "query", "schema": {"type": "string"}},
    ]
}


def router(settings: Settings) -> APIRouter:
    """Raises SettingError."""
    routes = APIRouter(prefix="/api", tags=["search"])
    most_pixels = max_pixels()
    limiter = CapacityLimiter(AT_A_TIME)  # of its own: slow pictures hold up no other route

    @routes.get(
        "/thumbnail",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 304: {}, 404: {}},
        openapi_extra=_PARAMETERS,
        dependencies=[Depends(limited("6000/minute", "thumbnail"))],
    )
    async def thumbnail(request: Request) -> Response:
        """A picture of the live version, or of `version`: JPEG, upright, at most 320 x 320."""
        path, version = _asked(request.scope["query_string"])
        known = request.headers.get("if-none-match", "")

        def answer() -> Response:
            if opened(settings.index, version).row(path) is None:
                raise Refusal(404, "unknown_path", "the version has no picture with this path")
            if not (settings.follow_links or remote.is_remote(path)):
                _check_links(path, settings.datalake)
            return _answer(path, known, most_pixels)

        return await to_thread.run_sync(answer, limiter=limiter)

    return routes


def _asked(query: bytes) -> tuple[str, str | None]:
    """Path and version; bytes of the path that are not UTF-8 as surrogates, as in file names."""
    fields = parse_qs(query.decode("latin-1"), errors="surrogateescape")
    if "path" not in fields:
        raise Refusal(400, "no_path", "say which picture: ?path=…, as answers spell it")
    return fields["path"][0], fields.get("version", [None])[0]


def _check_links(path: str, datalake: Path | None) -> None:
    """Refuse a file outside the catalogue's folders, which are the datalake or, for what does not
    lie there, the folder that holds the picture's."""
    try:
        folder, real = Path(os.path.abspath(path)).parent, os.path.realpath(path)
        above = folder if folder.parent == folder.parent.parent else folder.parent
        if datalake is not None and folder.is_relative_to(os.path.abspath(datalake)):
            above = datalake
        if not Path(real).is_relative_to(os.path.realpath(above)):
            raise _not_shown(
                "it is a link that leads out of the catalogue's folders; EFISS_FOLLOW_LINKS=on "
                "allows that"
            )
    except (OSError, ValueError) as error:  # a path that no file can have
        raise _not_shown(getattr(error, "strerror", None) or str(error)) from None


def _answer(path: str, known: str, most_pixels: int) -> Response:
    """known: the mark that the caller has the thumbnail of."""
    stamp = _stamp(path)
    digest = hashlib.blake2b(os.fsencode(path) + repr(stamp).encode(), digest_size=12)
    headers = {
        "ETag": f'"{digest.hexdigest()}"',
        "Cache-Control": f"public, max-age={FRESH_SECONDS}",
    }
    if headers["ETag"] in known:
        return Response(status_code=304, headers=headers)
    return Response(_jpeg(path, stamp, most_pixels), media_type="image/jpeg", headers=headers)


def _stamp(path: str) -> tuple:
    """What changes when the file does; where nothing can be told, every ten minutes."""
    if remote.is_remote(path):
        (told,) = remote.look([path])
        return told or (time.time() // 600,)
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # gone, or a path that no file can have
        raise _not_shown(getattr(error, "strerror", None) or str(error)) from None
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(KEPT)
def _jpeg(path: str, stamp: tuple, most_pixels: int) -> bytes:
    (data,) = read_files([path])
    if isinstance(data, str):
        raise _not_shown(data)
    try:
        image = picture.decode(data, EDGE // 2, most_pixels)
    except PictureError as error:
        raise _not_shown(str(error)) from None
    image.thumbnail((EDGE, EDGE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, comment=b"")  # not the file's, which may be long
    return buffer.getvalue()


def _not_shown(reason: str) -> Refusal:
    return Refusal(404, "no_thumbnail", f"this picture of the catalogue cannot be shown: {reason}")
