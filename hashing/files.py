"""Files -> codes, on all cores.

Worker threads look at files (read, look up, decode) and hash whole batches of what has no code yet.
Pillow and the engine let go of the interpreter lock while they work, so threads keep the cores busy
without copying pictures or loading the model once a process: on two cores, processes that decode
are no faster.  On a GPU the same threads feed it.
"""

import dataclasses
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from hashing import remote
from hashing.codes import pack
from hashing.model import Model
from hashing.picture import MAX_PIXELS, PictureError
from hashing.reading import read_files
from machine.settings import BATCH_SIZE

KnownCode = Callable[[bytes], bytes | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Hashed:
    """One file: its code, or the reason why it has none."""

    path: str
    digest: bytes | None = None
    """sha256 of its bytes, 32; None where they could not be read."""
    code: bytes | None = None
    """Its code, and behind it the longer one of a model that has it."""
    outputs: bytes | None = dataclasses.field(default=None, compare=False, repr=False)
    """What the code was made of, float32 [outputs], where it was computed in this process."""
    reason: str | None = None
    computed: bool = False
    """Whether the code was computed for this file.  False: it was known before, or computed for
    another file with the same bytes."""

    @property
    def is_complete(self) -> bool:
        """False: another file with the same bytes will have the code, or the reason."""
        return self.code is not None or self.reason is not None


def hash_files(
    paths: Sequence[str],
    model: Model,
    *,
    workers: int,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    known: KnownCode = lambda digest: None,
) -> Iterator[Hashed]:
    """Hash files in parallel; yields one `Hashed` per path, in the order of `paths`.

    paths: files of this machine, or URLs (see `remote`).  model: loaded for as many threads.
    workers: threads.  batch_size: files a thread looks at in one go, and the model's batch.
    known: the code of a digest, when it was computed before; called from the threads.  Where it
    answers with the codes that were yielded, files of the same bytes are hashed once.
    The caller sets `torch.set_num_threads(1)` for its process: the parallelism is the workers', and
    threads of torch beside them would only fight.
    Raises remote.RemoteError.
    """
    remote.check(paths)
    in_hand = _InHand(known)

    def look(chunk: Sequence[str]) -> list[_Looked]:
        return [
            _look(path, data, model, max_pixels, in_hand)
            for path, data in zip(chunk, read_files(chunk), strict=True)
        ]

    def hash_batch(files: list[_Looked]) -> list[Hashed]:
        return _hash_batch(files, model, batch_size)

    pool = ThreadPoolExecutor(workers)
    try:
        chunks = (paths[i : i + batch_size] for i in range(0, len(paths), batch_size))
        looked = chain.from_iterable(_in_order(pool, look, chunks, 2 * workers))
        hashed = chain.from_iterable(
            _in_order(pool, hash_batch, _batches(looked, batch_size), workers)
        )
        yield from completed(hashed, in_hand.release)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """function(item) for every item, in the order of items; the pool works `ahead` of them."""
    running: deque = deque()
    for item in items:
        running.append(pool.submit(function, item))
        if len(running) > ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def completed(
    files: Iterable[Hashed], release: Callable[[bytes | None], bool] = lambda digest: False
) -> Iterator[Hashed]:
    """The same files in the same order, now with those that share another's bytes.

    release: called with the digest of every file once it was yielded; True when no file of that
    content can follow.  As long as one can, its result is kept in memory.
    """
    results: dict[bytes | None, Hashed] = {}
    waiting: deque[Hashed] = deque()
    for file in files:
        if file.is_complete:
            results[file.digest] = file
        waiting.append(file)
        # The file that was hashed may stand further on: whoever reads them overtakes another.
        while waiting and (waiting[0].is_complete or waiting[0].digest in results):
            file = waiting.popleft()
            if not file.is_complete:
                first = results[file.digest]
                file = dataclasses.replace(
                    file, code=first.code, outputs=first.outputs, reason=first.reason
                )
            yield file
            if release(file.digest):
                results.pop(file.digest, None)


# -- looking at files ----------------------------------------------------------------------------


class _InHand:
    """Whose bytes are being hashed, so that nobody hashes the same bytes beside them."""

    def __init__(self, known: KnownCode):
        self._known = known
        self._lock = threading.Lock()
        self._users: dict[bytes | None, int] = {}  # digest -> files of it that are under way

    def take(self, digest: bytes) -> tuple[bool, bytes | None]:
        """(whether the caller is to hash it, its code if that is known).  With neither, another
        file under way has the same bytes, and `completed` will give this one the same result."""
        with self._lock:
            if digest in self._users:
                self._users[digest] += 1
                return False, None
            if code := self._known(digest):
                return False, code
            self._users[digest] = 1
            return True, None

    def release(self, digest: bytes | None) -> bool:
        """Note that a file of this content was yielded, so that whoever took it can have made its
        code known; whether it was the last one under way."""
        with self._lock:
            left = self._users.pop(digest, 1) - 1
            if left:
                self._users[digest] = left
            return not left


_Looked = tuple[Hashed, np.ndarray | None]
"""A file, and its pixels if it has to be hashed."""


def _look(path: str, data: bytes | str, model, max_pixels: int, in_hand: _InHand) -> _Looked:
    if isinstance(data, str):
        return Hashed(path, reason=data), None
    digest = hashlib.sha256(data).digest()
    mine, code = in_hand.take(digest)
    if not mine:
        return Hashed(path, digest, code), None
    try:
        return Hashed(path, digest), model.pixels(data, max_pixels)
    except PictureError as error:
        return Hashed(path, digest, reason=str(error)), None


# -- hashing -------------------------------------------------------------------------------------


def _batches(files: Iterable[_Looked], batch_size: int) -> Iterator[list[_Looked]]:
    """Runs of files with `batch_size` to be hashed in each, or fewer where those are rare."""
    batch, to_hash = [], 0
    for file in files:
        batch.append(file)
        to_hash += file[1] is not None
        if to_hash == batch_size or len(batch) == 100 * batch_size:
            yield batch
            batch, to_hash = [], 0
    if batch:
        yield batch


def _hash_batch(files: list[_Looked], model: Model, batch_size: int) -> list[Hashed]:
    done = [file for file, _ in files]
    pixels = {row: picture for row, (_, picture) in enumerate(files) if picture is not None}
    if not pixels:
        return done
    outputs = outputs_of(list(pixels.values()), model, batch_size)
    for row, code, own in zip(pixels, pack(outputs), outputs, strict=True):
        done[row] = dataclasses.replace(
            done[row], code=code.tobytes(), outputs=own.tobytes(), computed=True
        )
    return done


def outputs_of(pixels: list[np.ndarray], model: Model, batch_size: int) -> np.ndarray:
    """The outputs of at most batch_size pictures, each uint8 [input_size, input_size, 3]: float32
    [n, outputs]."""
    # Always a whole batch, empty rows included: the same shape takes the same way through the
    # network, so that a code does not depend on which other files were still to be hashed.
    size = model.sidecar.input_size
    batch = np.zeros((batch_size, size, size, 3), np.uint8)
    for place, picture in enumerate(pixels):
        batch[place] = picture
    return model.outputs(batch)[: len(pixels)]
