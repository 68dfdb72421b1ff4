"""A version's model tried on pictures of its catalogue, changed as pictures are on their way to a
search: each should find itself."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np

from hashing.changed import all_changed
from hashing.codes import CODE_BITS, pack
from hashing.model import Model
from hashing.picture import PictureError
from hashing.reading import read_files
from machine.container import available_cores
from machine.settings import max_pixels
from searcher.faiss_version import FaissVersion

K = 10
TIMED = 9
"""Pictures that a model is timed on, one by one."""


def tried(opened: FaissVersion, model: Model, rows: Sequence[int]) -> dict[str, float]:
    """Ask for every change of the pictures of some rows: percent of the queries that find their own
    picture, or one with the same file, by how; nothing where no picture can be read.

    model: the version's, loaded for as many threads as there are cores.  The caller sets torch's
    threads to one, as for `hash_files`.  Raises SettingError.
    """
    most_pixels = max_pixels()
    weight = model.sidecar.rank_weight if opened.has_fine_codes else None

    def found(row: int) -> np.ndarray | None:
        """bool [changes, 3]: first, first by rank `fine`, among K."""
        (data,) = read_files([opened.path(row)])
        if isinstance(data, str):
            return None
        try:
            pixels = np.stack([model.pixels(one, most_pixels) for one in all_changed(data)])
        except PictureError:
            return None
        return np.array([_found(opened, row, one, weight) for one in model.outputs(pixels)])

    with ThreadPoolExecutor(available_cores()) as pool:
        every = [one for one in pool.map(found, rows) if one is not None]
    if not every:
        return {}
    first, fine, among = (100 * np.concatenate(every).mean(axis=0)).tolist()
    by_rank_fine = {} if weight is None else {"  by rank fine": fine}
    return {"changed pictures found first": first, **by_rank_fine, "  among the first ten": among}


def milliseconds(model: Model) -> float:
    """What a model takes for a picture on one core, the median of some."""
    picture = np.zeros((1, *(model.sidecar.input_size,) * 2, 3), np.uint8)
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        model.outputs(picture)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def _found(
    opened: FaissVersion, row: int, outputs: np.ndarray, weight: float | None
) -> tuple[bool, bool, bool]:
    code = pack(outputs[None, :CODE_BITS])[0]
    near, _ = opened.select(code, K, outputs)
    fine, _ = opened.select(code, 1, outputs, weight=weight)
    own = _is_of(opened, row, near)
    return bool(own[0]), bool(_is_of(opened, row, fine)[0]), bool(own.any())


def _is_of(opened: FaissVersion, row: int, found: np.ndarray) -> np.ndarray:
    """Whether rows int64 [f] have the same file as one: bool [f]."""
    contents = opened.digests
    if contents is None:
        return cast(np.ndarray, found == row)
    return cast(np.ndarray, contents[found] == contents[row])
