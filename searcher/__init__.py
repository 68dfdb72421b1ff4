"""The versions of an index on disk, and the search in one of them."""

from searcher.faiss_version import open_version
from searcher.opened import OpenVersion

__all__ = ["OpenVersion", "open_version"]
