"""The benchmark of the order, small."""

from click.testing import CliRunner

from benchmarks import ties


def test_prints_the_cost_of_every_order_for_every_kind_of_codes_and_every_k():
    done = CliRunner().invoke(ties.ties, ["--size", "2000", "--queries", "2", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    heading, *lines = done.output.splitlines()
    assert heading.split()[:6] == ["rows", "codes", "k", "plain", "distance", "fine"]
    assert [tuple(line.split()[:3]) for line in lines] == [
        ("2,000", kind, k) for kind in ("uniform", "clustered", "tied") for k in ("10", "1,000")
    ]
    for line in lines:
        milliseconds = line.replace("ms", " ").split()[3:]
        assert len(milliseconds) == 4 and min(map(float, milliseconds)) > 0
