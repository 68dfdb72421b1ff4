"""Route of the models: which one a reindex keeps, and which it may change to."""

import itertools
from pathlib import Path

from fastapi import APIRouter, Depends

from admin.access import authorised
from admin.settings import Settings
from indexer import live_model

MOST_MODELS = 100
_PLACES = ("*.pt", "*/*.pt", "*/*/*.pt")


def router(settings: Settings) -> APIRouter:
    routes = APIRouter(prefix="/api", dependencies=[Depends(authorised)], tags=["reindexing"])

    @routes.get("/models")
    def listed() -> dict:
        """The models that `model_path` of a reindex may name, and the live version's, which stays
        when it names none; `hint` says that another one is shipped."""
        live, shipped = live_model.of_live(settings.index), live_model.shipped_in(settings.models)
        return {
            "has_live_version": settings.index.live() is not None,
            "live": live and _described(live),
            "shipped": shipped and _described(shipped),
            "hint": live_model.hint(settings.index, settings.models),
            "models": [
                {"model_path": spelled, **_described(model)}
                for spelled, model in _models(settings.models.resolve())
            ],
        }

    return routes


def _described(model: live_model.Named) -> dict[str, str]:
    return {"name": model.name, "sha256": model.sha256}


def _models(folder: Path) -> list[tuple[str, live_model.Named]]:
    """Those in a folder, each as it is spelled there; what a link outside holds is none of them."""
    paths = itertools.chain.from_iterable(sorted(folder.glob(place)) for place in _PLACES)
    inside = (path for path in paths if path.resolve().is_relative_to(folder))
    found = ((str(path.relative_to(folder)), live_model.read(path)) for path in inside)
    return list(itertools.islice(((path, model) for path, model in found if model), MOST_MODELS))
