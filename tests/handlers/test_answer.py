"""From a checked query to the answer: pages, parts of pictures, the ways to ask."""

import base64
import dataclasses
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.answer import CROPPED_EDGE, Job, answer, begin, page, run_model
from handlers.body import RequestError
from handlers.request import Query
from hashing.model import Model
from searcher import open_version
from searcher.live import Serving
from searcher.opened import Selection
from tests.handlers.ranking import clustered_catalogue, ranked
from tests.pictures import encoded

# -- pages ---------------------------------------------------------------------------------------

selections = st.fixed_dictionaries(
    {"by_product": st.booleans()},
    optional={
        "max_distance": st.integers(0, 64) | st.integers(0, 8),
        "shops": st.frozensets(st.sampled_from(["shop1.example", "shop3.example", "none"])),
        "exclude_shops": st.frozensets(st.sampled_from(["shop1.example", "shop2.example", "none"])),
    },
)


@settings(max_examples=60)
@given(
    n=st.integers(1, 30) | st.integers(1, 400),
    seed=st.integers(0, 2**32 - 1),
    selection=selections,
    with_outputs=st.booleans(),
    offset=st.integers(0, 12) | st.integers(0, 300),
    top_k=st.integers(1, 20) | st.integers(1, 300),
    diversity=st.integers(1, 5) | st.integers(1, 100),
)
def test_pages_equal_brute_force_and_join(
    publish_version, n, seed, selection, with_outputs, offset, top_k, diversity
):
    codes, paths = clustered_catalogue(seed, n)
    rng = np.random.default_rng(seed + 1)
    code, outputs = codes[rng.integers(n)] ^ np.uint8(seed % 3), None
    if with_outputs:
        signs = np.unpackbits(code) * 2.0 - 1
        outputs = (signs * (rng.random(64) + 0.01)).astype(np.float32)
    with tempfile.TemporaryDirectory() as root:
        index = open_version(publish_version(Path(root), codes=codes, paths=paths))

        def rows(offset: int, top_k: int) -> list[tuple[int, int]]:
            query = Query(code=code.tobytes(), offset=offset, top_k=top_k, diversity=diversity,
                          selection=Selection(**selection))  # fmt: skip
            found, distances = page(index, code, outputs, query)
            return list(zip(found.tolist(), distances.tolist(), strict=True))

        wanted = ranked(codes, paths, code, outputs, **selection)
        assert rows(offset, top_k) == wanted[offset * diversity :: diversity][:top_k]
        assert rows(0, offset + top_k) == (rows(0, offset) if offset else []) + rows(offset, top_k)


# -- parts of a picture --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serving(publish_version, tiny_models, tmp_path_factory) -> Serving:
    folder = publish_version(tmp_path_factory.mktemp("index"), codes=np.eye(64, 8, dtype=np.uint8))
    return Serving(open_version(folder), Model.load(tiny_models[0]))


def hashed(serving: Serving, image: bytes, box=None) -> Job:
    job = Job(Query(image=image, box=box), serving, {})
    begin(job, max_pixels=64_000_000)
    run_model([job])
    return job


def two_halves(size=(400, 200), **options) -> bytes:
    """Noise at the left, another noise at the right."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 16, 3), np.uint8)
    return encoded(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), "PNG", **options)


def test_a_part_is_hashed_as_the_picture_of_it_alone(serving):
    # So small that neither of them is made smaller while it is decoded, which rounds.
    whole = Image.open(io.BytesIO(two_halves((120, 60))))
    alone = encoded(whole.crop((30, 15, 90, 45)), "PNG")
    part = hashed(serving, two_halves((120, 60)), (0.25, 0.25, 0.75, 0.75))
    np.testing.assert_array_equal(part.outputs, hashed(serving, alone).outputs)
    assert (part.outputs != hashed(serving, two_halves()).outputs).any()


def test_the_whole_box_is_no_box(serving):
    with_box = hashed(serving, two_halves((4000, 2000)), (0, 0, 1, 1))
    np.testing.assert_array_equal(
        with_box.outputs, hashed(serving, two_halves((4000, 2000))).outputs
    )


def test_a_box_marks_a_part_of_the_upright_picture(serving):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter to the right
    lying = Image.open(io.BytesIO(two_halves()))
    upright = encoded(lying.transpose(Image.Transpose.ROTATE_270), "PNG")
    box = (0, 0, 1, 0.5)
    turned = hashed(serving, two_halves(exif=exif), box)
    np.testing.assert_array_equal(turned.outputs, hashed(serving, upright, box).outputs)
    assert (turned.outputs != hashed(serving, two_halves(), box).outputs).any()


def test_a_small_part_of_a_large_picture_keeps_its_pixels(serving):
    """Decoded for the whole picture, the part would be two pixels."""
    rng = np.random.default_rng(1)
    pixels = np.full((3200, 3200, 3), 128, np.uint8)
    pixels[:64, :64] = rng.integers(0, 256, (64, 64, 3), np.uint8)
    whole, alone = Image.fromarray(pixels), Image.fromarray(pixels[:64, :64])
    part = hashed(serving, encoded(whole, "PNG"), (0, 0, 0.02, 0.02))
    np.testing.assert_array_equal(part.outputs, hashed(serving, encoded(alone, "PNG")).outputs)


def test_the_answer_shows_the_part_that_was_searched_by(serving, model):
    image = two_halves((2400, 800))
    job = hashed(dataclasses.replace(serving, model=model), image, (0.5, 0, 1, 0.5))
    shown = Image.open(io.BytesIO(base64.b64decode(answer(job)["cropped_image"])))
    assert shown.format == "JPEG" and shown.size == (CROPPED_EDGE, round(CROPPED_EDGE / 3))
    wanted = Image.open(io.BytesIO(image)).crop((1200, 0, 2400, 400))
    difference = np.asarray(shown, np.int16) - np.asarray(wanted.resize(shown.size), np.int16)
    assert np.abs(difference).mean() < 8
    assert "cropped_image" not in answer(hashed(serving, two_halves()))


# -- the ways to ask -----------------------------------------------------------------------------


def test_like_and_its_code_ask_the_same(serving):
    answers = []
    path = serving.opened.path(5)
    for query in (
        Query(like=path, debug=True),
        Query(code=serving.opened.code(5).tobytes(), debug=True),
    ):
        job = Job(query, serving, {"parse": 0.1})
        begin(job, max_pixels=64_000_000)
        answers.append(answer(job))
    steps = [list(each.pop("ms")) for each in answers]
    assert steps == [["parse", "like", "search"], ["parse", "search"]]
    assert answers[0].pop("like") == {"shop": "abc.com", "product": "5"}
    assert answers[0] == answers[1]
    assert answers[0]["code"] == serving.opened.code(5).tobytes().hex()


NFC, NFD = "caf\u00e9.com", "cafe\u0301.com"


@pytest.fixture(scope="module")
def nested(publish_version, tmp_path_factory) -> Serving:
    """A version whose shops hold folders."""
    paths = ["d/abc.com/dresses/1_a.jpg", "d/abc.com/shoes/1_a.jpg", "d/xyz.com/dresses/1_a.jpg",
             f"d/{NFC}/1.jpg", f"d/{NFD}/2.jpg"]  # fmt: skip
    folder = publish_version(
        tmp_path_factory.mktemp("index"), codes=np.eye(5, 8, dtype=np.uint8), paths=paths,
        model=False, shops={"datalake": "d"},
    )  # fmt: skip
    return Serving(open_version(folder), None)


def asked(serving: Serving, like=None, **selection) -> dict:
    by = {"like": like} if like else {"code": bytes(8)}
    job = Job(Query(**by, selection=Selection(**selection), debug=True), serving, {})
    begin(job, max_pixels=1)
    return answer(job)


def test_debug_tells_shops_and_products_by_the_rule_of_the_version(nested):
    told = asked(nested, shops=frozenset(["abc.com", "xyz.com"]), by_product=True)
    assert dict(zip(told["relevant"], zip(told["shops"], told["products"], strict=True),
                    strict=True)) == {
        "d/abc.com/dresses/1_a.jpg": ("abc.com", "dresses/1"),
        "d/abc.com/shoes/1_a.jpg": ("abc.com", "shoes/1"),
        "d/xyz.com/dresses/1_a.jpg": ("xyz.com", "dresses/1"),
    }  # fmt: skip
    assert "unknown_shops" not in told


@pytest.mark.parametrize("name", [NFC, NFD])
def test_a_name_in_nfc_is_the_same_in_nfd(nested, name):
    both = {f"d/{NFC}/1.jpg", f"d/{NFD}/2.jpg"}
    assert set(asked(nested, shops=frozenset([name]))["relevant"]) == both
    assert both.isdisjoint(asked(nested, exclude_shops=frozenset([name]))["relevant"])
    for file in ("1", "2"):
        assert asked(nested, like=f"d/{name}/{file}.jpg")["distances"][0] == 0


def test_shops_none_of_which_is_known_are_refused_with_the_nearest(nested):
    for names in (["abd.com"], ["zzz", "abd.com"], ["dresses"]):
        with pytest.raises(RequestError, match=r"^version 1\.0\.0 has no shop") as caught:
            asked(nested, shops=frozenset(names))
        assert (caught.value.status, caught.value.kind) == (400, "unknown_shops")
    with pytest.raises(RequestError, match=r'no shop "abd.com", did you mean "abc.com"\?'):
        asked(nested, shops=frozenset(["abd.com"]))
    with pytest.raises(RequestError, match=r'shop "caf\u00e8.com", did you mean "caf'):
        asked(nested, shops=frozenset(["caf\u00e8.com"]))


def test_an_unknown_shop_among_known_ones_is_told(nested):
    told = asked(nested, shops=frozenset(["abc.com", "abd.com"]))
    assert len(told["relevant"]) == 2 and told["unknown_shops"] == ["abd.com"]
    told = asked(nested, exclude_shops=frozenset(["nobody"]))
    assert len(told["relevant"]) == 5 and told["unknown_shops"] == ["nobody"]


def test_a_path_that_the_version_lacks_is_404(serving):
    for like in ("data/abc.com/5_abc_com.jp", "", "DATA/abc.com/5_abc_com.jpg", "a\0b"):
        with pytest.raises(RequestError, match=r"^version 1\.0\.0 has no picture") as caught:
            begin(Job(Query(like=like), serving, {}), max_pixels=1)
        assert (caught.value.status, caught.value.kind) == (404, "unknown_like")


def test_without_a_model_a_picture_is_409_whatever_its_bytes(serving):
    blind = dataclasses.replace(serving, model=None)
    with pytest.raises(RequestError, match=r"without a model.*code or like") as caught:
        begin(Job(Query(image=b"no picture"), blind, {}), max_pixels=1)
    assert (caught.value.status, caught.value.kind) == (409, "no_model")
