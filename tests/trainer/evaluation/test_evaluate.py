"""The evaluation as a whole, on drawn data where the right figures are known."""

import numpy as np
import pytest
from PIL import Image

from hashing import picture
from hashing.changed import CHANGES
from tests.pictures import encoded
from trainer.data import DataError, Pictures, is_held_out
from trainer.evaluation.another_picture import DEGREES
from trainer.evaluation.bits import Buckets
from trainer.evaluation.evaluate import evaluate
from trainer.evaluation.figures import Evaluation, Size
from trainer.evaluation.floors import RANDOM, RAW_PIXELS
from trainer.evaluation.report import report
from trainer.evaluation.views import BY_ROW, CODES, EMBEDDING, FINE, OUTPUTS

KINDS = np.array(["Tshirts", "Shirts", "Dresses", "Shorts"])


class Drawn:
    """What `evaluate` needs of a model."""

    class sidecar:
        name, sha256, fine_bits, rank_weight = "drawn", "0" * 64, 0, 1.0

    def __init__(self, see):
        """see: model input -> outputs and, or None, embedding."""
        self.see = see
        self.shows_embeddings = see(np.zeros((1, 8, 8, 3), np.uint8))[1] is not None

    def pixels(self, data: bytes) -> np.ndarray:
        return picture.pixels(picture.decode(data, 8), 8, "bilinear")

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        return self.see(batch)[0]

    def embeddings_and_outputs(self, batch: np.ndarray):
        return self.see(batch)[::-1]


def kind_of(batch: np.ndarray) -> np.ndarray:
    """The kind of a picture, which stands in its brightness."""
    return np.minimum(batch[:, 4, 4, 1].astype(int) // 64, 3)


def perfect(batch: np.ndarray):
    """Bits that say the kind and nothing else, and an embedding that does too."""
    kind = kind_of(batch)[:, None]
    outputs = np.where(kind >> np.arange(64) % 2 & 1, 1.0, -1.0)
    return outputs.astype(np.float32), np.eye(4, dtype=np.float32)[kind[:, 0]]


def drawn(name: str, count: int, kinds: np.ndarray, **labels: np.ndarray) -> Pictures:
    files = [encoded(Image.new("RGB", (24, 24), (32 + 64 * int(k),) * 3), "PNG") for k in kinds]
    values = {"article_type": KINDS[kinds], **labels}
    groups = np.array([f"{name} {row}" for row in range(count)])
    return Pictures(name, values, groups, files.__getitem__)


def some_kinds(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, count)


@pytest.fixture(scope="module")
def sources():
    kinds = some_kinds(400, 0)
    colours = np.where(np.arange(400) % 5, "Red", "")
    photo_kinds = some_kinds(200, 1)
    photos = drawn("photos", 200, photo_kinds)
    photos.labels["article_type"][photo_kinds == 3] = "Blazer"  # no product is one
    return [drawn("products", 400, kinds, colour=colours), photos]


@pytest.fixture(scope="module")
def result(sources):
    return evaluate(Drawn(perfect), sources, k=3)


def test_rows_have_the_queries_and_galleries_that_the_data_allow(sources, result):
    products, photos = sources
    rows = result.retrieval
    assert list(rows) == [
        "products: article_type",
        "products: colour",
        "products: article_type and colour",
        "photos: article_type",
        "photos to products: article_type",
    ]
    held, shown = products.held_out.sum(), photos.held_out.sum()
    assert result.data["products"] == Size(pictures=400, held_out=held)
    types = rows["products: article_type"][CODES]
    assert (types.queries, types.gallery) == (held, 400 - held)
    coloured = (products.labels["colour"][products.held_out] != "").sum()
    assert rows["products: colour"][CODES].queries == coloured < held
    blazers = (photos.labels["article_type"][photos.held_out] == "Blazer").sum()
    assert blazers > 0
    assert rows["photos to products: article_type"][CODES].queries == shown - blazers


def test_a_perfect_model_scores_1_and_random_codes_score_chance(result):
    for name in ("products: article_type", "photos: article_type",
                 "photos to products: article_type"):  # fmt: skip
        for view in (CODES, BY_ROW, OUTPUTS, EMBEDDING):
            figures = result.retrieval[name][view]
            assert figures.micro["precision_at_k"] == figures.macro["map"] == 1, (name, view)
            assert min(figures.precision_at_recall) == 1
    views = result.retrieval["products: article_type"]
    assert views[RAW_PIXELS].micro["map"] == 1  # the brightness is the kind here
    assert views[RANDOM].micro["precision_at_k"] < 0.6
    assert views[RANDOM].micro["map"] < 0.5


def test_pairs_and_buckets_of_a_perfect_model(sources, result):
    distances = result.distances["products: article_type"]
    assert sum(distances.matching) == distances.matching[0]
    assert distances.non_matching[0] == 0
    figures = result.retrieval["products: article_type"][CODES]
    assert (
        sum(distances.matching) + sum(distances.non_matching) == figures.queries * figures.gallery
    )
    codes, shirts = (
        result.codes["products"],
        (sources[0].labels["article_type"] == "Shirts").sum(),
    )
    assert (codes.rows, codes.distinct, codes.distinct_share) == (400, 4, 0.01)
    assert codes.by_class["Shirts"] == Buckets(shirts, 1, round(1 / shirts, 6), shirts)
    assert len(codes.bits.share_of_ones) == 64


def own_code(batch: np.ndarray):
    """A code of its own for every brightness."""
    bits = np.unpackbits(batch[:, 4, 4, 1].astype(np.uint8)[:, None], axis=1)
    return np.tile(bits, 8).astype(np.float32) * 2 - 1, None


def test_another_picture_is_searched_among_all_products_by_group():
    files = [encoded(Image.new("RGB", (24, 24), (40, row, 90)), "PNG") for row in range(200)]
    groups = np.array([f"g {row // 2}" for row in range(200)])  # two copies of each
    kinds = KINDS[np.arange(200) % 4]
    pictures = Pictures("products", {"kind": kinds}, groups, files.__getitem__)
    result = evaluate(Drawn(own_code), [pictures], k=3)
    table = result.another_picture
    assert list(table) == list(DEGREES)
    for views in table.values():
        assert views[CODES].queries == pictures.held_out.sum()
        assert views[CODES].gallery == 200
        # The cast leaves green as it was, but for what JPEG rounds.
        assert views[CODES].recall_at_k > 0.5 > views[RANDOM].recall_at_k


def test_the_order_in_ties_gains_what_the_two_rows_differ_by():
    def tied(batch):
        """Codes that differ in one bit of 64 each: pictures of kind 0 in one of the first half,
        which their outputs are unsure of, those of kind 1 in one of the second."""
        kind, number = batch[:, 4, 4, 1].astype(int) // 128, batch[:, 4, 4, 0].astype(int)
        unsure = np.arange(64)[None] // 32 == kind[:, None]
        outputs = np.where(unsure, 0.1, 1.0)
        outputs[np.arange(len(batch)), 32 * kind + number % 32] *= -1
        return outputs.astype(np.float32), None

    files = [encoded(Image.new("RGB", (24, 24), (row, row % 2 * 200, 0)), "PNG")
             for row in range(200)]  # fmt: skip
    groups = np.array([f"g {row}" for row in range(200)])
    pictures = Pictures("products", {"kind": KINDS[np.arange(200) % 2]}, groups, files.__getitem__)
    result = evaluate(Drawn(tied), [pictures], k=20)
    views = result.retrieval["products: kind"]
    assert views[CODES].micro["map"] == 1
    assert views[BY_ROW].micro["map"] < 0.9
    gain = result.gain_of_order_in_ties["products: kind"]
    for mean in ("micro", "macro"):
        for measure, value in gain[mean].items():
            with_it, without = (getattr(views[view], mean)[measure] for view in (CODES, BY_ROW))
            difference = with_it - without
            assert value == pytest.approx(difference, abs=1e-6)


def test_values_never_trained_on_have_a_row_of_their_own(sources):
    result = evaluate(Drawn(perfect), sources, {"article_type": ["Shorts"]}, k=3)
    products = sources[0]
    shorts = products.labels["article_type"] == "Shorts"
    row = result.retrieval["products: article_type never trained on"][CODES]
    assert row.queries == shorts.sum()
    assert row.gallery == (shorts | products.held_out).sum()
    assert row.micro["precision_at_k"] == 1
    ordinary = result.retrieval["products: article_type"][CODES]
    assert "Shorts" not in ordinary.per_class
    assert ordinary.gallery == (~shorts & ~products.held_out).sum()
    assert "products: article_type never trained on" in report(result)
    assert "products: article_type never trained on" not in result.distances


def test_a_row_without_a_query_says_so(sources):
    products, photos = sources
    (alone,) = [name for name in map(str, range(1000)) if not is_held_out(name)][:1]
    none_held = Pictures("photos", {"article_type": KINDS[:2]}, np.array([alone, alone]),
                         photos.encoded)  # fmt: skip
    result = evaluate(Drawn(perfect), [products, none_held], k=3)
    assert result.retrieval["photos: article_type"] == {}
    assert Evaluation.no_query in report(result)
    assert result.to_json()["retrieval"]["photos: article_type"] == Evaluation.no_query


def test_data_without_anything_held_out_is_said_to_be_too_small():
    few = drawn("few", 4, np.arange(4))
    few.groups[:] = next(name for name in map(str, range(100)) if not is_held_out(name))
    with pytest.raises(DataError, match="too small to evaluate"):
        evaluate(Drawn(perfect), [few])
    with pytest.raises(DataError, match="no labelled pictures"):
        evaluate(Drawn(perfect), [Pictures("few", {}, few.groups, few.encoded)])


# -- a longer code, changed pictures, first hits --------------------------------------------------


class WithLongerCode(Drawn):
    """Its code says the kind, its longer code the brightness."""

    class sidecar:
        name, sha256, fine_bits, rank_weight = "drawn", "0" * 64, 256, 1.0

    def __init__(self):
        super().__init__(both)


def both(batch: np.ndarray):
    brightness = np.repeat(own_code(batch)[0], 4, axis=1)
    return np.concatenate([perfect(batch)[0], brightness], axis=1), None


@pytest.fixture(scope="module")
def with_longer_code():
    """200 pictures of different brightness, four kinds, and 100 photos with the same."""

    def shades(name: str, values: np.ndarray) -> Pictures:
        files = [encoded(Image.new("RGB", (24, 24), (int(v),) * 3), "PNG") for v in values]
        groups = np.array([f"{name} {row}" for row in range(len(values))])
        return Pictures(name, {"kind": KINDS[values // 64]}, groups, files.__getitem__)

    photos = shades("photos", np.arange(100) * 2)
    photos.labels["kind"][:50:2] = "Blazer"  # no product is one
    return evaluate(WithLongerCode(), [shades("products", np.arange(200)), photos], k=3)


def test_rank_fine_is_measured_beside_rank_distance(with_longer_code):
    views = with_longer_code.retrieval["products: kind"]
    assert list(views)[:3] == [CODES, FINE, BY_ROW]
    assert views[FINE].micro["precision_at_k"] == views[CODES].micro["precision_at_k"] == 1
    assert with_longer_code.another_picture["the resolution alone"][FINE].recall_at_1 == 1
    text = report(with_longer_code)
    assert FINE in text and "phone screenshot" in text


def test_changed_pictures_are_looked_for_among_all_sources(with_longer_code):
    table = with_longer_code.changed_picture
    assert list(table) == list(CHANGES)
    for views in table.values():
        assert list(views) == [CODES, FINE]
        assert (views[CODES].queries, views[CODES].gallery) == (
            with_longer_code.data["products"].held_out, 300
        )  # fmt: skip
    found = table["mirrored"]
    assert found[FINE].recall_at_k > 0.9  # JPEG rounds brightness a little


def test_first_hits_are_of_one_source_in_another(with_longer_code, sources, result):
    assert list(with_longer_code.first_hits) == ["photos to products: kind"]
    views = with_longer_code.first_hits["photos to products: kind"]
    assert list(views) == [CODES, FINE] and views[FINE].right == views[CODES].right == 1
    assert views[CODES].queries == with_longer_code.data["photos"].held_out
    # All of a kind have one code: the four first rows answer everything.
    (views,) = result.first_hits.values()
    assert views[CODES].hubs == 1 and FINE not in views


def test_at_most_so_many_pictures_are_changed_and_always_the_same(monkeypatch):
    monkeypatch.setattr("trainer.evaluation.evaluate.QUERIES", 3)
    pictures = drawn("products", 200, some_kinds(200, 2))
    table = evaluate(Drawn(perfect), [pictures], k=3).changed_picture
    assert {views[CODES].queries for views in table.values()} == {3}
