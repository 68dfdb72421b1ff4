"""Files -> codes, on all cores.

Worker threads each take a batch of files: read, look up, decode, hash.  Pillow and torch let go of
the interpreter lock while they work, so threads keep all cores busy without copying pictures or
loading the model once a process; on a GPU the same threads feed it.
"""

import dataclasses
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from hashing.codes import CODE_BYTES
from hashing.model import Model
from hashing.picture import MAX_PIXELS, PictureError
from hashing.settings import BATCH_SIZE

KnownCode = Callable[[bytes], bytes | None]


@dataclasses.dataclass(frozen=True)
class Hashed:
    """One file: its sha256 digest and its code (8 bytes), or the reason why it has none.

    computed: whether the code was computed now (False: known before).
    """

    path: str
    digest: bytes | None = None
    code: bytes | None = None
    reason: str | None = None
    computed: bool = False


def hash_files(
    paths: list[str],
    model: Model,
    *,
    workers: int,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    known: KnownCode = lambda digest: None,
) -> Iterator[Hashed]:
    """Hash files in parallel; yields one `Hashed` per path, in the order of `paths`.

    workers: threads.  batch_size: files a thread takes at a time, and the model's batch.
    known: the code of a digest, when it was computed before.
    """
    torch.set_num_threads(1)  # the parallelism is the workers'; more threads would only fight

    def hash_batch(batch: list[str]) -> list[Hashed]:
        return _hash_batch(batch, model, batch_size, max_pixels, known)

    batches = (paths[i : i + batch_size] for i in range(0, len(paths), batch_size))
    with ThreadPoolExecutor(workers) as pool:
        running = deque()
        try:
            for batch in batches:
                running.append(pool.submit(hash_batch, batch))
                if len(running) > 2 * workers:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _hash_batch(paths, model, batch_size, max_pixels, known) -> list[Hashed]:
    done, rows = [], []
    # Always a whole batch, empty rows included: the same shape takes the same way through the
    # network, so that a code does not depend on which other files were still to be hashed.
    size = model.sidecar.input_size
    batch = np.zeros((batch_size, size, size, 3), np.uint8)
    for path in paths:
        hashed, pixels = _look(path, model, max_pixels, known)
        if pixels is not None:
            batch[len(rows)] = pixels
            rows.append(len(done))
        done.append(hashed)
    if rows:
        codes = model.codes(batch).tobytes()
        for i, row in enumerate(rows):
            code = codes[i * CODE_BYTES : (i + 1) * CODE_BYTES]
            done[row] = dataclasses.replace(done[row], code=code, computed=True)
    return done


def _look(path, model, max_pixels, known) -> tuple[Hashed, np.ndarray | None]:
    """What is known of a file, and its pixels if it has to be hashed."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for without end
            return Hashed(path, reason="Not a file"), None
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        return Hashed(path, reason=error.strerror or str(error)), None
    except (ValueError, MemoryError) as error:  # a NUL in the path; a file larger than the memory
        return Hashed(path, reason=str(error) or "Too large for the memory"), None
    digest = hashlib.sha256(data).digest()
    if code := known(digest):
        return Hashed(path, digest, code), None
    try:
        return Hashed(path, digest), model.pixels(data, max_pixels)
    except PictureError as error:
        return Hashed(path, digest, reason=str(error)), None
