"""CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009), read from
the files of its binary version.

A file is a row of records of 3,073 bytes: the class, then 32 x 32 red, green and blue values.
Format and files: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data import DataError, Pictures, Source

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_cifar(files: list[Path], source: Source) -> Pictures:
    """The pictures of the files, in their order, as PNG; every one is a group by itself, named by
    its file and its place in it.  Raises DataError, also for files of BATCHES that are meant by
    `source.files` but not among `files`."""
    there = {file.name for file in files}
    pattern = Path(source.files).name
    for name in BATCHES:
        if Path(name).match(pattern) and name not in there:
            raise DataError(
                f"{files[0].parent} lacks {name}; unpack cifar-10-binary.tar.gz there again"
            )
    parts = [_records(file) for file in files]
    records = np.concatenate(parts)
    (label,) = source.labels or {"class": ""}
    names = source.rename.get(label, {})
    classes = np.array([names.get(name, name) for name in CLASSES], str)
    groups = [
        f"{file.name} {row}"
        for file, part in zip(files, parts, strict=True)
        for row in range(len(part))
    ]
    return Pictures(
        source.name,
        {label: classes[records[:, 0]]},
        np.array(groups),
        lambda row: _png(records[row]),
    )


def _records(file: Path) -> np.ndarray:
    """uint8 [n, RECORD].  Raises DataError."""
    try:
        values = np.fromfile(file, np.uint8)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    if not len(values) or len(values) % RECORD:
        raise DataError(
            f"{file} has {len(values)} bytes, not {RECORD:,} for every picture; it is cut off, or "
            "not a file of CIFAR-10's binary version"
        )
    records = values.reshape(-1, RECORD)
    if (wrong := records[:, 0] >= len(CLASSES)).any():
        row = int(wrong.argmax())
        raise DataError(
            f"{file}, picture {row}: the class is {records[row, 0]}, the classes are 0 to "
            f"{len(CLASSES) - 1}; it is not a file of CIFAR-10's binary version"
        )
    return records


def _png(record: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    pixels = record[1:].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()
