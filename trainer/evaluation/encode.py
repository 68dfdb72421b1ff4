"""One pass over pictures: what the model and the floors make of them.

Pictures are decoded, encoded and forgotten a batch at a time, so that memory holds results only.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hashing.codes import CODE_BITS, pack
from hashing.model import Model
from machine import progress
from machine.container import available_cores
from trainer.data import Pictures

BATCH = 64
ROWS, COLUMNS = 16, 12
"""Of a thumbnail."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What a pass leaves of n pictures, row by row."""

    outputs: np.ndarray
    """float32 [n, 64], or [n, 320] of a model with a longer code."""
    embedding: np.ndarray | None
    """float32 [n, width], what the hash layer sees; None of a model that does not show it."""
    thumbnails: np.ndarray
    """float32 [n, 16 * 12 * 3] in 0-1."""

    @property
    def codes(self) -> np.ndarray:
        """uint8 [n, 8]."""
        return pack(self.outputs[:, :CODE_BITS])


def encode(pictures: Pictures, model: Model, tell: progress.Tell = progress.nobody) -> Encoded:
    """Encode every one of at least one picture, on all cores; each passes the model once.  For
    torch set to one thread: the parallelism is here.  Raises DataError."""

    def work(first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = range(first, min(first + BATCH, len(pictures)))
        pixels = np.stack([pictures.pixels(row, model.pixels) for row in rows])
        if model.shows_embeddings:
            embedding, outputs = model.embeddings_and_outputs(pixels)
        else:
            embedding, outputs = np.empty((len(rows), 0), np.float32), model.outputs(pixels)
        return outputs, embedding, thumbnails(pixels)

    starts = range(0, len(pictures), BATCH)
    whole: list[np.ndarray] = []
    with ThreadPoolExecutor(available_cores()) as pool:
        batches = progress.told(
            pool.map(work, starts), f"hashing {pictures.name}", len(starts), tell
        )
        for first, parts in zip(starts, batches, strict=True):
            # Copied at once: thousands of small arrays kept would fragment the workers' memory.
            if not whole:
                whole = [np.empty((len(pictures), *part.shape[1:]), part.dtype) for part in parts]
            for rows, part in zip(whole, parts, strict=True):
                rows[first : first + len(part)] = part
    outputs, embedding, small = whole
    return Encoded(outputs, embedding if model.shows_embeddings else None, small)


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """uint8 [n, s, s, 3] -> float32 [n, 16 * 12 * 3] in 0-1, by averaging areas."""
    if pixels.shape[1] < ROWS:  # every area needs a pixel
        pixels = pixels.repeat(ROWS, axis=1).repeat(ROWS, axis=2)
    size = pixels.shape[1]
    rows = np.linspace(0, size, ROWS + 1).astype(int)
    columns = np.linspace(0, size, COLUMNS + 1).astype(int)
    sums = np.add.reduceat(pixels, rows[:-1], axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns[:-1], axis=2)
    area = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    return (sums / (area[None, :, :, None] * 255)).astype(np.float32).reshape(len(pixels), -1)
