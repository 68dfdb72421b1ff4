"""Codes that were computed once, kept by content: what is here is never hashed again.

A code belongs to the bytes of a picture and to the model that hashed it, its preprocessing
included.  Resuming after a crash, indexing a catalogue that changed a little and rebuilding are
then the same thing: hash what has no code yet.
"""

from pathlib import Path

import numpy as np

from indexer.table import FOLDER, Table

RECORD = np.dtype([("digest", np.uint8, 32), ("code", np.uint8, 8)])


class CodeCache:
    """digest of a picture's bytes (sha256, 32 bytes) -> code (8 bytes), for one model.

    For one writer at a time, as `Table` says.
    """

    def __init__(self, root: Path, model_key: str):
        """root: the index folder.  model_key: names the model and its preprocessing."""
        self._table = Table(root / FOLDER / model_key, RECORD)

    def get(self, digest: bytes) -> bytes | None:
        """The code of the picture with this digest, if it was hashed before."""
        return self._table.get(digest)

    def find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for many: uint8 [n, 32] -> found bool [n], codes uint8 [n, 8]."""
        found, records = self._table.find(digests)
        return found, records["code"].copy()  # not a view, which would keep the digests

    def add(self, digest: bytes, code: bytes) -> None:
        """Keep a code; it is on disk within `PART_SECONDS` of further calls, or after `flush`."""
        if self._table.get(digest) is None:
            self._table.add(digest + code)

    def flush(self) -> None:
        """Write what is not on disk yet as one part."""
        self._table.flush()

    def melt(self) -> None:
        """Melt the parts into one when there are many."""
        self._table.melt()
