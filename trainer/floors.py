"""Floors: views of pictures that need no training.  A model near them has learned nothing."""

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, pack
from trainer.views import View, by_euclidean, by_hamming

ROWS, COLUMNS = 16, 12
CHUNK = 1024


def floors(products: np.ndarray, others: np.ndarray, held_out: np.ndarray) -> list[View]:
    """Raw pixels, signs of principal axes and random codes.

    products, others: uint8 [n, s, s, 3] and [q, s, s, 3].  held_out: bool [n]; the axes are those
    of the other products.
    """
    small, small_others = thumbnails(products), thumbnails(others)
    mean, axes = _principal_axes(small[~held_out])
    random = np.random.default_rng(0)

    def signs(rows: np.ndarray) -> np.ndarray:
        return pack((rows - mean) @ axes)

    def at_random(rows: np.ndarray) -> np.ndarray:
        return random.integers(0, 256, (len(rows), CODE_BYTES), np.uint8)

    return [
        View(f"raw pixels, {COLUMNS}x{ROWS}", small, small_others, by_euclidean),
        View(f"signs of {CODE_BITS} PCA axes", signs(small), signs(small_others), by_hamming),
        View("random codes", at_random(small), at_random(small_others), by_hamming),
    ]


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """uint8 [n, s, s, 3] -> float32 [n, 16 * 12 * 3] in 0-1, by averaging areas."""
    # In chunks: sums over rows alone would take 700 MB for the whole catalogue.
    chunks = [_thumbnails(pixels[i : i + CHUNK]) for i in range(0, len(pixels), CHUNK)]
    return np.concatenate(chunks)


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    size = pixels.shape[1]
    rows = np.linspace(0, size, ROWS + 1).astype(int)
    columns = np.linspace(0, size, COLUMNS + 1).astype(int)
    sums = np.add.reduceat(pixels, rows[:-1], axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns[:-1], axis=2)
    area = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    return (sums / (area[None, :, :, None] * 255)).astype(np.float32).reshape(len(pixels), -1)


def _principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and the 64 axes of largest variance [d, 64] of float32 rows [n, d]."""
    mean = rows.mean(axis=0)
    scatter = np.zeros((len(mean), len(mean)))
    for i in range(0, len(rows), CHUNK):  # in chunks: all rows in float64 would take 330 MB
        centred = (rows[i : i + CHUNK] - mean).astype(np.float64)
        scatter += centred.T @ centred
    _, axes = np.linalg.eigh(scatter)
    return mean, axes[:, -CODE_BITS:].astype(np.float32)
