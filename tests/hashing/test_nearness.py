"""What a distance and a similarity say."""

import json

import pytest

from hashing.model import read_sidecar
from hashing.nearness import Nearness, Scale
from tests.hashing.test_model import save_model

DISTANCE = Scale(6, 18, ((0, 0.99), (12, 0.8), (30, 0.1)))
SIMILARITY = Scale(0.7, 0.3, ((0.9, 1.0), (0.1, 0.05)))


@pytest.mark.parametrize(
    ("distance", "word"), [(0, "same"), (6, "same"), (7, "alike"), (18, "alike"), (19, "far")]
)
def test_distances_are_near_up_to_a_bound(distance, word):
    assert Nearness(DISTANCE).word(distance, None) == word
    assert Nearness(DISTANCE, SIMILARITY).word(distance, None) == word
    assert Nearness(DISTANCE).word(distance, 0.5) == word, "nothing is known of similarities"


@pytest.mark.parametrize(
    ("similarity", "word"),
    [(1.0, "same"), (0.7, "same"), (0.69, "alike"), (0.3, "alike"), (0.29, "far"), (-1.0, "far")],
)
def test_similarities_are_near_from_a_bound_on(similarity, word):
    assert Nearness(DISTANCE, SIMILARITY).word(0, similarity) == word


@pytest.mark.parametrize("nearness", [Nearness(DISTANCE), Nearness(DISTANCE, SIMILARITY), None])
def test_a_sidecar_carries_it(tmp_path, nearness):
    path = save_model(tmp_path)
    sidecar = read_sidecar(path)
    values = json.loads(path.with_suffix(".json").read_text())
    written = json.loads(type(sidecar)(**{**vars(sidecar), "match": nearness}).to_json())
    assert ("match" in written) == (nearness is not None)
    path.with_suffix(".json").write_text(json.dumps({**values, **written}))
    assert read_sidecar(path).match == nearness


def test_an_older_sidecar_is_written_as_it_was(tmp_path):
    path = save_model(tmp_path)
    written = json.loads(read_sidecar(path).to_json())
    assert written == json.loads(path.with_suffix(".json").read_text())
