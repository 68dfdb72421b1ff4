"""Exact search in one opened version: codes -> the nearest rows, in a defined order."""

import os
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, LARGEST_SIMILARITY, pack, similarity
from searcher import versions

_SIMILARITY_BITS = (2 * LARGEST_SIMILARITY).bit_length()
_ROW_BITS = 63 - CODE_BITS.bit_length() - _SIMILARITY_BITS


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
        self._codes = versions.codes_of(self._index)

    def search(
        self, codes: np.ndarray, k: int, outputs: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, exact, ordered by (Hamming distance, row).

        With outputs they are ordered by (Hamming distance, -similarity, row), where similarity is
        that of `hashing.codes.similarity`: an order that means something among equal distances.

        codes: uint8 [n, 8].  outputs: float32 [n, 64], what the codes were packed from.  Returns
        rows int64 [n, k] and distances in bits int32 [n, k]; where the index has fewer than k rows,
        row and distance are -1 from there on.  Raises ValueError.
        """
        _check_query(codes, k, outputs)
        found = min(k, self.manifest.rows)
        if outputs is None:
            distances, rows = self._index.search(codes, found)
        else:
            rows, distances = self._search_by_similarity(codes, outputs, found)
        if found == k:
            return rows, distances
        missing = ((0, 0), (0, k - found))
        return (
            np.pad(rows, missing, constant_values=-1),
            np.pad(distances, missing, constant_values=-1),
        )

    def _search_by_similarity(self, codes, outputs, k: int) -> tuple[np.ndarray, np.ndarray]:
        """`search` with outputs, for a k that the index has."""
        # A few more than k cost little, and mostly all rows as far away as the k-th are among them.
        looked = min(k + min(k, 1000) + 100, self.manifest.rows)
        near = self._index.search(codes, looked)
        rows = np.empty((len(codes), k), np.int64)
        distances = np.empty((len(codes), k), np.int32)
        for i, of_query in enumerate(zip(*near, strict=True)):
            candidates = self._with_all_ties(codes[i], k, *of_query)
            rows[i], distances[i] = self._first_by_similarity(outputs[i], k, *candidates)
        return rows, distances

    def _with_all_ties(self, code, k: int, distances, rows) -> tuple[np.ndarray, np.ndarray]:
        """All rows of the index that are not farther away than the k-th: (distances, rows).

        distances, rows: more than k of the nearest, if there are, as FAISS returns them.
        """
        last = distances[k - 1]
        tied = np.searchsorted(distances, last, side="right")
        # At distance 0 all are the same code: the first by row, which FAISS returns, will do.
        if tied < len(rows) or tied == self.manifest.rows or last == 0:
            return distances[:tied], rows[:tied]
        _, distances, rows = self._index.range_search(code[None], int(last) + 1)
        return distances, rows

    def _first_by_similarity(self, outputs, k: int, distances, rows):
        """The first k of these rows by (distance, -similarity, row): (rows, distances)."""
        similar = similarity(outputs, self._codes.take(rows, axis=0))
        # One number a row that sorts as the three do: 7, 18 and 38 bits.
        keys = distances.astype(np.int64) << _SIMILARITY_BITS
        keys |= LARGEST_SIMILARITY - similar
        keys <<= _ROW_BITS
        keys |= rows
        if k < len(keys):
            keys = np.partition(keys, k - 1)[:k]
        keys.sort()
        return keys & ((1 << _ROW_BITS) - 1), keys >> (_SIMILARITY_BITS + _ROW_BITS)

    def path(self, row: int) -> str:
        """The path of a row as the catalogue spells it (bytes that are not UTF-8 as surrogates)."""
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        return os.fsdecode(self._paths[start:end].tobytes())

    def code(self, row: int) -> np.ndarray:
        """The code of a row: uint8 [8]."""
        return self._index.reconstruct(int(row))


def _check_query(codes: np.ndarray, k: int, outputs: np.ndarray | None) -> None:
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES or k < 1:
        raise ValueError(
            f"search takes codes uint8 [n, {CODE_BYTES}] and k of at least 1, "
            f"not {codes.dtype} {list(codes.shape)} and {k}"
        )
    if outputs is None:
        return
    if outputs.dtype != np.float32 or outputs.shape != (len(codes), CODE_BITS):
        raise ValueError(
            f"search takes outputs float32 [{len(codes)}, {CODE_BITS}] with these codes, "
            f"not {outputs.dtype} {list(outputs.shape)}"
        )
    if not np.array_equal(pack(outputs), codes):
        raise ValueError("these codes are not the signs of these outputs; pack them from the same")


def open_version(path: str | Path) -> OpenVersion:
    """Open the version in the folder `path`.  Raises versions.VersionError."""
    try:
        return OpenVersion(Path(path))
    except versions.VersionError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise versions.VersionError(f"{path} cannot be opened: {error}") from error
