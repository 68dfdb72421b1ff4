"""The admin service: all its routes in one application."""

import contextlib

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from admin import errors, examples, health, models, operate, pages, reindex, search, thumbnails
from admin.access import Guard
from admin.bounds import Bodies
from admin.jobs import Jobs
from admin.runner import Runner
from admin.settings import Settings

_ABOUT = """Reindexing, versions, health and the search page.

Where a token is configured, everything that changes something, and the details of jobs, needs the
header `Authorization: Bearer TOKEN`."""


def create_app(settings: Settings, version: str = "0") -> FastAPI:
    """The application; each part brings its own routes.  version: of the program, to be told.

    Raises SettingError when it is started on an index folder that it cannot work on.
    """

    @contextlib.asynccontextmanager
    async def running(app: FastAPI):
        with contextlib.closing(Jobs(settings.index_root)) as app.state.jobs:
            app.state.runner = Runner(settings, app.state.jobs)
            yield
            await app.state.runner.close()

    app = FastAPIOffline(
        title="efiss-ai admin",
        description=_ABOUT,
        version=version,
        redoc_url=None,
        lifespan=running,
    )
    app.state.settings = settings
    app.add_middleware(Bodies)
    app.add_middleware(Guard, settings=settings)  # which comes first
    errors.add_to(app)
    for part in (reindex, models, operate, search, examples, thumbnails, health, pages):
        app.include_router(part.router(settings))
    return app
