"""What a caller is told when a request is not answered, in the search service's own form."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from admin.jobs import JobsError

_TYPES = {404: "not_found", 405: "wrong_method"}


class Refusal(Exception):
    """A request that is not answered: `status` the HTTP status, `kind` a fixed word for programs,
    the message a sentence for the caller.  more: other fields of the answer."""

    def __init__(self, status: int, kind: str, message: str, headers: dict | None = None, **more):
        super().__init__(message)
        self.status, self.kind, self.headers, self.more = status, kind, headers, more

    def response(self) -> JSONResponse:
        return _answer(self.status, self.kind, str(self), self.headers, **self.more)


def busy(reason: str) -> Refusal:
    """The refusal of what could be answered at another moment."""
    return Refusal(429, "busy", f"{reason}; ask again in a moment", {"Retry-After": "1"})


def add_to(app: FastAPI) -> None:
    """Have all errors of the app answered in one form: code, type, message."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return error.response()

    @app.exception_handler(JobsError)
    async def not_kept(request: Request, error: JobsError) -> JSONResponse:
        return _answer(503, "jobs_unavailable", str(error))

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> JSONResponse:
        kind = _TYPES.get(error.status_code, "refused")
        return _answer(error.status_code, kind, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return _answer(422, "bad_request", f"{field}: {first['msg']}")

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _answer(500, "internal_error", "the service failed to answer; its log says why")


def _answer(status, kind, message, headers=None, **more) -> JSONResponse:
    body = {"code": status, "type": kind, "message": message, **more}
    return JSONResponse(body, status, headers)
