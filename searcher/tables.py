"""Multi-index hashing: the rows near a code without looking at all rows, and how near is proved.

The 64 bits of a code are cut into `m` parts, and for every part a table says which rows have which
value there.  A row at distance d from the query differs from it in at most d // m bits in one of
the parts, so all rows up to a distance are found by looking up, in every table, the query's part
with few bits flipped (Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with
Multi-Index Hashing", IEEE TPAMI 2014).

Step s looks up all values with exactly s // m bits flipped in table s % m.  After step s every row
up to distance s has been found.  What a step costs is known before it is taken, so that a query
that is better answered by a scan is left to one.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES

FEWEST_ROWS = 300_000
"""Of an index with tables; a scan of fewer takes less time than looking up."""

TABLES = 3
"""Of 21 or 22 bits each: with millions of rows a value has a few of them."""

# What looking up costs, in rows that a scan looks at in the same time (0.85 ns each): fitted to the
# times of single steps among 1 and 10 million codes, the caches cold as after a scan.
STEP_COST, VALUE_COST, CANDIDATE_COST = 80_000, 25, 40
SHARE_OF_SCAN = 0.6
"""Steps are taken while together they cost less than this share of a scan, which then follows."""

LARGEST_FLIPS = 5
"""More than this, and there are hundreds of thousands of values to look up."""

PARTS = tuple(
    (start, end - start)
    for start, end in itertools.pairwise(CODE_BITS * part // TABLES for part in range(TABLES + 1))
)
"""(shift, width) of each part of a code, the lowest bits first."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """For every value of every part of a code, the rows that have it there."""

    starts: np.ndarray
    """uint32 [values of all parts + 1], where they begin in `rows`, part after part."""
    rows: np.ndarray
    """uint32 [TABLES * n], those of one value of one part side by side, in ascending order."""

    @property
    def fits(self) -> bool:
        """Quick check of types and sizes."""
        return (
            self.starts.dtype == self.rows.dtype == np.uint32
            and self.starts.shape == (sum(1 << width for _, width in PARTS) + 1,)
            and self.starts[-1] == len(self.rows)
        )


def build(codes: np.ndarray) -> Tables:
    """The tables of codes uint8 [n, 8], TABLES * n < 2**32."""
    words = as_words(codes)
    rows = np.empty(TABLES * len(words), np.uint32)
    starts = np.zeros(sum(1 << width for _, width in PARTS) + 1, np.uint32)
    base, end = 0, 0
    for part, (shift, width) in enumerate(PARTS):
        values = (words >> np.uint64(shift) & np.uint64((1 << width) - 1)).astype(np.uint32)
        rows[part * len(words) : (part + 1) * len(words)] = np.argsort(values, kind="stable")
        counts = np.bincount(values, minlength=1 << width)
        starts[base + 1 : base + len(counts) + 1] = end + np.cumsum(counts)
        base, end = base + len(counts), end + len(words)
    return Tables(starts, rows)


@dataclasses.dataclass(frozen=True)
class Found:
    """Rows found by lookup, each once, in no order."""

    distances: np.ndarray
    """int32 [f]"""
    rows: np.ndarray
    """int64 [f]"""
    last_step: int
    """The last one taken."""
    limit: int
    """What was asked for is not farther away than this."""
    is_complete: bool
    """Whether all rows up to `limit` are among them."""


def look_up(
    tables: Tables,
    codes: np.ndarray,
    code: np.ndarray,
    wanted: int,
    farthest: int = CODE_BITS,
    keep: Callable[[np.ndarray], np.ndarray] | None = None,
    steps: int | None = None,
) -> Found:
    """The `wanted` nearest rows up to distance `farthest`, and all others as near as the last.

    codes: uint8 [n, 8], those of the tables.  code: uint8 [8], the query.  keep: rows [f] -> bool
    [f], those that may be answered.  steps: the last step to take (with those joined to it),
    whatever it costs; without it they are taken while they are worth it.  In both cases the result
    may be incomplete.
    """
    budget = SHARE_OF_SCAN * len(codes)
    query = as_words(code)[0]
    distances, rows = [np.empty(0, np.uint8)], [np.empty(0, np.uint32)]
    found = np.zeros(CODE_BITS + 1, np.int64)  # at each distance
    limit, taken = farthest, -1
    for step in _steps():
        values = ((step.flipped ^ query) >> step.shift & step.cut).astype(np.int64) + step.base
        starts = tables.starts.take(values)
        counts = (tables.starts.take(values + 1) - starts).astype(np.int64)
        candidates = int(counts.sum())
        budget -= STEP_COST + VALUE_COST * len(values) + CANDIDATE_COST * candidates
        if steps is None and budget < 0:
            break
        taken = step.last
        own = tables.rows.take(_ranges(starts, counts, candidates))
        differing = as_words(codes.take(own, axis=0)) ^ query
        far = np.bitwise_count(differing)
        near = (far <= limit).nonzero()[0]
        if len(near):
            numbers = np.repeat(step.numbers, counts).take(near)
            near = near[_first_steps(differing.take(near)) == numbers]
            own = own.take(near)
            far = far.take(near)
            if keep is not None:
                kept = keep(own)
                own, far = own[kept], far[kept]
            distances.append(far)
            rows.append(own)
            found += np.bincount(far, minlength=CODE_BITS + 1)
            limit = min(farthest, int(np.searchsorted(found.cumsum(), wanted)))
        if limit <= taken:
            break
        if steps is None:
            if taken >= LONG_STEPS and not _is_worth_it(taken, limit, len(codes), budget):
                break
        elif taken >= steps:
            break
    return Found(
        np.concatenate(distances).astype(np.int32),
        np.concatenate(rows).astype(np.int64),
        taken,
        limit,
        limit <= taken,
    )


def as_words(codes: np.ndarray) -> np.ndarray:
    """Codes as numbers: uint8 [..., 8] -> uint64 [n]."""
    return np.ascontiguousarray(codes).reshape(-1, CODE_BYTES).view(np.uint64)[:, 0]


LONG_STEPS = 3 * TABLES - 1
"""The steps after this one, with three bits flipped and more, are long."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """Values to look up, one an entry of every array."""

    flipped: np.ndarray
    """uint64, the query's bits to flip."""
    shift: np.ndarray
    """uint64, the lowest bit of the part."""
    cut: np.ndarray
    """uint64, as many bits as it has."""
    base: np.ndarray
    """int64, where the part's values begin in `starts`."""
    numbers: np.ndarray
    """int64, the step that has this value."""
    last: int
    """The largest of these numbers."""


def _steps() -> Iterator[_Step]:
    """The steps in their order; the short ones joined, since each costs more than its values do."""
    yield _joined(0, 2 * TABLES)
    yield _joined(2 * TABLES, LONG_STEPS + 1)
    for number in range(LONG_STEPS + 1, TABLES * (LARGEST_FLIPS + 1)):
        yield _step(number)


@functools.cache
def _joined(first: int, end: int) -> _Step:
    """The steps from `first` up to but not with `end`, as one."""
    steps = [_step(number) for number in range(first, end)]
    joined = {
        field.name: np.concatenate([getattr(step, field.name) for step in steps])
        for field in dataclasses.fields(_Step)[:-1]
    }
    return _Step(**joined, last=steps[-1].last)


@functools.cache
def _step(number: int) -> _Step:
    flips, part = divmod(number, TABLES)
    shift, width = PARTS[part]
    bits = itertools.combinations(range(shift, shift + width), flips)
    flipped = np.array([sum(1 << bit for bit in some) for some in bits], np.uint64)
    base = sum(1 << width for _, width in PARTS[:part])

    def full(value: int, kind: type) -> np.ndarray:
        return np.full(len(flipped), value, kind)

    return _Step(
        flipped,
        full(shift, np.uint64),
        full((1 << width) - 1, np.uint64),
        full(base, np.int64),
        full(number, np.int64),
        number,
    )


def _first_steps(differing: np.ndarray) -> np.ndarray:
    """Number of the first step that finds a row, from the bits uint64 [f] in which it differs from
    the query."""
    numbers = []
    for part, (shift, width) in enumerate(PARTS):
        own = differing >> np.uint64(shift) & np.uint64((1 << width) - 1)
        numbers.append(TABLES * np.bitwise_count(own) + np.uint8(part))
    first: np.ndarray = np.minimum.reduce(numbers)
    return first


def _is_worth_it(taken: int, limit: int, rows: int, budget: float) -> bool:
    """Whether the steps up to `limit` would stay within the budget if all values had as many
    rows."""
    for number in range(taken + 1, limit + 1):
        if number // TABLES > LARGEST_FLIPS:
            return False
        width = PARTS[number % TABLES][1]
        values = math.comb(width, number // TABLES)
        budget -= STEP_COST + (VALUE_COST + CANDIDATE_COST * rows / 2**width) * values
    return budget >= 0


def _ranges(starts: np.ndarray, counts: np.ndarray, total: int) -> np.ndarray:
    """The numbers start, start + 1, … of every start, count of them: int64 [total]."""
    before = np.cumsum(counts) - counts
    numbers: np.ndarray = np.arange(total) + np.repeat(starts - before, counts)
    return numbers
