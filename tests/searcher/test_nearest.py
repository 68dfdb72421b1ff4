"""The nearest rows, whichever way finds them, against a look at every row."""

import collections
import functools
import itertools
import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searcher import tables
from searcher.nearest import ALL, Among, Nearest, steps_for_recall
from tests.brute_force import (
    MAKERS,
    clustered,
    distances_to,
    one_bucket,
    queries_for,
    ranking,
    spread,
    uniform,
)

CODE_0 = np.zeros(8, np.uint8)
SEEDS = st.integers(0, 2**32 - 1)


@functools.cache
def example(make, n):
    """Codes, the FAISS index of them, and their tables."""
    codes = make(np.random.default_rng(n), n)
    return codes, flat(codes), tables.build(codes)


def flat(codes):
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    return index


def assert_found(nearest, codes, query, wanted, farthest=64, keep=None, among=ALL):
    """The wanted rows, and all that are as near as the last of them; each once."""
    distances, rows = nearest.find(query, wanted, farthest, among)
    assert (distances.dtype, rows.dtype) == (np.int32, np.int64)
    first, its = ranking(codes, query, wanted, None, farthest, keep)
    near = farthest if len(first) < wanted else its[-1]
    first, its = ranking(codes, query, len(codes), None, near, keep)
    order = np.lexsort((rows, distances))
    np.testing.assert_array_equal(rows[order], first)
    np.testing.assert_array_equal(distances[order], its)


@settings(max_examples=200)
@given(
    make=st.sampled_from(MAKERS),
    n=st.sampled_from([1, 300, 6000]),
    wanted=st.integers(1, 20) | st.integers(1, 1000),
    farthest=st.just(64) | st.integers(0, 64),
    filtered=st.sampled_from(["no", "rows", "keep"]),
    kept=st.sampled_from([0, 0.001, 0.5, 1]),
    has_tables=st.booleans(),
    budget=st.floats(0, 9).map(lambda exponent: 10**exponent),
    seed=SEEDS,
)
def test_equals_brute_force(make, n, wanted, farthest, filtered, kept, has_tables, budget, seed):
    codes, index, built = example(make, n)
    nearest = Nearest(index, built if has_tables else None, None)
    rng = np.random.default_rng(seed)
    keep = None if filtered == "no" else rng.random(n) < kept
    among = {
        "no": lambda: ALL,
        "rows": lambda: Among(rows=rng.permutation(np.flatnonzero(keep)).astype(np.uint32)),
        "keep": lambda: Among(keep=keep.take),
    }[filtered]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "SHARE_OF_SCAN", budget / n)
        patched.setattr(tables, "STEP_COST", 1)
        for query in queries_for(rng, codes, 3):
            assert_found(nearest, codes, query, wanted, farthest, keep, among)
    assert sum(nearest.ways.values()) == 3


@pytest.mark.parametrize("distance", [*range(6, 18), 18, 30])
def test_the_way_is_counted(monkeypatch, distance):
    """Row 0 is found first, and only as many steps as its distance find row 1, which is as near."""
    monkeypatch.setattr(tables, "SHARE_OF_SCAN", 1e12)
    early = np.packbits(np.arange(64) < distance)
    codes = np.array([early, spread(np.random.default_rng(0), 1, distance)[0], ~CODE_0])
    nearest = Nearest(flat(codes), tables.build(codes, 3), None)
    assert_found(nearest, codes, CODE_0, 1)
    assert nearest.ways == {f"nflip {distance // 3}" if distance < 18 else "scan": 1}


def test_queries_that_the_budget_ends_are_scanned():
    codes, index, built = example(uniform, 6000)
    nearest = Nearest(index, built, None)  # of so few rows even the first step costs too much
    for query in codes[:5]:
        assert_found(nearest, codes, query, 3)
    assert nearest.ways == {"scan": 5}
    assert_found(nearest, codes, codes[0], 3, keep=np.arange(6000) < 2, among=Among(np.arange(2)))
    assert nearest.ways == {"scan": 5, "rows": 1}


@pytest.mark.parametrize("make", [uniform, clustered, one_bucket])
@pytest.mark.parametrize("n", [300_000, 2_000_000])
def test_equals_brute_force_in_many_rows(make, n):
    codes = make(np.random.default_rng(n), n)
    nearest = Nearest(flat(codes), tables.build(codes, 3), None)
    some = np.arange(n) % 3 == 0
    query, near, far = queries_for(np.random.default_rng(2), codes, 3)
    assert_found(nearest, codes, query, 1)
    assert_found(nearest, codes, near, 10)
    assert_found(nearest, codes, far, 1000)
    assert_found(nearest, codes, near, 10, 12, some, Among(keep=some.take))
    assert sum(nearest.ways.values()) == 4


def test_a_scan_that_guessed_too_near_looks_farther():
    """All that are near are among the rows from which a scan guesses how far it must look."""
    codes = uniform(np.random.default_rng(4), 100_000)
    codes[::24][:200] = CODE_0
    for wanted in (200, 201, 1000):
        assert_found(Nearest(flat(codes), None, None), codes, CODE_0, wanted)


def test_with_many_rows_near_ones_are_looked_up_and_far_ones_scanned():
    codes = uniform(np.random.default_rng(3), 300_000)
    nearest = Nearest(flat(codes), tables.build(codes, 3), None)
    assert_found(nearest, codes, codes[5], 1)
    assert_found(nearest, codes, codes[5], 10)
    assert nearest.ways == {"nflip 1": 1, "scan": 1}


# -- approximate ---------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    make=st.sampled_from(MAKERS),
    n=st.sampled_from([1, 300, 6000]),
    steps=st.integers(5, 17),
    wanted=st.integers(1, 20) | st.integers(1, 1000),
    farthest=st.just(64) | st.integers(0, 64),
    kept=st.sampled_from([0, 0.01, 0.5, 1]),
    seed=SEEDS,
)
def test_approximate_gives_as_many_rows_and_right_distances(
    make, n, steps, wanted, farthest, kept, seed
):
    codes, index, built = example(make, n)
    rng = np.random.default_rng(seed)
    keep = rng.random(n) < kept
    query = queries_for(rng, codes, 3)[seed % 3]
    distances, rows = Nearest(index, built, steps).find(
        query, wanted, farthest, Among(keep=keep.take)
    )
    exact, its = ranking(codes, query, wanted, None, farthest, keep)
    assert len(rows) >= len(exact)
    assert len(np.unique(rows)) == len(rows)
    assert keep[rows].all()
    assert (distances <= farthest).all()
    np.testing.assert_array_equal(distances, distances_to(query, codes[rows]))
    # Up to the number of the step nothing is missing.
    assert set(exact[its <= steps]) <= set(rows)


def recall_of(nearest, codes, flips=0):
    """Recall@10 in the mean of the 200 rows that lie evenly among all, some bits of each flipped; a
    row as near as the tenth is as good as the tenth."""
    recalls, random = [], np.random.default_rng(5)
    for row in np.linspace(0, len(codes) - 1, 200).astype(int):
        bits = np.unpackbits(codes[row])
        bits[random.permutation(64)[:flips]] ^= 1
        query = np.packbits(bits)
        tenth = np.partition(distances_to(query, codes), 9)[9]
        distances, _ = nearest.find(query, 10)
        recalls.append(min(10, (distances <= tenth).sum()) / 10)
    return np.mean(recalls)


def narrow(rng, n):
    """36 of the 64 bits are the same in all: every part has only 4096 values."""
    return uniform(rng, n) & np.array([255, 15, 0, 255, 15, 0, 255, 15], np.uint8)


@pytest.mark.parametrize("make", [narrow, uniform, clustered, one_bucket])
def test_recall_is_what_the_fewest_steps_give_that_reach_it(make):
    codes, index, built = example(make, 6000)
    steps, recall = steps_for_recall(index, built)
    assert recall >= 0.95
    nearest = Nearest(index, built, steps)
    assert recall == pytest.approx(recall_of(nearest, codes))
    # Other bits are flipped here, so that it is not the same to the last digit.
    assert recall_of(nearest, codes, flips=4) > 0.95 - 0.03
    assert steps > 5 or make is not narrow
    if steps > 2 * built.count - 1:
        before = Nearest(index, built, steps - 1)
        assert min(recall_of(before, codes), recall_of(before, codes, flips=4)) < 0.95 + 0.03


def test_where_no_steps_reach_the_recall_there_are_none(monkeypatch):
    _, index, built = example(narrow, 6000)
    monkeypatch.setattr(tables, "LARGEST_FLIPS", 1)
    assert steps_for_recall(index, built) is None


# -- threads -------------------------------------------------------------------------------------


def test_threads_count_every_query():
    codes, index, built = example(clustered, 6000)
    nearest = Nearest(index, built, None)
    wrong = []

    def ask():
        for query in itertools.islice(itertools.cycle(codes[:20]), 200):
            distances, _ = nearest.find(query, 1)
            if distances.any():
                wrong.append(query)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert nearest.ways == collections.Counter(scan=800)
