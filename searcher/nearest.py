"""The nearest rows to a code, exactly, by the way that costs least.

Few rows that may be answered are compared one by one.  Else the tables are asked; where the nearest
rows lie too far away for them, all rows are scanned.  Every way gives the wanted rows and all that
are as near as the last of them, so that any order among equal distances can be made of them.
"""

import collections
import dataclasses
import functools
import threading
from collections.abc import Callable

import faiss
import numpy as np

from hashing.codes import CODE_BITS, hamming
from searcher import tables as tables_
from searcher.tables import Tables

FEW = 1 / 20
"""Share of all rows up to which those that may be answered are compared one by one."""
SAMPLE = 4096
"""Least rows to guess from how far a scan must look."""
SAMPLE_SHARE = 1 / 128


@dataclasses.dataclass(frozen=True)
class Among:
    """Rows that may be answered, by one of the two; all of them by none."""

    rows: np.ndarray | None = None
    """int64 or uint32 [n], each once, where they are few."""
    keep: Callable[[np.ndarray], np.ndarray] | None = None
    """rows [f] -> bool [f], where they are many."""


ALL = Among()


class Nearest:
    """Search among the codes of one index; safe to use from several threads.

    ways: how often each way led to an answer, by name: `rows` (of a filter, one by one), `nflip 1`
    and so on (the tables, with so many bits flipped), `scan`.
    """

    def __init__(self, index: faiss.IndexBinaryFlat, tables: Tables | None, steps: int | None):
        """steps: of an approximate index, the last step of lookup; what was found by then is the
        answer.  None: exact."""
        self.codes = codes_of(index)
        self.ways: collections.Counter[str] = collections.Counter()
        self._index, self._tables, self._steps = index, tables, steps
        self._lock = threading.Lock()
        stride = max(1, min(len(self.codes) // SAMPLE, int(1 / SAMPLE_SHARE)))
        self._sampled = np.arange(0, len(self.codes), stride)

    def find(
        self, code: np.ndarray, wanted: int, farthest: int = CODE_BITS, among: Among = ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances int32 [f] and rows int64 [f], in no order: the `wanted` nearest rows up to
        distance `farthest` (all of them if they are fewer) and those as near as the last.

        code: uint8 [8].  Of an approximate index some of them may be missing, but never so many
        that fewer than wanted are left.
        """
        way, distances, rows = self._find(code, wanted, farthest, among)
        with self._lock:
            self.ways[way] += 1
        return _cut(distances, rows, wanted, farthest)

    def _find(
        self, code: np.ndarray, wanted: int, farthest: int, among: Among
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """The way that was gone, distances [f] and rows [f]."""
        if among.rows is not None:
            return "rows", hamming(code, self.codes.take(among.rows, axis=0)), among.rows
        if self._tables is not None and wanted < len(self.codes):
            found = tables_.look_up(
                self._tables, self.codes, code, wanted, farthest, among.keep, self._steps
            )
            is_enough = self._steps is not None and len(found.rows) >= wanted
            if found.is_complete or is_enough:
                nflip = found.last_step // self._tables.count
                return f"nflip {nflip}", found.distances, found.rows
            farthest = found.limit
        return "scan", *self._scan(code, wanted, farthest, among)

    def _scan(
        self, code: np.ndarray, wanted: int, farthest: int, among: Among
    ) -> tuple[np.ndarray, np.ndarray]:
        """Look at all rows, at least as far as the wanted ones lie."""
        radius = farthest if wanted >= len(self.codes) else self._guess(code, wanted, among)
        while True:
            radius = min(radius, farthest)
            _, distances, rows = self._index.range_search(code[None], radius + 1)
            if among.keep is not None:
                kept = among.keep(rows)
                distances, rows = distances[kept], rows[kept]
            if len(rows) >= wanted or radius == farthest:
                return distances, rows
            radius += 2

    @functools.cached_property
    def _sample(self) -> np.ndarray:
        """The codes of the sampled rows, uint64 [s], side by side: gathering them takes longer than
        comparing them."""
        return tables_.as_words(self.codes.take(self._sampled, axis=0))

    def _guess(self, code: np.ndarray, wanted: int, among: Among) -> int:
        """A distance up to which the wanted rows probably lie, from a sample of all rows."""
        distances = np.bitwise_count(self._sample ^ tables_.as_words(code)[0])
        if among.keep is not None:
            distances = distances[among.keep(self._sampled)]
        share = len(self._sampled) / len(self.codes)
        # As many of the sample as stand for the wanted, and what chance may take of them.
        expected = wanted * share
        needed = wanted if share == 1 else int(expected + 3 * expected**0.5) + 4
        if len(distances) < needed:
            return CODE_BITS
        return int(np.partition(distances, needed - 1)[needed - 1])


def _cut(
    distances: np.ndarray, rows: np.ndarray, wanted: int, farthest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the rows that are not farther away than the last of the wanted."""
    if wanted < len(rows):
        farthest = min(farthest, int(np.partition(distances, wanted - 1)[wanted - 1]))
    near = distances <= farthest
    return distances[near].astype(np.int32), rows[near].astype(np.int64)


def codes_of(index: faiss.IndexBinaryFlat) -> np.ndarray:
    """The codes in an opened index, not copied: uint8 [rows, 8], valid while `index` lives."""
    codes: np.ndarray = faiss.rev_swig_ptr(index.xb.data(), index.ntotal * index.code_size)
    codes = codes.reshape(index.ntotal, index.code_size)
    codes.flags.writeable = False  # the file is mapped for reading only
    return codes


RECALL_AT = 10
RECALL = 0.95
RECALL_QUERIES = 200
PHOTO_BITS = 4
"""Bits flipped to stand for a photo, which hardly ever has the code of the shop's own picture."""


def steps_for_recall(index: faiss.IndexBinaryFlat, tables: Tables) -> tuple[int, float] | None:
    """How many steps of lookup an approximate index needs, and the recall they give: the first
    number of steps with a recall@10 of RECALL, in the mean over a sample of the index's own codes
    as queries, and as well over the same with PHOTO_BITS bits of each flipped; the recall is that
    of the own codes.  None when there is no such number.  A row counts as found when it is not
    farther away than the tenth nearest."""
    exact = Nearest(index, tables, None)
    rows = np.linspace(0, len(exact.codes) - 1, RECALL_QUERIES).astype(np.int64)
    own = exact.codes.take(rows, axis=0)
    bits = np.random.default_rng(0).random((len(own), CODE_BITS)).argsort(axis=1)[:, :PHOTO_BITS]
    flipped = np.zeros((len(own), CODE_BITS), np.uint8)
    np.put_along_axis(flipped, bits, 1, axis=1)
    queries = np.concatenate([own, own ^ np.packbits(flipped, axis=1)])
    tenth = [exact.find(code, RECALL_AT)[0].max() for code in queries]
    for steps in range(2 * tables.count - 1, tables.count * (tables_.LARGEST_FLIPS + 1)):
        fast = Nearest(index, tables, steps)
        found = [
            min(int((fast.find(code, RECALL_AT)[0] <= farthest).sum()), RECALL_AT)
            for code, farthest in zip(queries, tenth, strict=True)
        ]
        of_own, of_flipped = np.reshape(found, (2, -1)).mean(axis=1) / RECALL_AT
        if min(of_own, of_flipped) >= RECALL:
            return steps, float(of_own)
    return None
