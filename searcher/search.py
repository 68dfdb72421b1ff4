"""Exact search in one opened version: codes -> the nearest rows, in a defined order."""

import os
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BYTES
from searcher import versions


class OpenVersion:
    """A version opened for search; immutable, safe to use from several threads."""

    def __init__(self, folder: Path):
        self.manifest = versions.read_manifest(folder)
        if problems := versions.check_sizes(folder, self.manifest):
            raise versions.VersionError(f"{folder} is not complete: " + "; ".join(problems))
        self._index = versions.open_index(folder)
        # FAISS's counting search keeps equal distances in row order; for its heap that is not said.
        self._index.use_heap = False
        self._offsets, self._paths = versions.open_paths(folder)
        if problems := versions.check_rows(self.manifest, self._index, self._offsets, self._paths):
            raise versions.VersionError(f"{folder} is damaged: " + "; ".join(problems))

    def search(self, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, exact, ordered by (Hamming distance, row).

        codes: uint8 [n, 8].  Returns rows int64 [n, k] and distances in bits int32 [n, k]; where
        the index has fewer than k rows, row and distance are -1 from there on.  Raises ValueError.
        """
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES or k < 1:
            raise ValueError(
                f"search takes codes uint8 [n, {CODE_BYTES}] and k of at least 1, "
                f"not {codes.dtype} {list(codes.shape)} and {k}"
            )
        found = min(k, self.manifest.rows)
        distances, rows = self._index.search(codes, found)
        if found == k:
            return rows, distances
        missing = ((0, 0), (0, k - found))
        return (
            np.pad(rows, missing, constant_values=-1),
            np.pad(distances, missing, constant_values=-1),
        )

    def path(self, row: int) -> str:
        """The path of a row as the catalogue spells it (bytes that are not UTF-8 as surrogates)."""
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        return os.fsdecode(self._paths[start:end].tobytes())

    def code(self, row: int) -> np.ndarray:
        """The code of a row: uint8 [8]."""
        return self._index.reconstruct(int(row))


def open_version(path: str | Path) -> OpenVersion:
    """Open the version in the folder `path`.  Raises versions.VersionError."""
    try:
        return OpenVersion(Path(path))
    except versions.VersionError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise versions.VersionError(f"{path} cannot be opened: {error}") from error
