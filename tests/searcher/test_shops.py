"""Which shop and product a path is of."""

import itertools
import unicodedata

import numpy as np
import pytest

from searcher import columns
from searcher.paths import Paths
from searcher.shops import (
    LAST_FOLDER,
    ShopRule,
    is_rule,
    nearest,
    rule_of,
    spellings,
    spellings_of_path,
)


@pytest.mark.parametrize(
    ("rule", "path", "shop", "product"),
    [
        (LAST_FOLDER, "data/abc.com/69_abc_com.jpg", "abc.com", "69"),
        (LAST_FOLDER, "data/abc.com/dresses/69_1.jpg", "dresses", "69"),
        (LAST_FOLDER, "69_none.jpg", "", "69"),
        (LAST_FOLDER, "data/abc.com/_1.jpg", "abc.com", "_1.jpg"),
        (ShopRule("data"), "data/abc.com/69_abc_com.jpg", "abc.com", "69"),
        (ShopRule("data/"), "data/abc.com/a/b/69_1.jpg", "abc.com", "a/b/69"),
        (ShopRule("data"), "data//abc.com//a/69_1.jpg", "abc.com", "a/69"),
        (ShopRule("data"), "data/69_1.jpg", "data", "69"),
        (ShopRule("data"), "database/abc.com/x/69_1.jpg", "x", "69"),
        (ShopRule("."), "./abc.com/x/69_1.jpg", "abc.com", "x/69"),
        (ShopRule("/"), "/abc.com/x/69_1.jpg", "abc.com", "x/69"),
        (ShopRule("/srv/dat\udcff"), "/srv/dat\udcff/ab\udcff/x/1_\udcff.jpg", "ab\udcff", "x/1"),
        (ShopRule(depth=2), "data/abc.com/x/69_1.jpg", "abc.com", "x/69"),
        (ShopRule(depth=2), "/data/abc.com/x/69_1.jpg", "abc.com", "x/69"),
        (ShopRule(depth=3), "s3://bucket/abc.com/x/69_1.jpg", "abc.com", "x/69"),
        (ShopRule(depth=4), "data/abc.com/69_1.jpg", "abc.com", "69"),
    ],
)
def test_shop_and_product_of_a_path(rule, path, shop, product):
    assert rule.described(path) == (shop, product)
    assert is_rule(rule.as_json()) and rule_of({"shops": rule.as_json()}) == rule


@pytest.mark.parametrize("rule", [LAST_FOLDER, ShopRule("data"), ShopRule(depth=2)])
def test_the_columns_tell_apart_what_is_shown_apart(rule):
    paths = [
        "data/abc.com/69_a.jpg", "data/abc.com/69_b.jpg", "data/abc.com/dresses/69_a.jpg",
        "data/abc.com/shoes/69_a.jpg", "data/xyz.com/dresses/69_a.jpg", "data/69_a.jpg",
        "data/abc.com/shoes/69_b.jpg", "elsewhere/abc.com/69_a.jpg",
    ]  # fmt: skip
    arrays, shops = columns.build(Paths.of(paths), rule)
    shown = [rule.described(path) for path in paths]
    assert [shop for shop, _ in shown] == [shops[number] for number in arrays["shops"]]
    for (one, number), (other, another) in itertools.combinations(
        zip(shown, arrays["products"], strict=True), 2
    ):
        assert (one == other) == (number == another)


def test_what_a_manifest_may_say():
    assert rule_of({}) == rule_of({"shops": {}}) == LAST_FOLDER
    assert LAST_FOLDER.as_json() == {}
    assert not is_rule([]) and not is_rule({"depth": "2"}) and not is_rule({"datalake": 2})


def test_names_in_both_forms_are_one():
    assert (
        set(spellings("caf\u00e9")) == set(spellings("cafe\u0301")) == {"caf\u00e9", "cafe\u0301"}
    )
    assert spellings("plain") == ["plain"]


def test_the_names_of_a_path_may_be_in_different_forms():
    mixed = "cafe\u0301/tu\u0308r/\u00e9_1.jpg"
    for form in ("NFC", "NFD"):
        tried = list(spellings_of_path(unicodedata.normalize(form, mixed)))
        assert mixed in tried and tried[0] == unicodedata.normalize(form, mixed)
    assert list(spellings_of_path("a/b.jpg")) == ["a/b.jpg"] * 2
    assert len(list(spellings_of_path("\u00e9/" * 1000))) == 64


def test_the_nearest_name_is_found_among_many():
    assert nearest("acb.com", ["xyz.com", "abc.com"]) == "abc.com"
    names = {f"{letter}{i}.com" for letter in "xyz" for i in np.arange(1000)}
    assert nearest("y77.co", names) == "y77.com"
    assert nearest("A", names) in names
