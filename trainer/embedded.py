"""What a fixed backbone sees: float embeddings of a few views of every picture, computed once."""

import os
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from trainer import processes

PICTURES = 64
"""At a time."""


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
