"""The versions of an index on disk, and the search in one of them."""

from searcher.search import OpenVersion, open_version

__all__ = ["OpenVersion", "open_version"]
