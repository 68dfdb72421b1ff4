"""Lookup in the tables: what a step has proved, against a look at every row."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import tables
from tests.brute_force import MAKERS, distances_to, queries_for, ranking, spread, uniform

CODE_0 = np.zeros(8, np.uint8)
PARTS = {3: [(0, 21), (21, 21), (42, 22)], 4: [(0, 16), (16, 16), (32, 16), (48, 16)]}
LAST = {3: 17, 4: 23}
"""The last step there is: five bits flipped in the last table."""
ENDS = {m: (2 * m - 1, *range(3 * m - 1, LAST[m] + 1)) for m in PARTS}
"""Steps that a lookup may end with; those between are taken together with the next of these."""
KINDS = ((3, True), (4, True), (3, False))
"""Tables there are, with further bits or, of versions of earlier days, without."""
SEEDS = st.integers(0, 2**32 - 1)


@functools.cache
def example(make, n, kind=(3, True)):
    """Codes, and their tables."""
    codes = make(np.random.default_rng(n), n)
    return codes, built_of(codes, kind)


def built_of(codes, kind):
    count, has_checks = kind
    built = tables.build(codes, count)
    return built if has_checks else tables.Tables(built.starts, built.rows.astype(np.uint32))


def assert_right(found, codes, query):
    """Each row once, with its distance."""
    assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.int32)
    assert len(np.unique(found.rows)) == len(found.rows)
    np.testing.assert_array_equal(found.distances, distances_to(query, codes[found.rows]))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n", [1, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_have_every_row_at_its_values(make, n, kind):
    codes, built = example(make, n, kind)
    assert built.fit(n) and built.has_checks == kind[1] and built.count == kind[0]
    rows, checks = built.rows & np.uint64(2**32 - 1), built.rows >> np.uint64(32)
    word = [int.from_bytes(code.tobytes(), "little") for code in codes]
    base = 0
    for part, (shift, bits) in enumerate(PARTS[kind[0]]):
        values = np.array([number >> shift & (1 << bits) - 1 for number in word])
        for row, value in list(enumerate(values))[:: max(1, n // 50)]:
            start, end = built.starts[base + value : base + value + 2]
            assert row in rows[start:end]
            np.testing.assert_array_equal(rows[start:end], np.flatnonzero(values == value))
            if kind[1]:  # the 32 bits behind the part, and again from the lowest on
                turned = [(word[r] | word[r] << 64) >> shift + bits for r in rows[start:end]]
                assert checks[start:end].tolist() == [bits & 2**32 - 1 for bits in turned]
        assert sorted(rows[part * n : (part + 1) * n]) == list(range(n))
        base += 1 << bits


@pytest.mark.parametrize(
    ("starts", "rows"),
    [
        (lambda starts: starts[:-1], lambda rows: rows),
        (lambda starts: starts.astype(np.int64), lambda rows: rows),
        (lambda starts: starts, lambda rows: rows.astype(np.int64)),
        (lambda starts: starts, lambda rows: rows[1:]),
        (lambda starts: starts, lambda rows: rows[:, None]),
    ],
    ids=["fewer values", "wide starts", "signed rows", "fewer rows", "a column"],
)
def test_tables_of_something_else_do_not_fit(starts, rows):
    _, right = example(uniform, 1)
    assert right.fit(1) and not right.fit(2)
    assert not tables.Tables(starts(right.starts), rows(right.rows)).fit(1)


def test_more_rows_are_cut_into_fewer_parts(monkeypatch):
    monkeypatch.setattr(tables, "FOUR_TABLES", 2)
    codes = np.zeros((3, 8), np.uint8)
    assert [tables.build(codes[:n]).count for n in (1, 2, 3)] == [4, 4, 3]


@settings(max_examples=100)
@given(
    make=st.sampled_from(MAKERS),
    n=st.sampled_from([1, 3000]),
    kind=st.sampled_from(KINDS),
    end=st.integers(0, LAST[4]),
    seed=SEEDS,
)
def test_after_a_step_every_row_up_to_its_number_has_been_found(make, n, kind, end, seed):
    codes, built = example(make, n, kind)
    step = ENDS[kind[0]][end % len(ENDS[kind[0]])]
    for query in queries_for(np.random.default_rng(seed), codes, 3):
        # More than there are, so that nothing ends it but the number of the step.
        found = tables.look_up(built, codes, query, n + 1, steps=step)
        assert_right(found, codes, query)
        assert (found.last_step, found.limit, found.is_complete) == (step, 64, False)
        near = np.flatnonzero(distances_to(query, codes) <= step)
        assert set(near) <= set(found.rows)


def test_a_step_proves_no_more_than_that():
    """The flips spread evenly, a row is found by the step of its distance, and by none before."""
    codes, built = example(spread, 3000)
    distances = distances_to(CODE_0, codes)
    for step in ENDS[3]:
        found = tables.look_up(built, codes, CODE_0, len(codes) + 1, steps=step)
        assert sorted(found.rows) == np.flatnonzero(distances <= step).tolist()


@pytest.mark.parametrize("kind", [(3, True), (3, False)])
@pytest.mark.parametrize("distance", range(6, LAST[3] + 1))
def test_a_row_as_near_as_what_was_found_is_looked_for_to_the_last_step(
    distance, kind, monkeypatch
):
    """Row 1 is found first, and only the last step finds row 0, which is as near."""
    monkeypatch.setattr(tables, "SHARE_OF_SCAN", 1e12)
    late = spread(np.random.default_rng(0), 1, distance)[0]
    early = np.packbits(np.arange(64) < distance)
    codes = np.array([late, early])
    found = tables.look_up(built_of(codes, kind), codes, CODE_0, wanted=1)
    end = min(step for step in ENDS[3] if step >= distance)
    assert (found.is_complete, found.last_step, found.limit) == (True, end, distance)
    assert sorted(found.rows) == [0, 1]


def test_beyond_the_last_step_nothing_is_proved(monkeypatch):
    monkeypatch.setattr(tables, "SHARE_OF_SCAN", 1e12)
    codes = np.array([np.packbits(np.arange(64) < distance) for distance in (18, 18)])
    found = tables.look_up(tables.build(codes, 3), codes, CODE_0, wanted=1)
    assert (found.is_complete, found.last_step, found.limit) == (False, 8, 18)


def keeping(share, n, seed):
    """Which rows may be answered: bool [n]."""
    return np.random.default_rng(seed).random(n) < share


@settings(max_examples=200)
@given(
    make=st.sampled_from(MAKERS),
    n=st.sampled_from([1, 300, 3000]),
    wanted=st.integers(1, 20) | st.integers(1, 1000),
    farthest=st.just(64) | st.integers(0, 64),
    kept=st.just(1.0) | st.sampled_from([0, 0.01, 0.5]),
    steps=st.none() | st.integers(7, LAST[3]),
    kind=st.sampled_from(KINDS),
    budget=st.floats(0, 9).map(lambda exponent: 10**exponent),
    seed=SEEDS,
)
def test_complete_or_said_not_to_be(make, n, wanted, farthest, kept, steps, kind, budget, seed):
    """Wherever the budget runs out: what is said to be complete is, and what was proved before is
    right, which a scan that follows builds on."""
    codes, built = example(make, n, kind)
    keep = keeping(kept, n, seed)
    query = queries_for(np.random.default_rng(seed), codes, 3)[seed % 3]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "SHARE_OF_SCAN", budget / n)
        patched.setattr(tables, "STEP_COST", 1)
        found = tables.look_up(
            built, codes, query, wanted, farthest, None if kept == 1 else keep.take, steps
        )
    assert_right(found, codes, query)
    assert keep[found.rows].all() or kept == 1
    rows, distances = ranking(codes, query, wanted, None, farthest, None if kept == 1 else keep)
    assert found.limit <= farthest
    assert (distances <= found.limit).all()  # what was asked for is not farther away
    if len(rows) < wanted:
        assert found.limit == farthest
    proved = found.limit if found.is_complete else min(found.limit, found.last_step)
    mine, its = keep if kept < 1 else np.ones(n, bool), distances_to(query, codes)
    assert set(np.flatnonzero(mine & (its <= proved))) <= set(found.rows)
    assert found.is_complete == (found.limit <= found.last_step)


def test_a_query_that_a_scan_answers_in_less_time_is_left_to_it(monkeypatch):
    codes, built = example(uniform, 3000)
    monkeypatch.setattr(tables, "SHARE_OF_SCAN", 0)
    found = tables.look_up(built, codes, codes[0], 1, farthest=7)
    assert (len(found.rows), found.last_step, found.limit, found.is_complete) == (0, -1, 7, False)
