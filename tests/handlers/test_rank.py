"""Ranks `distance` and `fine`: what orders an answer, and what `debug` says of it."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from handlers.answer import Job, answer, begin, run_model
from handlers.body import RequestError
from handlers.request import Query, parse
from hashing.model import Model
from hashing.nearness import Nearness, Scale
from searcher import open_version
from searcher.live import Serving
from searcher.opened import Selection
from tests.brute_force import by_both_codes, distances_to, ranking_by_both
from tests.handlers.ranking import clustered_catalogue, product_of, shop_of
from tests.handlers.sending import sent
from tests.pictures import encoded

ROWS = 1500


@pytest.fixture(scope="module")
def catalogue():
    codes, paths = clustered_catalogue(5, ROWS)
    fine_codes = np.random.default_rng(5).integers(0, 256, (ROWS, 32), np.uint8)
    return codes, fine_codes, paths


@pytest.fixture(scope="module")
def serving(catalogue, publish_version, long_model, tmp_path_factory) -> Serving:
    codes, fine_codes, paths = catalogue
    folder = publish_version(
        tmp_path_factory.mktemp("index"),
        codes=codes,
        fine_codes=fine_codes,
        paths=paths,
        model=long_model,
    )
    return Serving(open_version(folder), Model.load(long_model))


@pytest.fixture(scope="module")
def photo() -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8)
    return encoded(Image.fromarray(values).resize((120, 90)), "PNG")


def asked(serving: Serving, **fields) -> dict:
    job = Job(Query(debug=True, **fields), serving, {})
    begin(job, max_pixels=64_000_000)
    if job.pixels is not None:
        run_model([job])
    return answer(job)


def outputs_of(serving: Serving, photo: bytes) -> np.ndarray:
    return serving.model.outputs(serving.model.pixels(photo)[None])[0]


@pytest.mark.parametrize("rank", ["distance", "fine"])
@pytest.mark.parametrize("by_product", [False, True])
@pytest.mark.parametrize("shops", [None, frozenset(["shop1.example", "shop3.example"])])
@pytest.mark.parametrize("max_distance", [64, 30])
def test_pages_of_both_ranks_are_those_of_brute_force(
    serving, catalogue, photo, rank, by_product, shops, max_distance
):
    codes, fine_codes, paths = catalogue
    _, products = np.unique([str(product_of(path)) for path in paths], return_inverse=True)
    wanted, distances = ranking_by_both(
        codes,
        fine_codes,
        outputs_of(serving, photo),
        0.5 if rank == "fine" else None,
        ROWS,
        max_distance,
        np.array([shops is None or shop_of(path) in shops for path in paths]),
        products if by_product else None,
    )
    selection = Selection(max_distance, shops, by_product=by_product)
    for diversity, offset, top_k in ((1, 0, 10), (1, 10, 10), (3, 2, 7), (1, 0, 1000), (40, 1, 30)):
        found = asked(
            serving,
            image=photo,
            rank=rank,
            selection=selection,
            diversity=diversity,
            offset=offset,
            top_k=top_k,
        )
        part = slice(offset * diversity, (offset + top_k) * diversity, diversity)
        assert found["relevant"] == [paths[row] for row in wanted[part]]
        assert found["distances"] == distances[part].tolist()
        assert found["rank"] == rank


def test_debug_says_how_similar_results_are(serving, catalogue, photo):
    codes, fine_codes, paths = catalogue
    similar, _ = by_both_codes(codes, fine_codes, outputs_of(serving, photo), 0.5)
    for rank in ("distance", "fine"):
        found = asked(serving, image=photo, rank=rank, top_k=200)
        wanted = [similar[paths.index(path)] for path in found["relevant"]]
        assert found["similarities"] == pytest.approx(wanted, abs=1e-4)
    assert found["similarities"] == sorted(found["similarities"], reverse=True)


def test_like_is_ordered_by_the_row_s_own_longer_code(serving, catalogue):
    codes, fine_codes, paths = catalogue
    outputs = np.unpackbits(np.concatenate([codes[7], fine_codes[7]])) * 2.0 - 1
    for rank, weight in (("distance", None), ("fine", 0.5)):
        found = asked(serving, like=paths[7], rank=rank, top_k=300)
        wanted, _ = ranking_by_both(codes, fine_codes, outputs, weight, 300)
        assert found["relevant"] == [paths[row] for row in wanted]
        assert (found["rank"], found["relevant"][0]) == (rank, paths[7])
        assert found["similarities"][0] == 1


def test_a_code_alone_falls_back_to_distance(serving, catalogue):
    codes, _, paths = catalogue
    found = asked(serving, code=codes[7].tobytes(), rank="fine", top_k=300)
    distances = distances_to(codes[7], codes)
    assert found["relevant"] == [paths[row] for row in np.argsort(distances, kind="stable")[:300]]
    assert found["rank"] == "distance" and "similarities" not in found


def test_without_a_longer_code_fine_answers_as_distance(
    catalogue, publish_version, tiny_models, long_model, photo, tmp_path
):
    """A version of before; and one of a model with a longer code that was imported without."""
    codes, _, paths = catalogue
    for number, model in (("1.0.0", tiny_models[0]), ("1.1.0", long_model)):
        folder = publish_version(tmp_path, number, codes=codes, paths=paths, model=model)
        serving = Serving(open_version(folder), Model.load(model))
        for query in ({"image": photo}, {"like": paths[3]}):
            one, other = (
                asked(serving, rank=rank, top_k=50, **query) for rank in ("distance", "fine")
            )
            assert one | {"ms": 0} == other | {"ms": 0} and other["rank"] == "distance"
            assert "similarities" not in other


def test_imported_without_a_model_like_is_ordered_by_both_codes(catalogue, serving):
    codes, fine_codes, paths = catalogue
    outputs = np.unpackbits(np.concatenate([codes[7], fine_codes[7]])) * 2.0 - 1
    blind = dataclasses.replace(serving, model=None)
    wanted, _ = ranking_by_both(codes, fine_codes, outputs, 1.0, 50)
    found = asked(blind, like=paths[7], rank="fine", top_k=50)
    assert found["relevant"] == [paths[row] for row in wanted] and "match" not in found


def test_each_result_has_a_word_for_how_near_it_is(serving, photo, long_model, tmp_path):
    match = Nearness(Scale(20, 30), Scale(0.2, 0.1))
    path = shutil.copy(long_model, tmp_path / "measured.pt")
    sidecar = dataclasses.replace(serving.model.sidecar, match=match)
    path.with_suffix(".json").write_text(sidecar.to_json())
    model = Model.load(path)
    by_both = asked(dataclasses.replace(serving, model=model), image=photo, rank="fine", top_k=1000)
    assert by_both["match"] == [match.word(64, value) for value in by_both["similarities"]]
    by_distance = asked(dataclasses.replace(serving, model=model), image=photo, top_k=1000)
    assert by_distance["match"] == [match.word(value, None) for value in by_distance["distances"]]
    assert len({*by_both["match"]}) > 1 and len({*by_distance["match"]}) > 1
    assert "match" not in asked(serving, image=photo), "nobody measured it"


def test_without_debug_an_answer_says_no_more_than_the_contract(serving, photo):
    job = Job(Query(image=photo, rank="fine"), serving, {})
    begin(job, max_pixels=64_000_000)
    run_model([job])
    assert set(answer(job)) == {"index_database_version", "relevant"}


# -- the field -----------------------------------------------------------------------------------


def test_a_request_that_names_no_rank_has_the_service_s():
    assert parse(sent({"code": "0" * 16})).rank == "distance"
    assert parse(sent({"code": "0" * 16}), "fine").rank == "fine"
    assert parse(sent({"code": "0" * 16, "rank": "distance"}), "fine").rank == "distance"
    assert parse(sent({"code": "0" * 16, "rank": "fine"})).rank == "fine"


@pytest.mark.parametrize("value", ["", "Fine", "nearest", None, 1, ["fine"], {}])
def test_another_rank_is_refused(value):
    with pytest.raises(RequestError, match='rank must be "distance" or "fine"') as caught:
        parse(sent({"code": "0" * 16, "rank": value}))
    assert (caught.value.status, caught.value.kind) == (400, "bad_rank")
