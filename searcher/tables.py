"""Multi-index hashing: the rows near a code without looking at all rows, and how near is proved.

The 64 bits of a code are cut into `m` parts, and for every part a table says which rows have which
value there.  A row at distance d from the query differs from it in at most d // m bits in one of
the parts, so all rows up to a distance are found by looking up, in every table, the query's part
with few bits flipped (Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with
Multi-Index Hashing", IEEE TPAMI 2014).

Step s looks up all values with exactly s // m bits flipped in table s % m.  After step s every row
up to distance s has been found.  What a step costs is known before it is taken, so that a query
that is better answered by a scan is left to one.

Beside a row a table has 32 further bits of its code.  Most rows of a value are far away, which
these bits tell where they stand side by side; a row's code, somewhere in memory, is looked at only
when they do not.
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

FOUR_TABLES = 500_000
"""Up to so many rows a code is cut into four parts of 16 bits, beyond into three of 21 or 22: the
more rows, the more values it takes that few of them share one."""

CHECK_BITS = 32
"""Of a row's code, beside the row: those behind the part, and again from the lowest on."""

# What looking up costs, in rows that a scan looks at in the same time (0.85 ns each): fitted to the
# times of single steps among 1 to 100 million codes, the caches cold as after a scan.
STEP_COST, VALUE_COST, CANDIDATE_COST, ROW_COST = 80_000, 80, 9, 40
"""Of a step; of a value; of a row that stands there; of one that is looked at in the codes."""
SHARE_OF_SCAN = 0.6
"""Steps are taken while together they cost less than this share of a scan, which then follows."""

LARGEST_FLIPS = 5
"""More than this, and there are hundreds of thousands of values to look up."""


@functools.cache
def cut(tables: int) -> tuple[tuple[int, int], ...]:
    """(shift, width) of each part of a code that is cut into so many, the lowest bits first."""
    bounds = [CODE_BITS * part // tables for part in range(tables + 1)]
    return tuple((start, end - start) for start, end in itertools.pairwise(bounds))


def tables_for(rows: int) -> int:
    """Into how many parts the codes of so many rows are cut."""
    return 4 if rows <= FOUR_TABLES else 3


def values_in(tables: int) -> int:
    """How many values all parts have together."""
    return sum(1 << width for _, width in cut(tables))


@dataclasses.dataclass(frozen=True)
class Tables:
    """For every value of every part of a code, the rows that have it there."""

    starts: np.ndarray
    """uint32 [values of all parts + 1], where they begin in `rows`, part after part."""
    rows: np.ndarray
    """uint64 [m * n]: the row in the lower half, its further bits in the upper.  Those of one value
    of one part stand side by side, in ascending order.  uint32 of versions that were published
    before there were further bits."""

    @functools.cached_property
    def count(self) -> int:
        """m, the number of tables; 0 where `starts` is of none."""
        return next((m for m in (3, 4) if len(self.starts) == values_in(m) + 1), 0)

    @property
    def has_checks(self) -> bool:
        return self.rows.dtype == np.uint64

    def fit(self, rows: int) -> bool:
        """Quick check of types and sizes, for an index of so many rows."""
        return (
            self.starts.dtype == np.uint32
            and self.starts.ndim == self.rows.ndim == 1
            and self.rows.dtype in (np.uint32, np.uint64)
            and self.count > 0
            and self.starts[-1] == len(self.rows) == self.count * rows
        )


def build(codes: np.ndarray, tables: int | None = None) -> Tables:
    """The tables of codes uint8 [n, 8], m * n < 2**32.  tables: m, by default `tables_for` them."""
    words, count = as_words(codes), len(codes)
    parts = cut(tables or tables_for(count))
    rows = np.empty(len(parts) * count, np.uint64)
    starts = np.zeros(values_in(len(parts)) + 1, np.uint32)
    base = 1
    for part, (shift, width) in enumerate(parts):
        own = rows[part * count : (part + 1) * count]
        np.bitwise_and(words >> np.uint64(shift), np.uint64((1 << width) - 1), out=own)
        own <<= np.uint64(32)
        own |= np.arange(count, dtype=np.uint32)
        own.sort()
        values = np.arange(1, (1 << width) + 1, dtype=np.uint64) << np.uint64(32)
        starts[base : base + len(values)] = np.searchsorted(own, values) + part * count
        base += len(values)
        for start in range(0, count, _AT_ONCE):
            some = own[start : start + _AT_ONCE]
            some &= _ROW
            some |= _checks(words.take(some), np.uint64((shift + width) % CODE_BITS)).astype(
                np.uint64
            ) << np.uint64(32)
    return Tables(starts, rows)


_AT_ONCE = 1 << 20
_ROW = np.uint64(2**32 - 1)


def _checks(words: np.ndarray | np.uint64, behind: np.ndarray | np.uint64) -> np.ndarray:
    """The CHECK_BITS bits from bit `behind` on, and again from the lowest on: uint32 [n], n of what
    is an array."""
    back = (np.uint64(CODE_BITS) - behind) % np.uint64(CODE_BITS)
    return np.asarray(words >> behind | words << back).astype(np.uint32)


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
    long_steps = 3 * tables.count - 1
    for step in _steps(tables.count):
        values = ((step.flipped ^ query) >> step.shift & step.cut).astype(np.int64) + step.base
        starts = tables.starts.take(values)
        counts = (tables.starts.take(values + 1) - starts).astype(np.int64)
        candidates = int(counts.sum())
        budget -= STEP_COST + VALUE_COST * len(values)
        budget -= (CANDIDATE_COST if _is_checked(tables, limit) else ROW_COST) * candidates
        if steps is None and budget < 0:
            break
        taken = step.last
        own = tables.rows.take(_ranges(starts, counts, candidates))
        numbers = np.repeat(step.numbers, counts)
        if _is_checked(tables, limit):
            near = _may_be_near(own, query, step, counts, limit)
            own, numbers = own.take(near), numbers.take(near)
        own = own.astype(np.uint32)
        differing = as_words(codes.take(own, axis=0)) ^ query
        far = np.bitwise_count(differing)
        near = (far <= limit).nonzero()[0]
        if len(near):
            near = near[_first_steps(differing.take(near), tables.count) == numbers.take(near)]
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
            if taken >= long_steps and not _is_worth_it(tables, taken, limit, len(codes), budget):
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


def _is_checked(tables: Tables, limit: int) -> bool:
    """Whether the further bits of rows are looked at: half of them differ by chance."""
    return tables.has_checks and limit < CHECK_BITS // 2


def _may_be_near(
    rows: np.ndarray, query: np.uint64, step: "_Step", counts: np.ndarray, limit: int
) -> np.ndarray:
    """Places int64 [f] of the rows, counts of each of a step's values, that their further bits and
    the flipped ones do not tell to be farther away than `limit`."""
    own = (rows >> np.uint64(32)).astype(np.uint32)
    own ^= np.repeat(_checks(query, step.behind), counts)
    far = np.bitwise_count(own)
    far += np.repeat(step.flips, counts)
    return (far <= limit).nonzero()[0]


@dataclasses.dataclass(frozen=True)
class _Step:
    """Values to look up, one an entry of every array."""

    flipped: np.ndarray
    """uint64, the query's bits to flip."""
    shift: np.ndarray
    """uint64, the lowest bit of the part."""
    cut: np.ndarray
    """uint64, as many bits as it has."""
    behind: np.ndarray
    """uint64, the bit behind the part."""
    base: np.ndarray
    """int64, where the part's values begin in `starts`."""
    flips: np.ndarray
    """uint8, how many bits are flipped."""
    numbers: np.ndarray
    """int64, the step that has this value."""
    last: int
    """The largest of these numbers."""


def _steps(tables: int) -> Iterator[_Step]:
    """The steps in their order; the short ones joined, since each costs more than its values do,
    and those with three bits flipped and more by themselves."""
    yield _joined(tables, 0, 2 * tables)
    yield _joined(tables, 2 * tables, 3 * tables)
    for number in range(3 * tables, tables * (LARGEST_FLIPS + 1)):
        yield _step(tables, number)


@functools.cache
def _joined(tables: int, first: int, end: int) -> _Step:
    """The steps from `first` up to but not with `end`, as one."""
    steps = [_step(tables, number) for number in range(first, end)]
    joined = {
        field.name: np.concatenate([getattr(step, field.name) for step in steps])
        for field in dataclasses.fields(_Step)[:-1]
    }
    return _Step(**joined, last=steps[-1].last)


@functools.cache
def _step(tables: int, number: int) -> _Step:
    flips, part = divmod(number, tables)
    shift, width = cut(tables)[part]
    bits = itertools.combinations(range(shift, shift + width), flips)
    flipped = np.array([sum(1 << bit for bit in some) for some in bits], np.uint64)
    base = sum(1 << width for _, width in cut(tables)[:part])

    def full(value: int, kind: type) -> np.ndarray:
        return np.full(len(flipped), value, kind)

    return _Step(
        flipped,
        full(shift, np.uint64),
        full((1 << width) - 1, np.uint64),
        full((shift + width) % CODE_BITS, np.uint64),
        full(base, np.int64),
        full(flips, np.uint8),
        full(number, np.int64),
        number,
    )


def _first_steps(differing: np.ndarray, tables: int) -> np.ndarray:
    """Number of the first step that finds a row, from the bits uint64 [f] in which it differs from
    the query."""
    numbers = []
    for part, (shift, width) in enumerate(cut(tables)):
        own = differing >> np.uint64(shift) & np.uint64((1 << width) - 1)
        numbers.append(tables * np.bitwise_count(own) + np.uint8(part))
    first: np.ndarray = np.minimum.reduce(numbers)
    return first


def _is_worth_it(tables: Tables, taken: int, limit: int, rows: int, budget: float) -> bool:
    """Whether the steps up to `limit` would stay within the budget if all values had as many
    rows."""
    cost = CANDIDATE_COST if _is_checked(tables, limit) else ROW_COST
    for number in range(taken + 1, limit + 1):
        flips, part = divmod(number, tables.count)
        if flips > LARGEST_FLIPS:
            return False
        _, width = cut(tables.count)[part]
        budget -= STEP_COST + (VALUE_COST + cost * rows / 2**width) * math.comb(width, flips)
    return budget >= 0


def _ranges(starts: np.ndarray, counts: np.ndarray, total: int) -> np.ndarray:
    """The numbers start, start + 1, … of every start, count of them: int64 [total]."""
    before = np.cumsum(counts) - counts
    numbers: np.ndarray = np.arange(total) + np.repeat(starts - before, counts)
    return numbers
