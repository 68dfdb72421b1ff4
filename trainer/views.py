"""Views: what stands for each picture in a comparison, and how two of them are compared."""

import dataclasses
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch

from hashing.codes import hamming, pack
from hashing.model import Model, Sidecar, find_model
from hashing.settings import available_cores
from trainer.measures import Distances

BATCH = 64

Embed = Callable[[np.ndarray], np.ndarray]
"""uint8 [n, size, size, 3] -> float32 [n, width]."""


@dataclasses.dataclass(frozen=True)
class View:
    """One way to compare pictures.

    products: a row per product, [n, ...].  others: a row per other picture of a product, [q, ...].
    between: (rows of the queries, rows of the gallery) -> their distances.
    """

    name: str
    products: np.ndarray
    others: np.ndarray
    between: Callable[[np.ndarray, np.ndarray], Distances]


def by_hamming(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Hamming distances of codes uint8 [q, 8] and [n, 8], in bits: uint8 [b, n]."""

    def distances(rows: slice) -> np.ndarray:
        return np.stack([hamming(code, gallery).astype(np.uint8) for code in queries[rows]])

    return distances


def by_cosine(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """1 - cosine of float rows [q, d] and [n, d]: float32 [b, n]."""
    queries, gallery = _unit(queries), _unit(gallery)
    return lambda rows: 1 - queries[rows] @ gallery.T


def by_euclidean(queries: np.ndarray, gallery: np.ndarray) -> Distances:
    """Squared Euclidean distances of float rows [q, d] and [n, d], less each query's own square
    (which orders nothing): float32 [b, n]."""
    squares = (gallery**2).sum(axis=1)
    return lambda rows: squares - 2 * (queries[rows] @ gallery.T)


def float_embedding(path: str | Path, sidecar: Sidecar, device: str = "cpu") -> Embed | None:
    """What the network of `trainer.backbone` has before its hash layer; None for a model that is
    not built like it: its outputs are not hash(mean over places of stages(stem(inputs)))."""
    program = torch.jit.load(io.BytesIO(find_model(path).read_bytes()), map_location=device).eval()
    size = sidecar.input_size
    if not _is_built_like_ours(program, torch.zeros(1, 3, size, size, device=device)):
        return None
    stem, stages = (
        torch.jit.freeze(part).to(memory_format=torch.channels_last)
        for part in (program.stem, program.stages)
    )
    mean = torch.tensor(sidecar.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(sidecar.std, device=device).view(1, 3, 1, 1)

    def embed(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            inputs = torch.from_numpy(np.array(batch)).to(device).permute(0, 3, 1, 2) / 255
            return stages(stem((inputs - mean) / std)).mean(dim=(2, 3)).cpu().numpy()

    return embed


def _is_built_like_ours(program: torch.jit.ScriptModule, sample: torch.Tensor) -> bool:
    if not {"stem", "stages", "hash"} <= {name for name, _ in program.named_children()}:
        return False
    try:
        with torch.inference_mode():
            features = program.stages(program.stem(sample)).mean(dim=(2, 3))
            return torch.allclose(program.hash(features), program(sample), atol=1e-4)
    except (RuntimeError, IndexError):  # parts of these names that do something else
        return False


def through(embeds: list[Embed], pixels: np.ndarray, label: str) -> list[np.ndarray]:
    """What each of `embeds` gives for uint8 [n, size, size, 3] pictures, on all cores."""
    torch.set_num_threads(1)  # the parallelism is the workers'; more threads would only fight
    batches = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]

    def work(batch: np.ndarray) -> list[np.ndarray]:
        return [embed(batch) for embed in embeds]

    whole = None
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        click.progressbar(pool.map(work, batches), length=len(batches), label=label) as bar,
    ):
        for number, parts in enumerate(bar):
            # Copied at once: thousands of small arrays kept would fragment the workers' memory.
            if whole is None:
                whole = [np.empty((len(pixels), *part.shape[1:]), part.dtype) for part in parts]
            for rows, part in zip(whole, parts, strict=True):
                rows[number * BATCH :][: len(part)] = part
    return whole


def model_views(
    model: Model, embed: Embed | None, products: np.ndarray, others: np.ndarray
) -> list[View]:
    """The model's codes; its outputs before they become bits; and, where `embed` is given, the
    float embedding before the hash layer: the ceiling of what its codes can keep.

    products, others: uint8 [n, size, size, 3] and [q, size, size, 3].
    """
    embeds = [model.outputs, embed] if embed else [model.outputs]
    ours = through(embeds, products, "hashing products")
    theirs = through(embeds, others, "hashing other pictures of products")
    views = [
        View("codes", pack(ours[0]), pack(theirs[0]), by_hamming),
        View("same outputs, cosine", ours[0], theirs[0], by_cosine),
    ]
    if embed:
        views.append(View("float embedding, cosine", ours[1], theirs[1], by_cosine))
    return views


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-12)
