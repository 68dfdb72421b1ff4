"""Floors: views of pictures that need no training.  A model near them has learned nothing."""

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, pack
from trainer.evaluation.distances import by_euclidean, by_hamming
from trainer.evaluation.encode import COLUMNS, ROWS, Encoded
from trainer.evaluation.views import View

RAW_PIXELS = f"raw pixels, {COLUMNS}x{ROWS}"
PCA = f"signs of {CODE_BITS} PCA axes"
RANDOM = "random codes"

CHUNK = 1024


def floors(sets: dict[str, Encoded], seen: np.ndarray) -> list[View]:
    """Raw pixels, signs of principal axes and random codes.

    seen: thumbnails float32 [n, d] of what a model may be trained on; the axes are theirs.
    """
    mean, axes = _principal_axes(seen)
    random = np.random.default_rng(0)
    thumbnails = {name: one.thumbnails for name, one in sets.items()}
    signs = {name: pack((rows - mean) @ axes) for name, rows in thumbnails.items()}
    chance = {
        name: random.integers(0, 256, (len(rows), CODE_BYTES), np.uint8)
        for name, rows in thumbnails.items()
    }
    return [
        View(RAW_PIXELS, thumbnails, by_euclidean),
        View(PCA, signs, by_hamming),
        View(RANDOM, chance, by_hamming),
    ]


def _principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and the 64 axes of largest variance [d, 64] of float32 rows [n, d]."""
    mean = rows.mean(axis=0)
    scatter = np.zeros((len(mean), len(mean)))
    for i in range(0, len(rows), CHUNK):  # in chunks: all rows in float64 would take 330 MB
        centred = (rows[i : i + CHUNK] - mean).astype(np.float64)
        scatter += centred.T @ centred
    _, axes = np.linalg.eigh(scatter)
    return mean, axes[:, -CODE_BITS:].astype(np.float32)
