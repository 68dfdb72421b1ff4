"""`efiss search`, in front of the client."""

import json

import pytest
from click.testing import CliRunner

from efiss.cli import main
from tests.test_efiss_client import ANSWER, Said, server  # noqa: F401 (a fixture)

NOTHING_NEAR = "nothing is near: all of these show something else, most likely"


@pytest.mark.parametrize(
    ("match", "is_said"),
    [(["far", "far"], True), (["alike", "far"], False), (["same", "same"], False), (None, False)],
)
def test_it_says_when_nothing_is_near(server, match, is_said):  # noqa: F811
    answer = ANSWER if match is None else ANSWER | {"match": match}
    server.says = [Said(body=json.dumps(answer).encode())]
    done = CliRunner().invoke(main, ["search", "--like", "a/b.jpg", "--url", server.url])
    assert done.exit_code == 0 and "data/a.com/1_a.jpg" in done.stdout
    assert (NOTHING_NEAR in done.stdout) == is_said
    assert server.bodies[0]["rank"] == "fine"


def test_no_results_are_not_far(server):  # noqa: F811
    nothing = ANSWER | {"relevant": [], "distances": [], "match": []}
    server.says = [Said(body=json.dumps(nothing).encode())]
    done = CliRunner().invoke(main, ["search", "--like", "a/b.jpg", "--url", server.url])
    assert done.exit_code == 0 and NOTHING_NEAR not in done.stdout


@pytest.mark.parametrize("rank", ["fine", "distance", None])
def test_it_shows_the_similarity_where_that_made_the_order(server, rank):  # noqa: F811
    answer = ANSWER | {"rank": rank, "similarities": [0.7731, 0.0214]}
    server.says = [Said(body=json.dumps(answer).encode())]
    done = CliRunner().invoke(main, ["search", "--like", "a/b.jpg", "--url", server.url])
    _, heading, first, _ = done.stdout.splitlines()
    if rank == "fine":
        assert heading.split() == ["rank", "similarity", "distance", "path"]
        assert first.split() == ["1", "0.77", "2", "data/a.com/1_a.jpg"]
    else:
        assert heading.split() == ["rank", "distance", "path"]
        assert first.split() == ["1", "2", "data/a.com/1_a.jpg"]
