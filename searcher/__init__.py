"""The versions of an index on disk, and the search in one of them."""

import importlib

__all__ = ["OpenVersion", "open_version"]


def __getattr__(name: str):
    # Not before it is asked for: whoever imports efiss_client needs no NumPy and no FAISS.
    if name in __all__:
        return getattr(importlib.import_module("searcher.search"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
