"""Judging a version: what is measured, what is refused, and what the report keeps."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashing.model import Model
from indexer import judge
from indexer.judge import Thresholds, read_thresholds
from machine.settings import SettingError
from searcher import report, switch
from searcher.index import Index
from searcher.switch import Unfit
from searcher.version import VersionError, verify
from tests.running import ROOT

INDEX = Path("index")
LENIENT = Thresholds(most_shrunk=100, most_rejected=100, least_self_retrieval=0, most_gone=100)


def draw(path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pictures(count: int, shop: str = "abc") -> list[str]:
    """The paths of some pictures that are drawn now."""
    paths = [f"data/{shop}.com/{i}_{shop}_com.png" for i in range(count)]
    for seed, path in enumerate(paths):
        draw(path, seed)
    return paths


@pytest.fixture
def publish(publish_version, tiny_models, tmp_path, monkeypatch):
    """publish("1.0.0", paths, model=…): a version of pictures that are there.  Each version that
    is published so has one rejected line."""
    monkeypatch.chdir(tmp_path)

    def publish(version: str, paths: list[str], model: Path = tiny_models[0]) -> Path:
        opened = Model.load(model)
        pixels = np.stack([opened.pixels(Path(path).read_bytes()) for path in paths])
        return publish_version(INDEX, version, codes=opened.codes(pixels), paths=paths, model=model)

    return publish


@pytest.fixture
def publish_codes(publish_version, tmp_path, monkeypatch):
    """publish_codes("1.0.0", codes, paths): a version without a model, so that nothing is hashed
    again."""
    monkeypatch.chdir(tmp_path)

    def publish(version: str, codes: np.ndarray, paths: list[str] | None = None) -> Path:
        return publish_version(INDEX, version, codes=codes, paths=paths, model=False)

    return publish


def random_codes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8), np.uint8)


def judged(version: str, thresholds: Thresholds = LENIENT) -> report.Report:
    return judge.judge(Index(INDEX), version, thresholds)


def figures(found: report.Report) -> dict[str, tuple]:
    """name -> (this version's figure, the other's)."""
    return {measure.name: (measure.value, measure.against) for measure in found.measures}


# -- the thresholds ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "allowed", "verdict"),
    [
        (20, 16, 20, "passed"),
        (20, 15, 20, "refused"),
        (10, 7, 30, "passed"),  # 1 - 7 / 10 is more than 0.3 by a last digit
        (10, 6, 30, "refused"),
        (10, 10, 0, "passed"),
        (10, 9, 0, "refused"),
        (10, 30, 0, "passed"),
    ],
)
def test_a_catalogue_may_shrink_by_so_much(publish_codes, before, now, allowed, verdict):
    publish_codes("1.0.0", random_codes(before))
    publish_codes("1.1.0", random_codes(now))
    Index(INDEX).activate("1.0.0")
    found = judged("1.1.0", Thresholds(allowed, 100, 0, most_gone=100))
    assert found.verdict == verdict
    shrunk = f"{report.shown(max(0, 100 * (before - now) / before), '%')}"
    sentence = f"catalogue shrunk by {shrunk} (at most {allowed} % is allowed)"
    assert found.refusals == ([sentence] if verdict == "refused" else [])


@pytest.mark.parametrize(
    ("replaced", "allowed", "verdict"),
    [
        (20, 20, "refused"),
        (5, 20, "refused"),
        (4, 20, "passed"),
        (5, 25, "passed"),
        (1, 0, "refused"),
    ],
)
@pytest.mark.parametrize("is_renamed", [True, False])
def test_so_many_contents_may_be_gone(publish_codes, replaced, allowed, verdict, is_renamed):
    """Of twenty; the catalogue does not shrink, whether or not the new pictures have new names."""
    codes, paths = random_codes(20), [f"data/a.com/{i}.jpg" for i in range(20)]
    publish_codes("1.0.0", codes, paths)
    codes[:replaced] = random_codes(replaced, seed=1)
    if is_renamed:
        paths[:replaced] = [f"data/a.com/new_{i}.jpg" for i in range(replaced)]
    publish_codes("1.1.0", codes, paths)
    Index(INDEX).activate("1.0.0")
    found = judged("1.1.0", Thresholds(20, 100, 0, most_gone=allowed))
    assert found.verdict == verdict
    sentence = f"contents gone {5 * replaced} % (at most {allowed} % is allowed)"
    assert found.refusals == ([sentence] if verdict == "refused" else [])
    assert figures(found)["catalogue shrunk by"] == (0, None)
    assert figures(found)["rows replaced"] == (0 if is_renamed else replaced, None)


def test_pictures_that_moved_are_not_gone(publish_codes):
    publish_codes("1.0.0", random_codes(20), [f"data/old.com/{i}.jpg" for i in range(20)])
    publish_codes("1.1.0", random_codes(20), [f"data/new.com/{i}.jpg" for i in range(20)])
    Index(INDEX).activate("1.0.0")
    found = judged("1.1.0", Thresholds(most_gone=0))
    assert figures(found)["rows removed"] == figures(found)["rows added"] == (20, None)
    assert figures(found)["contents gone"] == (0, None) and found.verdict == "passed"


@pytest.mark.parametrize(("rows", "verdict"), [(19, "passed"), (18, "refused")])
def test_so_many_lines_may_be_rejected(publish_codes, rows, verdict):
    """One line is, of 20 or of 19."""
    publish_codes("1.0.0", random_codes(rows))
    found = judged("1.0.0", Thresholds(most_rejected=5))
    assert found.verdict == verdict
    if verdict == "refused":
        assert found.refusals == ["lines rejected 5.26 % (at most 5 % is allowed)"]


@pytest.mark.parametrize(
    ("changed", "least", "verdict"),
    [(0, 100, "passed"), (1, 90, "passed"), (2, 90, "refused"), (1, 99.9, "refused")],
)
def test_so_many_pictures_must_find_their_own_row(publish, changed, least, verdict):
    paths = pictures(10)
    publish("1.0.0", paths)
    for path in paths[3 : 3 + changed]:
        draw(path, 100)
    found = judged("1.0.0", Thresholds(most_rejected=100, least_self_retrieval=least))
    assert figures(found)["self-retrieval"] == (100 - 10 * changed, None)
    assert found.verdict == verdict


@pytest.mark.parametrize(("gone", "verdict"), [(1, "passed"), (2, "refused")])
def test_so_many_sampled_pictures_may_be_unreadable(publish, gone, verdict):
    """The others find their rows."""
    paths = pictures(20)
    publish("1.0.0", paths)
    for path in paths[:gone]:
        Path(path).unlink()
    found = judged("1.0.0", Thresholds(most_rejected=5))
    assert figures(found)["sampled pictures unreadable"] == (5 * gone, None)
    assert figures(found)["self-retrieval"] == (100, None)
    assert found.verdict == verdict


def test_in_another_folder_no_picture_is_found_and_the_version_is_refused(publish, monkeypatch):
    publish("1.0.0", pictures(20))
    root = INDEX.absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    found = judge.judge(Index(root), "1.0.0", Thresholds())
    assert found.refusals == [
        "sampled pictures unreadable 100 % (at most 5 % is allowed)",
        "self-retrieval 0 % (at least 99.9 % is allowed)",
    ]


def test_everything_that_is_wrong_is_said_at_once(publish):
    paths = pictures(10)
    publish("1.0.0", paths)
    publish("1.1.0", paths[:5])
    Index(INDEX).activate("1.0.0")
    for path in paths[:5]:
        draw(path, 100)
    assert [
        sentence.rpartition(" (")[0] for sentence in judged("1.1.0", Thresholds()).refusals
    ] == [
        "lines rejected 16.67 %",
        "catalogue shrunk by 50 %",
        "contents gone 50 %",
        "self-retrieval 0 %",
    ]


# -- the file of the thresholds ------------------------------------------------------------------


def test_the_shipped_file_holds_the_defaults():
    assert read_thresholds(ROOT / "efiss.toml") == Thresholds()


@pytest.mark.parametrize("text", [None, "", "[other]\nx = 1\n", "[check]\n"])
def test_what_is_not_said_is_as_by_default(tmp_path, text):
    if text is not None:
        (tmp_path / "efiss.toml").write_text(text)
    assert read_thresholds(tmp_path / "efiss.toml") == Thresholds()


def test_the_file_says_what_is_allowed(tmp_path):
    (tmp_path / "efiss.toml").write_text(
        "[check]\nmost_shrunk = 100\nmost_gone = 30\nmost_rejected = 0.5\n"
        "least_self_retrieval = 0\nsample = 1\nmost_left_out = 7\n"
    )
    assert read_thresholds(tmp_path / "efiss.toml") == Thresholds(100.0, 0.5, 0.0, 1, 30.0, 7.0)


@pytest.mark.parametrize(("shrunk", "gone"), [(10, 20), (50, 50)])
def test_who_lets_a_catalogue_shrink_lets_as_much_be_gone(tmp_path, shrunk, gone):
    (tmp_path / "efiss.toml").write_text(f"[check]\nmost_shrunk = {shrunk}\n")
    assert read_thresholds(tmp_path / "efiss.toml").most_gone == gone


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[check", "cannot be read"),
        ("[check]\nmost_shrunk = 20 %\n", "cannot be read"),
        ("caf\xe9 = 1", "cannot be read"),
        ("check = 3", "check must be a section, [check]"),
        ("[check]\nshrunk = 3", "[check] has no shrunk; it may have most_shrunk, most_rejected"),
        ("[check]\nmost_shrunk = '20'", "most_shrunk is in percent, 0 to 100, not '20'"),
        ("[check]\nmost_shrunk = true", "most_shrunk is in percent, 0 to 100, not True"),
        ("[check]\nmost_rejected = -0.1", "most_rejected is in percent, 0 to 100, not -0.1"),
        ("[check]\nmost_rejected = 100.1", "most_rejected is in percent, 0 to 100, not 100.1"),
        ("[check]\nleast_self_retrieval = nan", "in percent, 0 to 100, not nan"),
        ("[check]\nsample = 0", "sample must be a whole number from 1, not 0"),
        ("[check]\nsample = 1.5", "sample must be a whole number from 1, not 1.5"),
        ("[check]\nsample = true", "sample must be a whole number from 1, not True"),
        ("[check]\nsample = inf", "sample must be a whole number from 1, not inf"),
        ("[check]\nsample = nan", "sample must be a whole number from 1, not nan"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, text, words):
    path = tmp_path / "efiss.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingError, match=re.escape(words)) as caught:
        read_thresholds(path)
    assert str(caught.value).startswith(str(path))


# -- beside another version ----------------------------------------------------------------------


def test_the_first_version_has_nothing_to_be_compared_with(publish_codes):
    publish_codes("1.0.0", random_codes(30))
    found = judged("1.0.0")
    assert found.against is None
    assert all(against is None for _, against in figures(found).values())
    assert not {"rows added", "rows removed", "catalogue shrunk by"} & set(figures(found))
    assert "top-10 changed by" not in figures(found)


def test_a_version_is_compared_with_the_live_one_and_that_with_the_one_before(publish_codes):
    for version, rows in {"1.0.0": 10, "1.1.0": 11, "1.2.0": 12}.items():
        publish_codes(version, random_codes(rows))
    Index(INDEX).activate("1.0.0")
    Index(INDEX).activate("1.1.0")
    for version, against in {"1.0.0": "1.1.0", "1.1.0": "1.0.0", "1.2.0": "1.1.0"}.items():
        assert judged(version).against == against


def test_a_damaged_live_version_is_no_measure(publish_codes):
    publish_codes("1.0.0", random_codes(30))
    publish_codes("1.1.0", random_codes(3))
    Index(INDEX).activate("1.0.0")
    (INDEX / "1.0.0" / "index.bin").write_bytes(b"")
    assert judged("1.1.0").against is None


def test_a_catalogue_that_stayed_the_same_shows_no_change(publish):
    paths = pictures(15)
    publish("1.0.0", paths)
    publish("1.1.0", paths)
    Index(INDEX).activate("1.0.0")
    found = figures(judged("1.1.0"))
    assert found["rows"] == (15, 15)
    assert found["rows added"] == found["rows removed"] == (0, None)
    assert found["top-10 changed by"] == found["catalogue shrunk by"] == (0, None)
    for name in ("lines rejected", "distinct codes", "largest bucket", "most uneven bit"):
        assert found[name][0] == found[name][1], name


def test_a_picture_that_all_had_among_their_ten_changes_a_tenth(publish_codes):
    """Of eleven pictures every one has all the others as its ten nearest."""
    codes, paths = random_codes(11), [f"data/a.com/{i}.jpg" for i in range(12)]
    publish_codes("1.0.0", codes, paths[:11])
    publish_codes("1.1.0", codes, [*paths[:10], paths[11]])
    Index(INDEX).activate("1.0.0")
    found = figures(judged("1.1.0"))
    assert found["top-10 changed by"][0] == pytest.approx(10)
    assert found["rows added"] == found["rows removed"] == (1, None)


def test_another_model_finds_others(publish, tiny_models):
    paths = pictures(40)
    publish("1.0.0", paths)
    publish("2.0.0", paths, tiny_models[1])
    Index(INDEX).activate("1.0.0")
    found = figures(judged("2.0.0", Thresholds()))
    assert found["top-10 changed by"][0] > 10
    assert found["self-retrieval"] == (100, None)


def test_catalogues_that_share_no_picture_have_no_queries_in_common(publish_codes):
    publish_codes("1.0.0", random_codes(5), [f"data/old.com/{i}.jpg" for i in range(5)])
    publish_codes("1.1.0", random_codes(7), [f"data/new.com/{i}.jpg" for i in range(7)])
    Index(INDEX).activate("1.0.0")
    found = figures(judged("1.1.0"))
    assert (found["rows added"], found["rows removed"]) == ((7, None), (5, None))
    assert "top-10 changed by" not in found
    assert found["query, median"][0] > 0 and found["query, median"][1] is None


def test_a_version_of_one_picture(publish_codes):
    publish_codes("1.0.0", random_codes(1))
    publish_codes("1.1.0", random_codes(1))
    Index(INDEX).activate("1.0.0")
    assert figures(judged("1.1.0"))["rows"] == (1, 1)


names = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & set(b"\n\r\0"))
catalogues = st.lists(names, min_size=1, max_size=12, unique=True)


@settings(max_examples=25)
@given(old=catalogues, new=catalogues)
def test_rows_are_counted_by_their_paths_whatever_is_in_these(
    old, new, publish_version, tmp_path_factory
):
    root = tmp_path_factory.mktemp("paths") / "index"
    for version, catalogue in (("1.0.0", old), ("1.1.0", new)):
        paths = [os.fsdecode(name) for name in catalogue]
        publish_version(root, version, codes=random_codes(len(paths)), paths=paths, model=False)
    Index(root).activate("1.0.0")
    found = figures(judge.judge(Index(root), "1.1.0", LENIENT))
    assert found["rows added"][0] == len(set(new) - set(old))
    assert found["rows removed"][0] == len(set(old) - set(new))


# -- the codes, the sample -----------------------------------------------------------------------


def test_codes_that_say_little_show(publish_codes):
    """Of four rows two have one code; the first bit is set in all, the others in half."""
    codes = np.array([[0xFF] * 8, [0xFF] * 8, [0x80] + [0] * 7, [0x81] + [0] * 7], np.uint8)
    publish_codes("1.0.0", codes)
    found = figures(judged("1.0.0"))
    assert found["distinct codes"] == (75, None)
    assert found["largest bucket"] == (2, None)
    assert found["most uneven bit"] == (100, None)


def test_pictures_of_one_code_all_find_their_own_row(publish):
    """The row is among those at distance 0, wherever it stands there."""
    paths = pictures(30)
    for path in paths:
        draw(path, 7)
    publish("1.0.0", paths)
    found = figures(judged("1.0.0"))
    assert found["largest bucket"] == (30, None) and found["self-retrieval"] == (100, None)


def test_without_a_model_the_codes_find_themselves(publish_codes):
    publish_codes("1.0.0", random_codes(30))
    found = judged("1.0.0", Thresholds())
    assert figures(found)["self-retrieval"] == (100, None) and found.verdict == "passed"


@pytest.mark.parametrize(("sample", "hashed"), [(7, 7), (1000, 20)])
def test_so_many_pictures_are_hashed_again(publish, sample, hashed):
    publish("1.0.0", pictures(20))
    seen = []
    judge.judge(
        Index(INDEX),
        "1.0.0",
        Thresholds(sample=sample),
        progress=lambda *counts: seen.append(counts),
    )
    assert seen == [(done, hashed) for done in range(hashed + 1)]


def test_a_picture_that_all_others_are_nearest_to_is_a_hub(publish_codes):
    """Three bits of their own tell each of twenty from it, and six from one another."""
    bits = np.zeros((21, 64), np.uint8)
    for row in range(1, 21):
        bits[row, 3 * row : 3 * row + 3] = 1
    publish_codes("1.0.0", np.packbits(bits, axis=1))
    publish_codes("1.1.0", random_codes(200), [f"data/b.com/{i}.jpg" for i in range(200)])
    name = "nearest is one of five hubs"
    assert figures(judged("1.0.0"))[name] == (100, None)
    assert figures(judged("1.1.0"))[name][0] < 30


def test_changed_pictures_find_themselves_or_what_has_the_same_code(publish, monkeypatch):
    """Of noise, that a tiny model sees: some do. Where all pictures are one, all do."""
    monkeypatch.setattr(judge, "CHANGED", 3)
    publish("1.0.0", pictures(12))
    found = figures(judged("1.0.0"))
    first, among = found["changed pictures found first"], found["  among the first ten"]
    assert 0 < first[0] <= among[0] < 100 and first[1] is None
    assert found["model, a picture"][0] > 0
    publish("1.1.0", pictures(1))
    assert figures(judged("1.1.0"))["changed pictures found first"] == (100, None)


def test_changed_pictures_are_asked_for_in_the_live_version_where_the_model_changes(
    publish, tiny_models, monkeypatch
):
    monkeypatch.setattr(judge, "CHANGED", 3)
    paths = pictures(12)
    publish("1.0.0", paths)
    publish("1.1.0", paths)
    publish("2.0.0", paths, tiny_models[1])
    alone = figures(judged("1.0.0"))["changed pictures found first"][0]
    Index(INDEX).activate("1.0.0")
    same, other = (figures(judged(version)) for version in ("1.1.0", "2.0.0"))
    assert same["changed pictures found first"] == (alone, None)
    assert other["changed pictures found first"][1] == alone
    assert other["model, a picture"][1] > 0
    (INDEX / "1.0.0" / "model.pt").write_bytes(b"damaged")
    assert figures(judged("2.0.0"))["changed pictures found first"][1] is None


def test_without_a_model_nothing_is_changed(publish_codes):
    publish_codes("1.0.0", random_codes(30))
    assert not {"changed pictures found first", "model, a picture"} & set(figures(judged("1.0.0")))


# -- the report ----------------------------------------------------------------------------------


def test_the_report_is_stored_in_the_version_which_still_verifies(publish_codes):
    folder = publish_codes("1.0.0", random_codes(30))
    assert report.stored(folder) is None
    found = judged("1.0.0")
    assert report.stored(folder) == found
    assert verify(folder) == []
    assert sorted(path.name for path in INDEX.iterdir()) == [".lock", "1.0.0"]


def test_a_damaged_version_is_not_judged(publish_codes):
    folder = publish_codes("1.0.0", random_codes(30))
    with open(folder / "index.bin", "r+b") as file:
        file.write(b"x")
    with pytest.raises(VersionError, match=r"1\.0\.0 is damaged: index\.bin has another checksum"):
        judged("1.0.0")
    assert report.stored(folder) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"verdict": "passed", "measures": [3]}', "\xff"]
)
def test_a_damaged_report_says_how_to_make_a_new_one(publish_codes, text):
    folder = publish_codes("1.0.0", random_codes(30))
    (folder / "check.json").write_bytes(text.encode("latin-1"))
    for use in (lambda: report.stored(folder), lambda: switch.activate(Index(INDEX), "1.0.0")):
        with pytest.raises(VersionError, match=r"run `efiss check 1\.0\.0` again"):
            use()
    assert judged("1.0.0") == report.stored(folder)
    assert switch.activate(Index(INDEX), "1.0.0").version == "1.0.0"


def test_a_refused_version_goes_live_only_by_force_which_is_recorded(publish_codes):
    folder = publish_codes("1.0.0", random_codes(3))
    assert judged("1.0.0", Thresholds()).verdict == report.REFUSED
    with pytest.raises(Unfit, match=r"1\.0\.0 was judged unfit and stays off: lines rejected 25 %"):
        switch.activate(Index(INDEX), "1.0.0")
    assert Index(INDEX).live() is None
    switch.activate(Index(INDEX), "1.0.0", force=True)
    assert Index(INDEX).live() == "1.0.0"
    forced = report.stored(folder)
    assert forced.verdict == report.FORCED and forced.forced is not None
    switch.activate(Index(INDEX), "1.0.0")  # once is enough
    assert report.stored(folder) == forced


def test_a_version_is_not_replaced_while_it_is_judged(publish, publish_version):
    """`efiss index --force 1.0.0` beside `efiss check 1.0.0`: the report is of what is there."""
    folder = publish("1.0.0", pictures(20))
    tried = []

    def replace(done, total):
        if not tried:
            with pytest.raises(
                VersionError, match=r"version 1\.0\.0 is being checked or activated"
            ):
                publish_version(INDEX, "1.0.0", replace=True)
            tried.append(done)

    found = judge.judge(Index(INDEX), "1.0.0", LENIENT, progress=replace)
    assert tried == [0] and figures(found)["rows"] == (20, None)
    assert report.stored(folder) == found
    publish_version(INDEX, "1.0.0", replace=True)
    assert report.stored(folder) is None


@pytest.mark.parametrize("digest", ["0" * 64, None], ids=["of another build", "of before"])
def test_a_report_that_is_not_of_this_very_version_counts_as_none(publish_codes, digest):
    """But that somebody went back from the version stays known."""
    folder = publish_codes("1.0.0", random_codes(3))
    judged("1.0.0", Thresholds())
    values = json.loads((folder / "check.json").read_text())
    assert values["manifest"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    values |= {"manifest": digest, "rolled_back": "2026-11-24T03:00:00+00:00"}
    if digest is None:
        del values["manifest"]
    (folder / "check.json").write_text(json.dumps(values))
    found = report.stored(folder)
    assert (found.verdict, found.rolled_back) == (report.UNJUDGED, "2026-11-24T03:00:00+00:00")
    assert switch.activate(Index(INDEX), "1.0.0").version == "1.0.0"
    assert judged("1.0.0", Thresholds()).verdict == report.REFUSED == report.stored(folder).verdict


def test_what_passed_needs_no_force_and_records_none(publish_codes):
    folder = publish_codes("1.0.0", random_codes(30))
    found = judged("1.0.0")
    switch.activate(Index(INDEX), "1.0.0", force=True)
    assert report.stored(folder) == found and found.forced is None


def test_a_version_that_was_never_judged_goes_live(publish_codes):
    publish_codes("1.0.0", random_codes(3))
    assert switch.activate(Index(INDEX), "1.0.0", force=True).version == "1.0.0"


def test_that_somebody_went_back_is_remembered_through_a_new_judgement(publish_codes):
    for version in ("1.0.0", "1.1.0"):
        publish_codes(version, random_codes(30))
        judged(version)
        switch.activate(Index(INDEX), version)
    switch.roll_back(Index(INDEX))
    went_back = report.stored(INDEX / "1.1.0").rolled_back
    assert went_back is not None
    assert judged("1.1.0").rolled_back == went_back
    assert report.stored(INDEX / "1.0.0").rolled_back is None


def test_a_damaged_report_does_not_stand_in_the_way_back(publish_codes):
    for version in ("1.0.0", "1.1.0"):
        publish_codes(version, random_codes(30))
        switch.activate(Index(INDEX), version)
    (INDEX / "1.1.0" / "check.json").write_text("{")
    assert switch.roll_back(Index(INDEX)).version == "1.0.0"
