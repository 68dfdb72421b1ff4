"""What an opened version answers, by FAISS and in Milvus alike: the same tests for both, against a
look at every row.  The Milvus is milvus-lite, as a file of this process."""

import importlib.util
import itertools
import threading

import numpy as np
import pytest

from searcher import OpenVersion, milvus_publish, open_version, order
from searcher.index import Index
from searcher.milvus import Place
from searcher.milvus_version import MilvusVersion
from searcher.opened import Selection
from tests.brute_force import (
    assert_exact,
    by_both_codes,
    clustered,
    coarse,
    outputs_for,
    queries_for,
    ranking,
    ranking_by_both,
    uniform,
)

HAS_MILVUS = all(map(importlib.util.find_spec, ("pymilvus", "milvus_lite")))
BACKENDS = [
    "faiss",
    pytest.param(
        "milvus",
        marks=pytest.mark.skipif(not HAS_MILVUS, reason="needs pip install 'efiss-ai[milvus]'"),
    ),
]


@pytest.fixture(scope="module", params=BACKENDS)
def opened(request, publish_version, tmp_path_factory):
    """opened(codes=…, paths=…) -> a version of them, published and opened by a backend."""
    folder = tmp_path_factory.mktemp("opened")
    where = Place(str(folder / "lite.db")) if request.param == "milvus" else None
    numbers = (f"1.{minor}.0" for minor in itertools.count())

    def published(**contents) -> OpenVersion:
        version = next(numbers)
        place = publish_version(folder / "index", version, **contents)
        if where is None:
            return open_version(place)
        milvus_publish.publish(Index(folder / "index"), version, where)
        return MilvusVersion(place, where)

    return published


SHOPS, ROWS = ["s0.com", "s1.com", 'odd"] or row >= 0', "Größe \udce9"], 600
SELECTIONS = [
    Selection(),
    Selection(max_distance=0),
    Selection(max_distance=20),
    Selection(max_distance=64, shops=frozenset(SHOPS[:2])),
    Selection(shops=frozenset()),
    Selection(shops=frozenset({SHOPS[2], "unknown.com"})),
    Selection(exclude_shops=frozenset({SHOPS[3], "unknown.com"})),
    Selection(by_product=True),
    Selection(30, frozenset(SHOPS[1:]), frozenset(SHOPS[1:2]), by_product=True),
]


@pytest.fixture(scope="module")
def mixed(opened):
    """A version of four shops with a few pictures a product, and its codes, shops and products."""
    rng = np.random.default_rng(6)
    codes, shops = clustered(rng, ROWS), rng.choice(4, ROWS, p=[0.9, 0.06, 0.03, 0.01])
    products = rng.integers(0, ROWS // 3, ROWS)
    paths = [
        f"data/{SHOPS[shop]}/{product}_{row}.jpg"
        for row, (shop, product) in enumerate(zip(shops, products, strict=True))
    ]
    return opened(codes=codes, paths=paths), codes, shops, products * len(SHOPS) + shops


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("count", [1, 10, ROWS])
def test_a_selection_equals_brute_force(mixed, selection, count):
    index, codes, shops, products = mixed
    is_kept = np.array(
        [
            (selection.shops is None or name in selection.shops)
            and name not in selection.exclude_shops
            for name in SHOPS
        ]
    )
    for outputs in outputs_for(np.random.default_rng(count), codes, 3):
        code = np.packbits(outputs > 0)
        for own in (None, outputs):
            rows, distances = index.select(code, count, own, selection)
            assert (rows.dtype, distances.dtype) == (np.int64, np.int32)
            wanted, its = ranking(
                codes,
                code,
                count,
                own,
                selection.max_distance,
                is_kept[shops],
                products if selection.by_product else None,
            )
            np.testing.assert_array_equal(rows, wanted)
            np.testing.assert_array_equal(distances, its)


# -- with a longer code ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def longer(opened):
    """As `mixed`, with longer codes, some of them equal; and four queries near to rows."""
    rng = np.random.default_rng(7)
    codes, shops = clustered(rng, ROWS), rng.choice(4, ROWS, p=[0.6, 0.2, 0.15, 0.05])
    fine_codes = rng.integers(0, 256, (ROWS, 32), np.uint8)
    fine_codes[ROWS // 2 :] = fine_codes[: ROWS - ROWS // 2]
    products = rng.integers(0, ROWS // 3, ROWS)
    paths = [
        f"data/{SHOPS[shop]}/{product}_{row}.jpg"
        for row, (shop, product) in enumerate(zip(shops, products, strict=True))
    ]
    own = outputs_for(rng, codes, 4)
    fine = outputs_for(rng, fine_codes[:, :8], 4)
    fine = np.concatenate([fine, rng.normal(size=(4, 192)).astype(np.float32)], axis=1)
    index = opened(codes=codes, paths=paths, fine_codes=fine_codes)
    queries = np.concatenate([own, fine], axis=1)
    return index, codes, fine_codes, shops, products * len(SHOPS) + shops, queries


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("weight", [None, 0.0, 0.7])
@pytest.mark.parametrize("window", [1, 100, 1000])
def test_both_ranks_equal_brute_force(longer, monkeypatch, selection, weight, window):
    index, codes, fine_codes, shops, products, queries = longer
    monkeypatch.setattr(order, "WINDOW", window)
    is_kept = np.array(
        [
            (selection.shops is None or name in selection.shops)
            and name not in selection.exclude_shops
            for name in SHOPS
        ]
    )
    for outputs in queries:
        wanted, its = ranking_by_both(
            codes,
            fine_codes,
            outputs,
            weight,
            ROWS,
            selection.max_distance,
            is_kept[shops],
            products if selection.by_product else None,
            window,
        )
        for count in (1, 10, 150, ROWS):  # pages: the first of a longer answer are the shorter one
            code = np.packbits(outputs[:64] > 0)
            rows, distances = index.select(code, count, outputs, selection, weight)
            assert (rows.dtype, distances.dtype) == (np.int64, np.int32)
            np.testing.assert_array_equal(rows, wanted[:count])
            np.testing.assert_array_equal(distances, its[:count])


def test_search_orders_equal_distances_by_the_longer_code(longer):
    index, codes, fine_codes, _, _, queries = longer
    rows, _ = index.search(np.packbits(queries[:, :64] > 0, axis=1), 50, queries)
    for own, outputs in zip(rows, queries, strict=True):
        np.testing.assert_array_equal(own, ranking_by_both(codes, fine_codes, outputs, None, 50)[0])


def test_similarities_are_those_of_both_codes(longer):
    index, codes, fine_codes, _, _, queries = longer
    rows = np.array([5, 3, ROWS - 1])
    for outputs in queries:
        wanted, _ = by_both_codes(codes, fine_codes, outputs, 0.7)
        np.testing.assert_allclose(index.similarities(rows, outputs, 0.7), wanted[rows], atol=1e-9)


def test_a_row_stands_for_its_picture_by_both_codes(longer):
    index, codes, fine_codes, *_ = longer
    outputs = index.outputs(7)
    assert outputs.dtype == np.float32 and set(outputs.tolist()) == {-1, 1}
    packed = np.packbits(outputs > 0)
    assert np.array_equal(packed, np.concatenate([codes[7], fine_codes[7]]))
    rows, _ = index.select(codes[7], 3, outputs, weight=1.0)
    same = (codes == codes[7]).all(axis=1) & (fine_codes == fine_codes[7]).all(axis=1)
    assert rows[0] == np.flatnonzero(same)[0]


def test_where_one_of_both_has_no_longer_code_the_64_bits_decide(mixed, longer):
    outputs = longer[-1][0]
    code, short = np.packbits(outputs[:64] > 0), outputs[:64]
    assert not mixed[0].has_fine_codes and longer[0].has_fine_codes
    assert mixed[0].outputs(3) is None
    for index, codes in (mixed[:2], longer[:2]):
        wanted, _ = ranking(codes, code, 30, short)
        asked = outputs if index is mixed[0] else short
        for weight in (None, 1.0):
            rows, _ = index.select(code, 30, asked, weight=weight)
            np.testing.assert_array_equal(rows, wanted)


# -- what else is known of rows ----------------------------------------------------------------


def test_shops_and_how_many_pictures_they_have(mixed):
    index, _, shops, _ = mixed
    assert index.shops == {name: int((shops == i).sum()) for i, name in enumerate(SHOPS)}


def test_a_path_has_its_first_row(opened):
    codes = uniform(np.random.default_rng(7), 4)
    index = opened(codes=codes, paths=["b", "data/ý/日本.jpg", "b", "\udcff.jpg"])
    assert [index.row(path) for path in ("b", "data/ý/日本.jpg", "\udcff.jpg")] == [0, 1, 3]
    assert index.row("a") is None and index.row("data/ý/日本.jp") is None
    assert index.manifest.rows == 4 and all(count > 0 for count in index.ways.values())


def test_one_picture_a_product_its_nearest(opened):
    """Products of one distance: of each its first row, though one product has most rows."""
    codes = np.zeros((5000, 8), np.uint8)
    paths = [f"data/a/1_{row}.jpg" for row in range(4998)] + ["data/b/1_x.jpg", "data/a/2_x.jpg"]
    index = opened(codes=codes, paths=paths)
    rows, _ = index.select(codes[0], 10, None, Selection(by_product=True))
    assert rows.tolist() == [0, 4998, 4999]
    rows, _ = index.select(codes[0], 2, None, Selection(by_product=True))
    assert rows.tolist() == [0, 4998]


@pytest.mark.parametrize("ties", [3, 99, 100, 101, 102, 103, 5000])
def test_the_most_similar_of_many_equal_distances_wins_wherever_it_stands(opened, ties):
    # All rows differ from the query in one bit; the last row in the one that weighs least.
    bits = np.zeros((ties, 64), np.uint8)
    bits[:-1, 5], bits[-1, 40] = 1, 1
    index = opened(codes=np.packbits(bits, axis=1))
    outputs = np.full((1, 64), -1, np.float32)
    outputs[0, 40] = -0.5
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 2, outputs)
    assert (rows.tolist(), distances.tolist()) == ([[ties - 1, 0]], [[1, 1]])


def test_equal_similarities_come_in_row_order(opened):
    codes = np.packbits(np.eye(64, dtype=bool)[::-1], axis=1)
    index = opened(codes=codes)
    for outputs in (np.full((1, 64), -0.3, np.float32), np.zeros((1, 64), np.float32)):
        rows, _ = index.search(np.zeros((1, 8), np.uint8), 64, outputs)
        assert rows.tolist() == [list(range(64))]


def test_distance_comes_before_similarity(opened):
    # Row 0 differs in one bit that weighs much, row 1 in two that weigh nearly nothing.
    codes = np.array([[0b1000_0000] + [0] * 7, [0b0110_0000] + [0] * 7], np.uint8)
    index = opened(codes=codes)
    outputs = np.full((1, 64), -0.01, np.float32)
    outputs[0, 0] = -5
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 2, outputs)
    assert (rows.tolist(), distances.tolist()) == ([[0, 1]], [[1, 2]])


def test_with_outputs_a_query_is_answered_the_same_alone_in_a_batch_and_again(opened):
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000)
    index = opened(codes=codes)
    outputs = outputs_for(rng, codes, 70, coarse)
    queries = np.packbits(outputs > 0, axis=1)
    together = index.search(queries, 25, outputs)
    for _ in range(2):
        for i in range(len(queries)):
            alone = index.search(queries[i : i + 1], 25, outputs[i : i + 1])
            for whole, one in zip(together, alone, strict=True):
                np.testing.assert_array_equal(whole[i], one[0])


def test_the_scale_of_the_outputs_does_not_matter(opened):
    rng = np.random.default_rng(11)
    codes = clustered(rng, 3000)
    index = opened(codes=codes)
    outputs = outputs_for(rng, codes, 6)
    queries = np.packbits(outputs > 0, axis=1)
    rows, _ = index.search(queries, 200, outputs)
    np.testing.assert_array_equal(index.search(queries, 200, outputs * 4)[0], rows)
    np.testing.assert_array_equal(index.search(queries, 200, outputs / 2**100)[0], rows)


def test_more_than_there_are_gives_all_rows(opened):
    codes = np.array([[255] * 8, [0] * 8, [1] + [0] * 7], np.uint8)
    index = opened(codes=codes)
    rows, distances = index.search(np.zeros((1, 8), np.uint8), 5)
    assert rows.tolist() == [[1, 2, 0, -1, -1]]
    assert distances.tolist() == [[0, 1, 64, -1, -1]]


def test_equal_distances_come_in_row_order(opened):
    # One bit away each, whichever bit it is; the last row is the nearest.
    codes = np.packbits(np.vstack([np.eye(64, dtype=bool)[::-1], np.zeros((1, 64), bool)]), axis=1)
    index = opened(codes=codes)
    rows, _ = index.search(np.zeros((1, 8), np.uint8), 65)
    assert rows.tolist() == [[64, *range(64)]]


def test_a_query_is_answered_the_same_alone_and_in_a_batch(opened):
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000)
    index = opened(codes=codes)
    queries = queries_for(rng, codes, 70)
    together = index.search(queries, 25)
    for i in range(len(queries)):
        for whole, alone in zip(together, index.search(queries[i : i + 1], 25), strict=True):
            np.testing.assert_array_equal(whole[i], alone[0])


def test_no_queries_no_answers(opened):
    index = opened()
    rows, distances = index.search(np.empty((0, 8), np.uint8), 3)
    assert rows.shape == distances.shape == (0, 3)
    rows, distances = index.search(np.empty((0, 8), np.uint8), 3, np.empty((0, 64), np.float32))
    assert rows.shape == distances.shape == (0, 3)


def test_queries_need_not_lie_together_in_memory(opened):
    rng = np.random.default_rng(4)
    codes = uniform(rng, 100)
    index = opened(codes=codes)
    assert_exact(index, codes, np.repeat(uniform(rng, 4), 2, axis=1)[:, ::2], 10)


@pytest.mark.parametrize(
    ("codes", "k"),
    [
        (np.zeros((1, 8), np.uint8), 0),
        (np.zeros(8, np.uint8), 1),
        (np.zeros((1, 64), np.uint8), 1),
        (np.zeros((1, 8), np.int64), 1),
    ],
)
def test_what_is_no_query_is_refused(opened, codes, k):
    index = opened()
    with pytest.raises(ValueError, match=r"codes uint8 \[n, 8\] and k of at least 1"):
        index.search(codes, k)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.ones((1, 64)), r"outputs float32 \[2, 64\] .*\[2, 320\], not float64 \[1, 64\]"),
        (np.ones((2, 64)), r"not float64"),
        (np.ones((2, 8), np.float32), r"not float32 \[2, 8\]"),
        (np.ones(64, np.float32), r"not float32 \[64\]"),
        (np.zeros((2, 64), np.float32), "not the signs"),  # codes below: a one in the last bit
        (np.ones((2, 64), np.float32), "not the signs"),
    ],
)
def test_outputs_that_are_not_the_codes_are_refused(opened, outputs, message):
    index = opened()
    with pytest.raises(ValueError, match=message):
        index.search(np.array([[0] * 7 + [1]] * 2, np.uint8), 1, outputs)


def test_outputs_that_are_no_numbers_weigh_nothing(opened):
    codes = np.packbits(np.eye(64, dtype=bool), axis=1)
    index = opened(codes=codes)
    outputs = np.full((1, 64), -1, np.float32)
    outputs[0, [7, 9]] = np.nan
    rows, _ = index.search(np.zeros((1, 8), np.uint8), 4, outputs)
    assert rows.tolist() == [[7, 9, 0, 1]]


def test_rows_have_their_path_and_code(opened):
    codes = uniform(np.random.default_rng(5), 4)
    paths = ["a.jpg", "data/ý/日本.jpg", "\udcff\udcfe.jpg", "two\nlines.jpg"]
    index = opened(codes=codes, paths=paths)
    assert [index.path(row) for row in range(4)] == paths
    assert index.paths(np.array([3, 0])) == [paths[3], paths[0]]
    assert [index.code(row).tolist() for row in np.arange(4)] == codes.tolist()


def test_two_versions_open_at_once(opened):
    rng = np.random.default_rng(8)
    one, two = uniform(rng, 50), uniform(rng, 80)
    first, second = opened(codes=one), opened(codes=two)
    queries = uniform(rng, 5)
    for _ in range(2):
        assert_exact(first, one, queries, 60)
        assert_exact(second, two, queries, 60)
    assert (first.manifest.rows, second.manifest.rows) == (50, 80)


def test_threads_share_a_version(opened):
    rng = np.random.default_rng(9)
    codes = clustered(rng, 5000)
    index = opened(codes=codes)
    outputs = outputs_for(rng, codes, 16)
    queries = np.packbits(outputs > 0, axis=1)
    wanted = [ranking(codes, query, 30)[0] for query in queries]
    wanted_by_similarity = [
        ranking(codes, query, 30, output)[0] for query, output in zip(queries, outputs, strict=True)
    ]
    wrong = []

    def ask():
        for i in itertools.islice(itertools.cycle(range(16)), 64):
            rows, _ = index.search(queries[i : i + 1], 30)
            if (rows[0] != wanted[i]).any():
                wrong.append(i)
            rows, _ = index.search(queries[i : i + 1], 30, outputs[i : i + 1])
            if (rows[0] != wanted_by_similarity[i]).any():
                wrong.append(i)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_window_is_the_nearest_thousand(opened):
    """Row 1000 is the most similar by its longer code, and too far away to be looked at."""
    rng = np.random.default_rng(12)
    codes, fine_codes = uniform(rng, 2500), rng.integers(0, 256, (2500, 32), np.uint8)
    outputs = rng.normal(size=320).astype(np.float32)
    code = np.packbits(outputs[:64] > 0)
    by_distance, _ = ranking_by_both(codes, fine_codes, outputs, None, 2500)
    fine_codes[by_distance[[999, 1000]]] = np.packbits(outputs[64:] > 0)
    index = opened(codes=codes, fine_codes=fine_codes)
    by_distance, _ = ranking_by_both(codes, fine_codes, outputs, None, 2500)
    rows, distances = index.select(code, 2500, outputs, weight=0.01)
    assert set(rows[:1000]) == set(by_distance[:1000])
    assert np.array_equal(rows[1000:], by_distance[1000:])
    wanted, its = ranking_by_both(codes, fine_codes, outputs, 0.01, 2500)
    assert np.array_equal(rows, wanted) and np.array_equal(distances, its)
