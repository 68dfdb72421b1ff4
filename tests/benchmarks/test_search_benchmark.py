"""The benchmark of search, small: that its figures are there and make sense, not how large."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import search, search_ways
from searcher import tables
from searcher.faiss_version import FaissVersion

pytestmark = pytest.mark.slow("a benchmark, small")

SMALL = ["--size", "3000", "--queries", "8", "--seconds", "0.1"]


def run(out, *arguments):
    done = CliRunner().invoke(search.search, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def with_tables(monkeypatch):
    """Even a small index has tables."""
    monkeypatch.setattr(tables, "FEWEST_ROWS", 1000)


def test_every_way_is_measured_for_every_kind_of_codes_and_k(tmp_path, with_tables):
    pytest.importorskip("matplotlib")
    output = run(tmp_path, *SMALL, "--codes", "clustered", "--codes", "uniform")
    result = json.loads((tmp_path / "search.json").read_text())
    assert result["machine"]["cores"] > 0 and result["machine"]["numpy"] == np.__version__
    ways = {one["way"] for one in result["searches"]}
    assert ways - {search_ways.USEARCH} == {
        search_ways.OURS,
        search_ways.OURS_FAST,
        search_ways.FLAT,
        search_ways.MULTI_HASH,
        search_ways.NUMPY,
        search_ways.FLOOR,
    }
    assert {(one["rows"], one["codes"], one["k"]) for one in result["searches"]} == {
        (3000, codes, k) for codes in ("clustered", "uniform") for k in (10, 100, 1000)
    }
    for one in result["searches"]:
        assert one["median_ms"] > 0 and 5 <= one["queries"] <= 8
        assert one.get("wrong", 0) == 0
        assert 0 <= one.get("recall", 1) <= 1
        if one["way"] == search_ways.OURS:
            assert one["median_of_ours"] == 1 and one["compared"] == one["queries"]
            assert sum(one["proved_by"].values()) == pytest.approx(1, abs=0.01)
        assert one["way"] in output
    assert {one["index_mode"] for one in result["versions"]} == {"default", "unnecessary fast"}
    assert all(one["open_seconds"] > 0 and one["bytes_a_row"] > 48 for one in result["versions"])
    assert (tmp_path / "search.png").stat().st_size > 10_000


def test_adds_to_earlier_results(tmp_path):
    pytest.importorskip("matplotlib")
    for kind, more in (("clustered", []), ("uniform", ["--add"])):
        run(tmp_path, *SMALL, "--codes", kind, "--k", "10", *more)
    result = json.loads((tmp_path / "search.json").read_text())
    assert {one["codes"] for one in result["searches"]} == {"clustered", "uniform"}
    assert len(result["versions"]) == 4
    assert [set(one) for one in result["earlier"]] == [{"command", "date", "machine"}]


def test_codes_of_a_version_are_searched_in_and_versions_are_kept(tmp_path, publish_version):
    pytest.importorskip("matplotlib")
    codes = np.random.default_rng(0).integers(0, 256, (400, 8), np.uint8)
    version, keep = publish_version(tmp_path / "index", codes=codes), tmp_path / "kept"
    small = [*SMALL, "--codes", "model", "--k", "10", "--version", str(version)]
    run(tmp_path, *small, "--keep", str(keep))
    kept = {path: path.stat().st_mtime_ns for path in keep.glob("*/1.0.0/manifest.json")}
    assert len(kept) == 2
    output = run(tmp_path, *small, "--keep", str(keep))
    assert "publishing" not in output
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_a_version_kept_of_other_codes_is_refused(tmp_path, publish_version):
    codes = np.random.default_rng(0).integers(0, 256, (3000, 8), np.uint8)
    publish_version(tmp_path / "uniform-3000-default", codes=codes)
    arguments = [*SMALL, "--codes", "uniform", "--keep", str(tmp_path), "--out", str(tmp_path)]
    done = CliRunner().invoke(search.search, arguments)
    assert done.exit_code == 1 and "was kept of other codes; remove it" in done.output


def test_check_counts_wrong_answers(tmp_path, with_tables, monkeypatch):
    output = run(tmp_path, *SMALL, "--codes", "clustered", "--k", "10", "--check", "600")
    assert "0 wrong answers in 600" in output
    (right,) = json.loads((tmp_path / "search_check.json").read_text())["searches"]
    assert (right["wrong"], right["queries"], right["k"]) == (0, 600, 10)

    find = FaissVersion.search

    def wrong(self, codes, k):
        rows, distances = find(self, codes, k)
        rows[:3] = rows[:3, ::-1]
        return rows, distances

    monkeypatch.setattr(FaissVersion, "search", wrong)
    output = run(tmp_path, *SMALL, "--codes", "clustered", "--k", "10", "--check", "20")
    assert "3 wrong answers in 20" in output


def test_the_same_codes_in_every_run():
    for draw in (search.synthetic.clustered, search.synthetic.uniform):
        (codes, queries), (again, same) = draw(1, 500, 20), draw(1, 500, 20)
        assert np.array_equal(codes, again) and np.array_equal(queries, same)
        assert (codes.shape, queries.shape) == ((500, 8), (20, 8))


def test_rows_like_the_models_are_pictures_or_near_one():
    random = np.random.default_rng(3)
    codes, is_query = random.integers(0, 256, (400, 8), np.uint8), np.arange(400) % 4 == 0
    like = search.model_codes.like
    few, _ = like(1, codes, is_query, 300, 10)
    assert {code.tobytes() for code in few} == {code.tobytes() for code in codes[~is_query]}
    many, queries = like(1, codes, is_query, 2000, 10)
    assert {code.tobytes() for code in queries} <= {code.tobytes() for code in codes[is_query]}
    nearest = np.bitwise_count(many[:, None] ^ codes[~is_query][None]).sum(2).min(1)
    assert 1 < nearest.mean() < 3  # 3 % of 64 bits are 1.9


def test_paths_are_those_of_shops_one_after_the_other(monkeypatch):
    monkeypatch.setattr(search.synthetic, "SHOPS", 3)
    paths = search.synthetic.paths(8)
    assert [paths.raw(row).decode() for row in range(8)] == [
        "data/shop0.com/0_shop0_com.jpg",
        "data/shop0.com/1_shop0_com.jpg",
        "data/shop1.com/0_shop1_com.jpg",
        "data/shop1.com/1_shop1_com.jpg",
        "data/shop1.com/2_shop1_com.jpg",
        "data/shop2.com/0_shop2_com.jpg",
        "data/shop2.com/1_shop2_com.jpg",
        "data/shop2.com/2_shop2_com.jpg",
    ]
