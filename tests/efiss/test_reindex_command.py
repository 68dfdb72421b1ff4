"""`efiss reindex`."""

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main
from efiss.commands.reindex import reindex as command
from indexer import pipeline
from indexer.known_codes import KnownCodes
from searcher import acknowledgements, report, switch
from searcher.index import Index
from searcher.version import read_manifest
from tests.running import efiss as efiss_process

INDEX = Path("index")


def draw(path, seed: int) -> None:
    blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blots).resize((48, 40), Image.Resampling.BICUBIC).save(path)
    os.utime(path, (1e9, 1e9))


def picture(i: int) -> Path:
    return Path(f"data/abc.com/{i:02}_abc_com.jpg")


@pytest.fixture
def efiss(tiny_models, tmp_path, monkeypatch):
    """efiss(…): `efiss reindex` of the twenty pictures of a shop in the current folder, with more
    options."""
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        draw(picture(i), i)

    def run(*options):
        given = ["reindex", "--datalake", "data", "--model_path", str(tiny_models[0])]
        return CliRunner().invoke(main, [*given, *options])

    return run


def failed(result, *words) -> None:
    """It ends with 1 and a sentence that names the step."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


# -- how it ends ---------------------------------------------------------------------------------


def test_done_is_0_and_nothing_new_is_3(efiss):
    assert efiss().exit_code == 0
    assert efiss().exit_code == 3
    draw(picture(20), 20)
    assert efiss().exit_code == 0
    assert (Index(INDEX).live(), Index(INDEX).before()) == ("1.1.0", ["1.0.0"])


def test_refused_is_4_until_it_is_forced(efiss):
    efiss()
    for i in range(10):
        picture(i).unlink()
    for _ in range(2):
        result = efiss()
        assert (result.exit_code, result.stderr) == (4, "")
        assert Index(INDEX).live() == "1.0.0"
    assert re.search(r"^catalogue shrunk by +50 % .* REFUSED$", result.stdout, re.MULTILINE)
    assert "version 1.1.0 stays off: catalogue shrunk by 50 % (at most" in result.stdout
    assert efiss("--force").exit_code == 0
    assert Index(INDEX).live() == "1.1.0"
    assert report.stored(INDEX / "1.1.0").verdict == report.FORCED


def test_the_model_stays_until_another_is_named(efiss, tiny_models, monkeypatch):
    """And the check says, in a line of its own, that it changes, or that another is shipped."""
    monkeypatch.setenv("EFISS_MODELS", str(tiny_models[1]))
    efiss()

    def run(*words):
        return CliRunner().invoke(main, words)

    draw(picture(20), 20)
    result = run("reindex")
    assert result.exit_code == 3  # the list is as it was
    result = run("reindex", "--datalake", "data")
    hint = rf"has the model tiny-1 \(\w{{8}}\), which stays; .* is tiny-2 .*{tiny_models[1]}"
    assert result.exit_code == 0 and re.search(hint, result.stdout)
    assert "changes from" not in run("check", "1.1.0").stdout
    assert re.search(hint, run("check", "1.1.0").stdout)
    assert run("reindex", "--model_path", str(tiny_models[1])).exit_code == 0
    line = r"^the model changes from tiny-1 \(\w{8}\) to tiny-2 \(\w{8}\)$"
    said = run("check", "1.2.0").stdout
    assert re.search(line, said, re.MULTILINE) and not re.search(hint, said)
    assert run("reindex").exit_code == 3 and Index(INDEX).live() == "1.2.0"


def test_the_first_version_has_the_model_of_the_environment(efiss, tiny_models, monkeypatch):
    monkeypatch.setenv("EFISS_MODELS", str(tiny_models[1]))
    assert CliRunner().invoke(main, ["reindex", "--datalake", "data"]).exit_code == 0
    assert read_manifest(INDEX / "1.0.0").model["name"] == "tiny-2"


def test_what_the_file_of_thresholds_allows_is_not_refused(efiss):
    efiss()
    for i in range(10):
        picture(i).unlink()
    Path("efiss.toml").write_text("[check]\nmost_shrunk = 50\n")
    assert efiss().exit_code == 0


def test_a_damaged_file_that_kept_size_and_time_is_read_by_the_advice_of_verify(efiss):
    damaged = Path("data/abc.com/99_abc_com.png")
    for colour in ("red", "blue"):
        Image.new("RGB", (48, 40), colour).save(damaged, compress_level=0)
        os.utime(damaged, (1e9, 1e9))
        if colour == "red":
            efiss()
    result = CliRunner().invoke(main, ["verify", "1.0.0"])
    assert result.exit_code == 1 and "index the catalogue again, with --trust_content" in (
        result.stderr
    )
    assert efiss().exit_code == 3
    assert efiss("--trust_content").exit_code == 0
    assert CliRunner().invoke(main, ["verify", "1.1.0"]).exit_code == 0


def test_rolled_back_is_4_until_it_is_forced(efiss):
    efiss()
    draw(picture(20), 20)
    efiss()
    CliRunner().invoke(main, ["rollback"])
    result = efiss()
    assert result.exit_code == 4 and "somebody rolled back from it" in result.stdout
    assert Index(INDEX).live() == "1.0.0"
    assert efiss("--force").exit_code == 0
    assert Index(INDEX).live() == "1.1.0"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--datalake", "nowhere"], "extract: extract_datalake.sh: there is no folder 'nowhere'"),
        (["--model_path", "nothing.pt"], "index: nothing.pt: no such model"),
        (["--device", "cuda:99"], "index: device 'cuda:99' is not there"),
        (["--new_index_database_version", "2"], "index: '2' is not a version number"),
        (["--config", "bad.toml"], "reindex: bad.toml: [check] has no x; it may have"),
        (["--index_root", "data/abc.com/00_abc_com.jpg/x"], "cannot be written: Not a directory"),
    ],
)
def test_failed_is_1_and_the_sentence_names_the_step(efiss, options, words):
    Path("bad.toml").write_text("[check]\nx = 1\n")
    failed(efiss(*options), words)
    assert Index(INDEX).versions() == []


def test_a_setting_that_is_none(efiss, monkeypatch):
    monkeypatch.setenv("EFISS_MAX_PIXELS", "many")
    failed(efiss(), "EFISS_MAX_PIXELS must be a whole number")


def test_pictures_none_of_which_can_be_read(efiss):
    efiss()
    for i in range(20):
        picture(i).write_text("no picture")
    failed(efiss(), "index: 20 of 20 pictures could not be read", "index/rejected-1.1.0.csv")
    assert Index(INDEX).live() == "1.0.0"


def test_a_worker_that_does_not_follow(efiss, monkeypatch):
    efiss()
    word = acknowledgements.Word("elsewhere", 7, "1.0.0", "1.0.0", 0, None, [])
    monkeypatch.setattr(acknowledgements, "alive", lambda root: [word])
    draw(picture(20), 20)
    failed(efiss("--wait", "1"), "activate: version 1.1.0 was taken back and 1.0.0 stays live")
    assert Index(INDEX).live() == "1.0.0"


def test_a_worker_that_refuses_the_live_version(efiss, monkeypatch):
    """As after a kill in the middle of a switch: CURRENT names what a worker does not open."""
    efiss()
    when = Index(INDEX).activation()[1]
    word = acknowledgements.Word("here", 7, "0.9.0", "1.0.0", when, "no room", [])
    monkeypatch.setattr(acknowledgements, "alive", lambda root: [word])
    failed(
        efiss(),
        "version 1.0.0 is live and holds just this catalogue, but worker here-7 refused it: no room"
        "; mend that, or `efiss rollback` makes the version before live",
    )


def test_another_reindex_runs(efiss):
    with Index(INDEX).reindexing():
        failed(efiss(), "another reindex of index runs; wait until it has ended")


def test_an_option_that_is_wrong_is_2(efiss):
    assert efiss("--keep", "0").exit_code == 2


# -- options -------------------------------------------------------------------------------------


def test_the_number_may_be_given(efiss):
    assert efiss("--new_index_database_version", "4.0.0").exit_code == 0
    assert efiss("--new_index_database_version", "4.0.0").exit_code == 3
    assert Index(INDEX).versions() == ["4.0.0"]


def test_so_many_versions_stay(efiss):
    for i in range(20, 25):
        draw(picture(i), i)
        result = efiss("--keep", "2")
    assert Index(INDEX).versions() == ["1.3.0", "1.4.0"]
    assert re.search(r" prune +removed 1\.2\.0\n", result.stdout)


def test_the_catalogue_may_stand_in_the_environment(efiss, monkeypatch, tiny_models):
    shutil.move("data", "elsewhere")
    monkeypatch.setenv("EFISS_DATALAKE", "elsewhere")
    monkeypatch.setenv("EFISS_DATABASE", "listed.txt")
    result = CliRunner().invoke(main, ["reindex", "--model_path", str(tiny_models[0])])
    assert result.exit_code == 0
    assert Path("listed.txt").read_text().startswith("elsewhere/abc.com/00_abc_com.jpg\n")


def test_patterns_to_pass_over_are_options_or_stand_in_the_environment(efiss, monkeypatch):
    monkeypatch.setenv("EFISS_EXCLUDE", "01_*:02_*")
    efiss()
    names = [Path(line).name[:2] for line in Path("database_info.txt").read_text().splitlines()]
    assert names[:2] == ["00", "03"]
    efiss("--exclude", "00_*", "--exclude", "abc.com/03*")
    names = [Path(line).name[:2] for line in Path("database_info.txt").read_text().splitlines()]
    assert names[:3] == ["01", "02", "04"]


def test_help_names_every_option():
    output = CliRunner().invoke(main, ["reindex", "--help"]).output
    for option in command.params:
        assert option.opts[0] in output
        assert option.help


# -- what it tells -------------------------------------------------------------------------------


def test_the_log_has_a_line_with_the_time_for_every_step(efiss):
    lines = efiss().stdout.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w", line) for line in lines)
    assert [line.split(maxsplit=2)[2] for line in lines][:-1] == [
        "extract  listing data",
        "extract  database_info.txt: 20 images in 1 shop",
        "index    indexing database_info.txt",
        "index    version 1.0.0 built: 20 rows, 20 hashed now, 0 known, 0 rejected",
        "check    checking 1.0.0",
        "check    version 1.0.0: passed",
        "activate switching from none to 1.0.0",
        "activate version 1.0.0 is live, no service follows now",
        "prune    removed nothing",
    ]
    assert re.search(r" done +version 1\.0\.0 is live \(\d+ s\)$", lines[-1])


def test_long_steps_say_now_and_then_how_far_they_are(efiss, monkeypatch):
    monkeypatch.setattr("efiss.commands.reindex.PAUSES", {True: 0.0, False: 0.0})
    output = efiss().stdout
    assert re.search(r" index    20 of 20, [\d,]+/s\n", output)
    assert re.search(r" check    7 of 20, [\d,]+/s, 0 min left\n", output)


def test_every_step_as_a_line_of_json(efiss):
    *events, end = map(json.loads, efiss("--json").stdout.splitlines())
    assert list(dict.fromkeys(event["step"] for event in events)) == [
        *("extract", "index", "check", "activate", "prune")
    ]
    names = {"step", "done", "total", "message", "rate", "seconds_left"}
    assert all(set(event) == names for event in events)
    for step in ("index", "check"):
        counted = [event for event in events if event["step"] == step and event["total"]]
        assert (counted[-1]["done"], counted[-1]["total"]) == (20, 20)
    assert (end["state"], end["version"], end["before"]) == ("done", "1.0.0", None)
    assert end["report"] == json.loads((INDEX / "1.0.0/check.json").read_text())


@pytest.mark.parametrize(("gone", "state", "code"), [(0, "nothing_new", 3), (10, "refused", 4)])
def test_the_last_line_of_json_says_how_it_ended(efiss, gone, state, code):
    efiss()
    for i in range(gone):
        picture(i).unlink()
    result = efiss("--json")
    assert result.exit_code == code
    end = json.loads(result.stdout.splitlines()[-1])
    assert (end["state"], end["before"]) == (state, "1.0.0")
    assert end["report"]["verdict"] == ("passed" if code == 3 else "refused")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--model_path", "nothing.pt"], "index: nothing.pt: no such model; give a .pt file or a"),
        (["--database", "no/list.txt"], "extract: extract_datalake.sh: cannot write into './no/'"),
    ],
)
def test_the_last_line_of_json_says_why_it_failed(efiss, option, message):
    result = efiss("--json", *option)
    end = json.loads(result.stdout.splitlines()[-1])
    assert end.keys() == {"state", "message"} and end["state"] == "failed"
    assert end["message"].startswith(message)
    assert result.exit_code == 1 and result.stderr == f"Error: {end['message']}\n"


def test_a_crash_has_no_last_line_of_json(efiss, monkeypatch):
    monkeypatch.setattr(pipeline, "publish", lambda *_: np.zeros(3) + np.zeros(4))
    result = efiss("--json")
    assert result.exit_code == 70 and "operands could not be broadcast" in result.stderr
    assert all("state" not in json.loads(line) for line in result.stdout.splitlines())


# -- stopped -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_what_was_hashed_is_kept(efiss, monkeypatch, number):
    efiss()
    for i in range(20, 30):
        draw(picture(i), i)
    keep, kept = KnownCodes.keep, []

    def keep_and_stop(known, *record):
        keep(known, *record)
        kept.append(record)
        if len(kept) == 4:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patched:
        patched.setattr(KnownCodes, "keep", keep_and_stop)
        failed(efiss(), "index: stopped; what was hashed is kept, and the next run goes on")
    assert Index(INDEX).versions() == ["1.0.0"]
    result = efiss()
    assert result.exit_code == 0
    assert "version 1.1.0 built: 30 rows, 6 hashed now, 24 known" in result.stdout


def test_a_signal_while_the_workers_follow_takes_the_version_back(efiss, monkeypatch):
    efiss()
    draw(picture(20), 20)
    with monkeypatch.context() as patched:
        patched.setattr(switch, "_wait", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        failed(efiss(), "activate: stopped; ")
    assert Index(INDEX).live() == "1.0.0"
    assert efiss().exit_code == 0
    assert Index(INDEX).live() == "1.1.0"


def test_as_cron_runs_it(efiss, tiny_models, tmp_path):
    """A process of its own: what the others see of it is the exit code, stdout and stderr."""
    words = ("reindex", "--datalake", "data", "--model_path", str(tiny_models[0]))
    for code in (0, 3):
        done = efiss_process(*words, folder=tmp_path)
        assert (done.returncode, done.stderr) == (code, "")
