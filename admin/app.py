"""The admin service: all its routes in one application."""

from fastapi import FastAPI

from admin import errors
from admin.settings import Settings
from efiss import __version__


def create_app(settings: Settings) -> FastAPI:
    """The application; each part adds its own routes."""
    app = FastAPI(title="efiss-ai admin", version=__version__, redoc_url=None)
    app.state.settings = settings
    errors.add_to(app)
    return app
