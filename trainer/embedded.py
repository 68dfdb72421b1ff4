"""What a fixed backbone sees: float embeddings of a few views of every picture, computed once, and
which pictures lie next to each other in them."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import faiss
import numpy as np
import torch

from trainer import processes

PICTURES = 64
"""At a time."""
NEIGHBOURHOODS = 4096
"""At most: assigning a million pictures to more would take hours."""


def embedded(see: Callable[[np.ndarray], torch.Tensor], n: int, label: str, path: Path):
    """Embeddings float16 [n, width] of one view of all n pictures, memory-mapped.

    see: rows int64 [r] -> embeddings float [r, width] of these pictures.  label: of the progress
    bar.  path: the file that keeps them; if it is there, nothing is computed.  Under torchrun the
    processes share the work.
    """
    staged = path.with_suffix(".tmp")
    if not path.exists():
        starts = range(0, n, PICTURES)[processes.rank() :: processes.count()]
        with torch.inference_mode():
            if processes.rank() == 0:
                width = see(np.arange(1)).shape[1]
                np.lib.format.open_memmap(staged, "w+", np.float16, (n, width))
            processes.wait_for_all()
            values = np.load(staged, mmap_mode="r+")
            with click.progressbar(starts, label=label, hidden=processes.rank() > 0) as bar:
                for start in bar:
                    rows = np.arange(start, min(start + PICTURES, n))
                    values[rows] = see(rows).half().cpu().numpy()
        values.flush()
        processes.wait_for_all()
        if processes.rank() == 0:
            os.replace(staged, path)
        processes.wait_for_all()
    return np.load(path, mmap_mode="r")


def neighbourhoods(embeddings: np.ndarray, size: int, path: Path) -> np.ndarray:
    """Number of the neighbourhood of every picture, int64 [n]: clusters by k-means of about `size`
    pictures, more where these would be over NEIGHBOURHOODS.

    embeddings: float [n, width].  path: the file that keeps them; if it is there, nothing is
    computed.
    """
    if processes.rank() == 0 and not path.exists():
        values = np.asarray(embeddings, np.float32)
        count = max(1, min(len(values) // size, NEIGHBOURHOODS))
        clusters = faiss.Kmeans(values.shape[1], count, niter=8, seed=1, min_points_per_centroid=1)
        clusters.train(values)
        staged = path.with_suffix(".tmp.npy")
        np.save(staged, clusters.index.search(values, 1)[1][:, 0])
        os.replace(staged, path)
    processes.wait_for_all()
    return np.load(path)
