"""One pass over pictures: what the model and the floors make of them.

Pictures are decoded, encoded and forgotten a batch at a time, so that memory holds results only.
"""

import dataclasses
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch

from hashing.model import Model, find_model
from machine.settings import available_cores
from trainer.data import Pictures, pixels_of

BATCH = 64
ROWS, COLUMNS = 16, 12
"""Of a thumbnail."""

Encoder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""uint8 [n, size, size, 3] -> outputs float32 [n, 64] and, where the model shows it, the float
embedding before the hash layer, float32 [n, width]."""


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What a pass leaves of n pictures, row by row: outputs float32 [n, 64], embedding float32
    [n, width] or None, thumbnails float32 [n, 16 * 12 * 3] in 0-1."""

    outputs: np.ndarray
    embedding: np.ndarray | None
    thumbnails: np.ndarray


def encoder(path: str | Path, model: Model) -> Encoder:
    """The encoder of `model`, loaded from `path`.

    With the float embedding where the TorchScript program is made of two parts, `backbone` and
    `hash`, and is hash(backbone(inputs)), as `efiss export` writes it.
    """
    device, sidecar = model.device, model.sidecar
    program = torch.jit.load(io.BytesIO(find_model(path).read_bytes()), map_location=device).eval()
    size = sidecar.input_size
    if not _is_hash_of_backbone(program, torch.rand(2, 3, size, size, device=device)):
        return lambda batch: (model.outputs(batch), None)
    backbone, to_outputs = (
        torch.jit.freeze(part).to(memory_format=torch.channels_last)
        for part in (program.backbone, program.hash)
    )
    mean = torch.tensor(sidecar.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(sidecar.std, device=device).view(1, 3, 1, 1)

    def encode(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            inputs = torch.from_numpy(np.array(batch)).to(device).permute(0, 3, 1, 2) / 255
            embedding = backbone((inputs - mean) / std)
            outputs = to_outputs(embedding)
            return outputs.float().cpu().numpy(), embedding.float().cpu().numpy()

    return encode


def encode(pictures: Pictures, encoder: Encoder, size: int, resampling: str) -> Encoded:
    """Encode every one of at least one picture, on all cores.  Raises DataError."""
    torch.set_num_threads(1)  # the parallelism is the workers'; more threads would only fight

    def work(first: int) -> tuple[np.ndarray, ...]:
        rows = range(first, min(first + BATCH, len(pictures)))
        pixels = np.stack([pixels_of(pictures, row, size, resampling) for row in rows])
        outputs, embedding = encoder(pixels)
        if embedding is None:
            embedding = np.empty((len(rows), 0), np.float32)
        return outputs, embedding, thumbnails(pixels)

    batches = range(0, len(pictures), BATCH)
    whole = None
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        click.progressbar(
            pool.map(work, batches), length=len(batches), label=f"hashing {pictures.name}"
        ) as bar,
    ):
        for first, parts in zip(batches, bar, strict=True):
            # Copied at once: thousands of small arrays kept would fragment the workers' memory.
            if whole is None:
                whole = [np.empty((len(pictures), *part.shape[1:]), part.dtype) for part in parts]
            for rows, part in zip(whole, parts, strict=True):
                rows[first : first + len(part)] = part
    outputs, embedding, small = whole
    return Encoded(outputs, embedding if embedding.shape[1] else None, small)


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


def _is_hash_of_backbone(program: torch.jit.ScriptModule, sample: torch.Tensor) -> bool:
    if not {"backbone", "hash"} <= {name for name, _ in program.named_children()}:
        return False
    try:
        with torch.inference_mode():
            embedding = program.backbone(sample)
            outputs = program.hash(embedding)
            return embedding.dim() == 2 and torch.allclose(outputs, program(sample), atol=1e-4)
    except (RuntimeError, IndexError):  # parts of these names that do something else
        return False
