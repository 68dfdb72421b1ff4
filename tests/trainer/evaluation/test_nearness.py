"""What is measured to be near, on codes where it is known."""

import numpy as np
import pytest

from hashing.codes import pack
from trainer.evaluation.nearness import Asked, nearness

KINDS, PRODUCTS, PICTURES = 8, 60, 4


def turned(random: np.random.Generator, outputs: np.ndarray, bits: int) -> np.ndarray:
    """The outputs with so many signs changed in each row."""
    some = random.random(outputs.shape).argsort(axis=1)[:, :bits]
    changed = outputs.copy()
    np.put_along_axis(changed, some, -np.take_along_axis(outputs, some, 1), axis=1)
    return changed


@pytest.fixture
def asked():
    """asked(width) -> types, products.  Kinds are 32 bits of 64 apart, products of a kind at most
    16 and other pictures of a product 1; of 320 outputs five times as many."""

    def made(width: int, right=True):
        random = np.random.default_rng(0)
        times = width // 64
        kinds = np.where(random.random((KINDS, width)) < 0.5, -1.0, 1.0)
        kind = np.arange(PRODUCTS * PICTURES) % KINDS
        rows = turned(random, kinds[kind].astype(np.float32), 8 * times)
        names = np.array([f"product {row}" for row in range(len(rows))])
        there = kind.astype(str) if right else random.permutation(kind).astype(str)
        queries = turned(random, kinds[kind].astype(np.float32), 8 * times)
        gallery = pack(rows)
        types = Asked(queries, gallery, kind.astype(str), there)
        return [types], [Asked(turned(random, rows, times), gallery, names, names)]

    return made


def test_the_same_product_is_nearer_than_another_of_its_type(asked):
    match = nearness(*asked(64), None)
    assert match.similarity is None
    assert 2 <= match.distance.same <= 9
    assert 14 <= match.distance.alike <= 24
    shares = dict(match.distance.shares)
    assert all(share == 1 for value, share in shares.items() if value <= 14)
    assert all(share < 0.2 for value, share in shares.items() if value >= 26)
    assert [value for value, _ in match.distance.shares] == sorted(shares)


def test_similarities_are_measured_where_there_is_a_longer_code(asked):
    match = nearness(*asked(320), 0.5)
    assert match.similarity is not None
    assert 0.5 < match.similarity.same < 0.97 and 0.2 < match.similarity.alike < 0.6
    assert match.similarity.alike < match.similarity.same
    values = [value for value, _ in match.similarity.shares]
    assert values == sorted(values, reverse=True)
    assert match.similarity.shares[0][1] == 1 and match.similarity.shares[-1][1] < 0.2
    assert match.word(64, 0.97) == "same" and match.word(0, -0.2) == "far"


def test_codes_that_say_nothing_have_nothing_near(asked):
    types, (products,) = asked(320, right=False)
    random = np.random.default_rng(1)
    strangers = Asked(
        random.normal(size=products.outputs.shape).astype(np.float32),
        products.gallery,
        products.wanted,
        products.there,
    )
    match = nearness(types, [strangers], 0.5)
    assert match.similarity is not None
    assert (match.distance.same, match.distance.alike) == (-1, -1)
    assert match.word(0, None) == match.word(0, 1.0) == "far"


def test_queries_whose_type_is_not_known_are_left_out(asked):
    (types,), products = asked(64)
    wanted = np.where(np.arange(len(types.wanted)) % 2, types.wanted, "")
    half = Asked(types.outputs, types.gallery, wanted, types.there)
    kept = np.flatnonzero(wanted != "")
    some = Asked(types.outputs[kept], types.gallery, wanted[kept], types.there)
    assert nearness([half], products, None) == nearness([some], products, None)
