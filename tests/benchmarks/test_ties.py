"""The benchmark of the tie order, small."""

from click.testing import CliRunner

from benchmarks import ties


def test_prints_a_ratio_for_every_kind_of_codes_and_every_k(monkeypatch, model_path):
    monkeypatch.setattr(ties, "SIZES", (2000,))
    done = CliRunner().invoke(
        ties.ties, ["--queries", "2", "--rounds", "1", "--model_path", str(model_path)]
    )
    assert done.exit_code == 0, done.output
    heading, *lines = done.output.splitlines()
    assert heading.split() == ["rows", "codes", "k", "plain", "ordered", "ratio"]
    assert [tuple(line.split()[1:3]) for line in lines] == [
        (kind, k) for kind in ("uniform", "clustered", "tied") for k in ("10", "1,000")
    ]
    assert all(float(line.split()[-1].removesuffix("x")) > 0 for line in lines)
