"""The benchmark of how codes are cut, small."""

import json

from click.testing import CliRunner

from benchmarks import cuts


def test_both_cuts_are_measured_and_find_the_same(tmp_path):
    arguments = ["--size", "5000", "--queries", "5", "--keep", str(tmp_path / "kept")]
    for _ in range(2):  # the second one takes what the first has made
        done = CliRunner().invoke(cuts.cuts, [*arguments, "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
    searches = json.loads((tmp_path / "cuts.json").read_text())["searches"]
    assert [(one["codes"], one["parts"]) for one in searches] == [
        (kind, parts) for kind in ("uniform", "clustered") for parts in (3, 4)
    ]
    assert [one["chosen"] for one in searches] == [False, True] * 2
