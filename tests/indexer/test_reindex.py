"""The whole way from a catalogue to a live version, in this process, and killed on its way."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer import reindex as steps
from indexer.catalogue import CatalogueError
from indexer.judge import Thresholds
from indexer.live_model import NoModelError
from indexer.pipeline import IndexingError, Order, index_catalogue
from indexer.reindex import Event, Plan, reindex
from searcher import open_version, report, switch
from searcher.index import Index
from searcher.live import Follower
from searcher.version import VersionError, read_manifest, verify
from tests.indexer import killed
from tests.running import wait_for

INDEX = Path("index")
PICTURES = 20


def draw(path, seed: int) -> None:
    blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blots).resize((48, 40), Image.Resampling.BICUBIC).save(path)
    os.utime(path, (1e9, 1e9))


def picture(i: int) -> Path:
    return Path(f"data/abc.com/{i:02}_abc_com.jpg")


def plan_for(model_path: Path) -> Plan:
    order = Order(
        database=Path("database_info.txt"),
        model_path=model_path,
        device="cpu",
        version=None,
        index_root=INDEX,
        workers=1,
        batch_size=1,
        max_pixels=1_000_000,
        max_rejected=1.0,
        resume=True,
    )
    return Plan(Path("data"), order, Thresholds())


@pytest.fixture
def plan(tiny_models, tmp_path, monkeypatch) -> Plan:
    """Of a folder with a shop of 20 pictures, the current one; nothing is indexed yet."""
    monkeypatch.chdir(tmp_path)
    for i in range(PICTURES):
        draw(picture(i), i)
    return plan_for(tiny_models[0])


def numbered(plan: Plan, version: str) -> Plan:
    return dataclasses.replace(plan, order=dataclasses.replace(plan.order, version=version))


def forced(plan: Plan) -> Plan:
    return dataclasses.replace(plan, force=True)


def shrink() -> None:
    """By half, which is too much."""
    for i in range(PICTURES // 2):
        picture(i).unlink()


def states() -> tuple[str | None, list[str]]:
    """The live version, and those that are there."""
    return Index(INDEX).live(), Index(INDEX).versions()


# -- how it ends ---------------------------------------------------------------------------------


def test_from_nothing_to_a_live_version(plan):
    done = reindex(plan)
    assert (done.state, done.version, done.before) == (steps.DONE, "1.0.0", None)
    assert done.message == "version 1.0.0 is live"
    assert done.report == report.stored(INDEX / "1.0.0") and done.report.verdict == report.PASSED
    assert states() == ("1.0.0", ["1.0.0"])
    assert open_version(INDEX / "1.0.0").path(7) == str(picture(7))


def test_a_changed_catalogue_goes_live_under_the_next_minor_number(plan):
    reindex(numbered(plan, "3.4.5"))
    draw(picture(20), 20)
    done = reindex(plan)
    assert (done.state, done.version, done.before) == (steps.DONE, "3.5.0", "3.4.5")
    assert states() == ("3.5.0", ["3.4.5", "3.5.0"])
    assert Index(INDEX).before() == ["3.4.5"]


def test_the_same_catalogue_is_nothing_new(plan):
    reindex(plan)
    done = reindex(plan)
    assert (done.state, done.version, done.before) == (steps.NOTHING_NEW, "1.0.0", "1.0.0")
    assert done.message == "version 1.0.0 is live and holds just this catalogue"
    assert states() == ("1.0.0", ["1.0.0"])


@pytest.mark.parametrize(
    "change",
    [
        lambda: picture(3).unlink(),
        lambda: picture(3).rename(picture(30)),
        lambda: draw(picture(3), 100),
        lambda: shutil.copy(picture(3), picture(30)),
        lambda: picture(30).write_text("no picture"),
    ],
    ids=["removed", "moved", "changed", "added", "unreadable"],
)
def test_what_is_something_new(plan, change):
    reindex(plan)
    change()
    assert reindex(plan).version == "1.1.0"


def test_another_model_is_something_new(plan, tiny_models):
    reindex(plan)
    order = dataclasses.replace(plan.order, model_path=tiny_models[1])
    assert reindex(dataclasses.replace(plan, order=order)).version == "1.1.0"


def keeping(plan: Plan, otherwise: Path) -> Plan:
    """As where no model is given."""
    order = dataclasses.replace(plan.order, model_path=otherwise)
    return dataclasses.replace(plan, order=order, keep_model=True)


def test_the_model_of_the_live_version_stays(plan, tiny_models):
    told = []
    reindex(keeping(plan, tiny_models[0]), told.append)
    reindex(keeping(plan, tiny_models[0]), told.append)
    assert not any("model" in event.message for event in told)
    draw(picture(20), 20)
    done = reindex(keeping(plan, tiny_models[1]), told.append)
    assert (done.state, done.version) == (steps.DONE, "1.1.0")
    assert done.report.model_change is None
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in tiny_models]
    assert read_manifest(INDEX / "1.1.0").model == {"name": "tiny-1", "sha256": digests[0]}
    hint = (
        f"the live version has the model tiny-1 ({digests[0][:8]}), which stays; the shipped "
        f"one is tiny-2 ({digests[1][:8]}): `efiss reindex --model_path {tiny_models[1]}` changes "
        "to it"
    )
    assert [event.message for event in told].count(hint) == 1


def test_a_model_that_only_the_live_version_holds_stays_and_nothing_is_hashed_again(
    plan, tiny_models, tmp_path
):
    mine = tmp_path / "mine.pt"
    for suffix in (".pt", ".json"):
        shutil.copy(tiny_models[1].with_suffix(suffix), mine.with_suffix(suffix))
    order = dataclasses.replace(plan.order, model_path=mine)
    reindex(dataclasses.replace(plan, order=order))
    for path in (mine, mine.with_suffix(".json")):
        path.unlink()
    draw(picture(20), 20)
    told = []
    reindex(keeping(plan, tiny_models[0]), told.append)
    assert read_manifest(INDEX / "1.1.0").model["name"] == "tiny-2"
    assert any("1 hashed now, 20 known" in event.message for event in told)


def test_a_change_of_the_model_names_both(plan, tiny_models):
    reindex(plan)
    order = dataclasses.replace(plan.order, model_path=tiny_models[1])
    done = reindex(dataclasses.replace(plan, order=order))
    before, now = (hashlib.sha256(path.read_bytes()).hexdigest()[:8] for path in tiny_models)
    change = f"the model changes from tiny-1 ({before}) to tiny-2 ({now})"
    assert done.report.model_change == change
    assert report.stored(INDEX / "1.1.0").model_change == change


def test_a_newer_sidecar_of_the_same_model_is_taken(plan, tiny_models, tmp_path):
    reindex(plan)
    newer = tmp_path / "newer.pt"
    shutil.copy(tiny_models[0], newer)
    values = json.loads(tiny_models[0].with_suffix(".json").read_text())
    newer.with_suffix(".json").write_text(json.dumps(values | {"training_data": "said later"}))
    draw(picture(20), 20)
    reindex(keeping(plan, newer))
    sidecar = json.loads((INDEX / "1.1.0" / "model.json").read_text())
    assert sidecar["training_data"] == "said later"


def test_after_codes_that_were_imported_without_a_model_one_must_be_given(
    plan, publish_version, tiny_models
):
    publish_version(INDEX, "1.0.0", model=False)
    switch.activate(Index(INDEX), "1.0.0")
    with pytest.raises(NoModelError, match=r"1\.0\.0, which is live, has no model .*--model_path"):
        reindex(keeping(plan, tiny_models[0]))
    assert states() == ("1.0.0", ["1.0.0"])
    done = reindex(forced(plan))
    assert done.report.model_change.startswith("the model changes from none to tiny-1 (")


def test_another_index_mode_is_something_new(plan):
    reindex(plan)
    order = dataclasses.replace(plan.order, index_mode="ivf")
    assert reindex(dataclasses.replace(plan, order=order)).version == "1.1.0"


def test_an_unfit_version_stays_off_and_is_not_built_again(plan):
    reindex(plan)
    shrink()
    for _ in range(2):
        done = reindex(plan)
        assert (done.state, done.version, done.before) == (steps.REFUSED, "1.1.0", "1.0.0")
        assert done.message == (
            "version 1.1.0 stays off: catalogue shrunk by 50 % (at most 20 % is allowed); "
            "contents gone 50 % (at most 20 % is allowed)"
        )
        assert states() == ("1.0.0", ["1.0.0", "1.1.0"])


def test_a_refused_run_does_not_replace_the_list(plan):
    reindex(plan)
    before = plan.order.database.read_bytes()
    shrink()
    assert reindex(plan).state == steps.REFUSED
    assert plan.order.database.read_bytes() == before
    assert reindex(forced(plan)).state == steps.DONE
    assert plan.order.database.read_bytes() != before
    assert not list(plan.order.database.parent.glob(".*.former"))


@pytest.mark.parametrize("has_another_model", [False, True])
def test_a_catalogue_that_is_replaced_under_its_names_is_refused(
    plan, tiny_models, has_another_model
):
    """Also when the model is changed with it, and no code tells."""
    reindex(plan)
    for i in range(PICTURES):
        draw(picture(i), 100 + i)
        os.utime(picture(i), (1.1e9, 1.1e9))
    order = dataclasses.replace(plan.order, model_path=tiny_models[has_another_model])
    done = reindex(dataclasses.replace(plan, order=order))
    assert done.state == steps.REFUSED and done.report.refusals == [
        "contents gone 100 % (at most 20 % is allowed)"
    ]
    measured = {measure.name: measure.value for measure in done.report.measures}
    assert (measured["rows replaced"], measured["catalogue shrunk by"]) == (PICTURES, 0)


@pytest.mark.parametrize("has_another_model", [False, True])
def test_a_catalogue_that_moves_as_a_whole_is_taken(plan, tiny_models, has_another_model):
    reindex(plan)
    os.rename("data/abc.com", "data/xyz.com")
    order = dataclasses.replace(plan.order, model_path=tiny_models[has_another_model])
    done = reindex(dataclasses.replace(plan, order=order))
    measured = {measure.name: measure.value for measure in done.report.measures}
    assert (done.state, measured["contents gone"], measured["rows removed"]) == (
        steps.DONE, 0, PICTURES
    )  # fmt: skip


def test_force_takes_an_unfit_version_and_that_is_recorded(plan):
    reindex(plan)
    shrink()
    reindex(plan)
    done = reindex(forced(plan))
    assert (done.state, done.version) == (steps.DONE, "1.1.0")
    assert done.report.verdict == report.FORCED
    assert report.stored(INDEX / "1.1.0") == done.report
    assert reindex(plan).state == steps.NOTHING_NEW


def test_a_first_version_that_is_unfit_stays_off_too(plan):
    for i in range(3):
        picture(i).write_text("no picture")
    done = reindex(plan)
    assert (done.state, done.before) == (steps.REFUSED, None)
    assert done.message == ("version 1.0.0 stays off: lines rejected 15 % (at most 5 % is allowed)")
    assert states() == (None, ["1.0.0"])


def test_a_version_that_somebody_rolled_back_from_is_not_taken_again(plan):
    reindex(plan)
    draw(picture(20), 20)
    reindex(plan)
    switch.roll_back(Index(INDEX))
    done = reindex(plan)
    assert (done.state, done.version, done.before) == (steps.REFUSED, "1.1.0", "1.0.0")
    assert (
        "somebody rolled back from it: `efiss activate 1.1.0` or --force takes it" in done.message
    )
    assert states() == ("1.0.0", ["1.0.0", "1.1.0"])
    assert reindex(forced(plan)).state == steps.DONE
    assert Index(INDEX).live() == "1.1.0"


def test_a_version_made_by_hand_that_somebody_rolled_back_from_is_not_taken_either(plan):
    reindex(plan)
    draw(picture(20), 20)
    steps.extract(plan.datalake, plan.order.database)
    index_catalogue(dataclasses.replace(plan.order, version="1.1.0"))
    switch.activate(Index(INDEX), "1.1.0")
    switch.roll_back(Index(INDEX))
    assert report.stored(INDEX / "1.1.0").verdict == report.UNJUDGED
    assert reindex(plan).state == steps.REFUSED
    assert switch.activate(Index(INDEX), "1.1.0").version == "1.1.0"


def test_a_catalogue_that_changed_since_somebody_rolled_back_is_taken(plan):
    reindex(plan)
    for i in (20, 21):
        draw(picture(i), i)
        reindex(plan)
    switch.roll_back(Index(INDEX))
    draw(picture(22), 22)
    assert reindex(plan).version == "1.3.0"


# -- the number, the list ------------------------------------------------------------------------


def test_the_number_may_be_given(plan):
    assert reindex(numbered(plan, "2.0.7")).version == "2.0.7"
    assert reindex(numbered(plan, "2.0.7")).state == steps.NOTHING_NEW
    draw(picture(20), 20)
    with pytest.raises(VersionError, match=r"2\.0\.7 is live and is not replaced; choose a new"):
        reindex(numbered(plan, "2.0.7"))
    assert reindex(numbered(plan, "1.9.0")).version == "1.9.0"  # a lower one as well
    draw(picture(21), 21)
    with pytest.raises(VersionError, match=r"2\.0\.7 exists in index; choose a new number"):
        reindex(numbered(plan, "2.0.7"))


def test_a_shop_is_the_first_folder_below_the_datalake_as_it_is_listed(plan):
    for shop in ("abc.com", "xyz.com"):
        draw(Path(f"data/{shop}/dresses/1_front.png"), 78)
    listed = reindex(plan)
    assert read_manifest(INDEX / listed.version).catalogue["shops"] == {"datalake": "data"}
    assert set(open_version(INDEX / listed.version).shops) == {"abc.com", "xyz.com"}
    assert reindex(plan).state == steps.NOTHING_NEW
    order, told = dataclasses.replace(plan.order, shop_depth=3), []
    # The same pictures, another rule.
    by_depth = reindex(dataclasses.replace(plan, order=order), told.append)
    assert [event.message for event in told if event.message.startswith("a shop")] == [
        "a shop is now folder 3 of a path, and the first folder below data in the live version "
        "1.0.0: so this is another version, whatever its pictures are"
    ]
    assert by_depth.state == steps.DONE
    assert read_manifest(INDEX / by_depth.version).catalogue["shops"] == {"depth": 3}
    assert "dresses" in open_version(INDEX / by_depth.version).shops
    Path(f"{plan.order.database}.datalake").unlink()
    last = reindex(dataclasses.replace(plan, datalake=None))
    assert last.state == steps.DONE
    assert set(open_version(INDEX / last.version).shops) == {"abc.com", "dresses"}
    assert set(open_version(INDEX / listed.version).shops) == {"abc.com", "xyz.com"}  # its own


def test_what_is_excluded_is_not_listed_and_what_is_left_out_is_judged(plan):
    draw(Path("data/abc.com/archive/1.png"), 77)
    for i in range(10):
        Path(f"data/abc.com/{i}.psd").write_bytes(b"8BPS\0\1" + bytes(9))
    refused = reindex(plan)
    assert refused.state == steps.REFUSED and "files left out" in refused.message
    assert "at most 20 % is allowed" in refused.message
    assert Path(f"{plan.order.database}.left_out").read_text().count("\n") == 10
    done = reindex(dataclasses.replace(plan, exclude=("*.psd", "archive")))
    assert done.state == steps.DONE
    assert "archive" not in plan.order.database.read_text()
    left_out = {m.name: m.value for m in done.report.measures}["files left out"]
    assert left_out == 0


def test_without_a_datalake_the_list_is_taken_as_it_is(plan):
    plan.order.database.write_text("".join(f"{picture(i)}\n" for i in (3, 1, 2)))
    reindex(dataclasses.replace(plan, datalake=None))
    index = open_version(INDEX / "1.0.0")
    assert [index.path(row) for row in range(index.manifest.rows)] == [
        str(picture(i)) for i in (3, 1, 2)
    ]


def test_a_datalake_that_is_not_there(plan):
    with pytest.raises(IndexingError, match="there is no folder 'nowhere', check the spelling"):
        reindex(dataclasses.replace(plan, datalake=Path("nowhere")))
    assert states() == (None, [])


def test_a_datalake_that_is_empty_leaves_the_list_and_the_live_version(plan):
    """As where a disk is not mounted."""
    reindex(plan)
    listed = plan.order.database.read_text()
    shutil.rmtree("data/abc.com")
    with pytest.raises(IndexingError, match="no image in 'data'"):
        reindex(plan)
    assert plan.order.database.read_text() == listed
    assert states() == ("1.0.0", ["1.0.0"])


def test_a_list_that_is_not_there(plan):
    with pytest.raises(CatalogueError, match=r"database_info\.txt is missing"):
        reindex(dataclasses.replace(plan, datalake=None))


# -- beside others -------------------------------------------------------------------------------


def test_two_never_run_at_once(plan):
    seen = []

    def run_another(event):
        if event.step not in seen:
            seen.append(event.step)
            with pytest.raises(VersionError, match="another reindex of index runs; wait until"):
                reindex(plan)

    reindex(plan, run_another)
    assert seen == ["extract", "index", "check", "activate", "prune"]


def test_while_a_version_is_built_it_does_not_begin(plan):
    with Index(INDEX).writing(), pytest.raises(VersionError, match="another process is building"):
        reindex(plan)


def test_from_the_check_on_its_version_is_not_replaced(plan, publish_version):
    """`efiss index --force 1.0.0` at every step."""
    said = {}

    def replace(event):
        if event.step in ("check", "activate", "prune") and event.step not in said:
            with pytest.raises(VersionError) as caught:
                publish_version(INDEX, "1.0.0", replace=True)
            said[event.step] = str(caught.value)

    assert reindex(plan, replace).report.measures[0].value == PICTURES
    is_held = "version 1.0.0 is being checked or activated; wait until it has ended"
    is_live = "version 1.0.0 is live and is not replaced; choose a new number"
    assert said == {"check": is_held, "activate": is_held, "prune": is_live}
    assert open_version(INDEX / "1.0.0").manifest.rows == PICTURES


def test_a_version_that_is_replaced_before_its_check_does_not_go_live(plan, publish_version):
    def replace(event):
        if event.message.startswith("version 1.0.0 built"):
            publish_version(INDEX, "1.0.0", replace=True)

    with pytest.raises(VersionError, match=r"1\.0\.0 was replaced by another process; try again"):
        reindex(plan, replace)
    assert states() == (None, ["1.0.0"])


def test_while_the_live_version_changes_it_does_not_activate_and_goes_on_later(plan):
    with (
        Index(INDEX).switching(),
        pytest.raises(VersionError, match="another process is changing the live version"),
    ):
        reindex(plan)
    assert states() == (None, ["1.0.0"])
    assert reindex(plan).version == "1.0.0"


def test_it_returns_when_the_workers_answer_from_the_new_version(plan):
    reindex(plan)
    follower = Follower(Index(INDEX.absolute()), None, "cpu")
    follower.watch()
    draw(picture(20), 20)
    told = []
    reindex(plan, told.append)
    assert follower.serving.version == "1.1.0"
    assert Event("activate", message="version 1.1.0 is live, 1 worker answers") in told


def test_a_worker_that_refuses_keeps_the_old_version_live(plan, monkeypatch):
    reindex(plan)
    follower = Follower(Index(INDEX.absolute()), None, "cpu")
    follower.watch()
    open_it = follower._open

    def fail(folder):
        if folder.name == "1.1.0":
            raise VersionError("this machine lacks something")
        return open_it(folder)

    monkeypatch.setattr(follower, "_open", fail)
    draw(picture(20), 20)
    with pytest.raises(VersionError, match=r"1\.1\.0 was taken back and 1\.0\.0 stays live"):
        reindex(plan)
    assert states() == ("1.0.0", ["1.0.0", "1.1.0"])
    assert follower.serving.version == "1.0.0"


# -- what stays ----------------------------------------------------------------------------------


def test_old_versions_are_removed_but_for_some(plan):
    for i in range(20, 25):
        draw(picture(i), i)
        reindex(dataclasses.replace(plan, keep=2))
    assert states() == ("1.4.0", ["1.3.0", "1.4.0"])


def test_versions_that_are_refused_night_after_night_do_not_pile_up(plan):
    reindex(plan)
    shrink()
    for night in range(4):
        draw(picture(night), 100 + night)
        picture(PICTURES // 2 + night).unlink()
        assert reindex(dataclasses.replace(plan, keep=1)).state == steps.REFUSED
    assert Index(INDEX).versions() == ["1.0.0", "1.4.0"]


def test_a_catalogue_again_as_it_is_in_the_live_version_is_nothing_new(plan):
    reindex(plan)
    missing = [picture(i) for i in range(PICTURES // 2)]
    for path in missing:
        path.rename(path.name)
    assert reindex(plan).state == steps.REFUSED
    for path in missing:
        Path(path.name).rename(path)
    assert reindex(plan).state == steps.NOTHING_NEW
    assert Index(INDEX).live() == "1.0.0"


def test_that_old_versions_cannot_be_removed_is_no_failure(plan, monkeypatch):
    def fail(root, keep):
        raise OSError("the disk is read-only")

    monkeypatch.setattr(switch, "prune", fail)
    told = []
    assert reindex(plan, told.append).state == steps.DONE
    assert told[-1] == Event("prune", message="old versions stay: the disk is read-only")


# -- what it tells -------------------------------------------------------------------------------


def test_it_tells_every_step(plan):
    told = []
    reindex(plan, told.append)
    assert [event.message for event in told if event.message] == [
        "listing data",
        "database_info.txt: 20 images in 1 shop",
        "indexing database_info.txt",
        "version 1.0.0 built: 20 rows, 20 hashed now, 0 known, 0 rejected",
        "checking 1.0.0",
        "version 1.0.0: passed",
        "switching from none to 1.0.0",
        "version 1.0.0 is live, no service follows now",
        "removed nothing",
    ]
    for step in ("index", "check"):
        counts = [(event.done, event.total) for event in told if event.step == step]
        assert [each for each in counts if each[1]] == [(done, 20) for done in range(21)]


# -- killed --------------------------------------------------------------------------------------


class Killed(BaseException):
    """In the place of a kill, within this process."""


def test_a_version_that_was_built_and_is_not_live_is_taken_up(plan):
    def kill(event):
        if event.step == "check":
            raise Killed

    for one in (plan, numbered(plan, "2.0.0")):
        with pytest.raises(Killed):
            reindex(one, kill)
        told = []
        done = reindex(one, told.append)
        assert done.state == steps.DONE
        assert any(
            event.message.startswith(f"version {done.version} there already") for event in told
        )
        assert states()[0] == done.version
        draw(picture(20), 20)  # so that the given number has something new


def test_what_was_indexed_by_hand_is_taken_up_as_well(plan):
    steps.extract(plan.datalake, plan.order.database)
    index_catalogue(dataclasses.replace(plan.order, version="1.0.0"))
    assert reindex(plan).version == "1.0.0"
    assert states() == ("1.0.0", ["1.0.0"])


OLD, NEW, OLD_VERSIONS = 8, 5, ["1.1.0", "1.2.0"]
"""Pictures of the versions that are there, and of the catalogue since."""

STEPS = {
    "tell what happens": "indexer.reindex:Event",
    "run the extractor": "subprocess:run",
    "write a part": "indexer.table:Table.write_part",
    # And whatever reaches the disk, in any step.
    "sync a file or folder": "os:fsync",
    "put a file in place": "os:replace",
    "put a folder in place": "os:rename",
    "remove a file": "os:unlink",
    "make a folder": "os:mkdir",
}


@pytest.fixture(scope="module")
def processes():
    """Forks of a process that has imported all that is slow to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.indexer.killed", "indexer.reindex"])
    return context


@pytest.fixture(scope="module")
def run(processes, tiny_models):
    """run(folder, step, times) -> how a process ended that reindexes there, and how many pictures
    it says it has hashed; with calls=path it counts its steps there."""
    plan = dataclasses.replace(plan_for(tiny_models[0]), keep=1)

    def run(folder: Path, *stop, calls: Path | None = None) -> tuple[int, int | None]:
        log = folder / "log"
        log.write_text("")
        what = (killed.reindex, plan, folder, log, *stop)
        if calls:
            what = (killed.counting, calls, list(STEPS.values()), *what)
        process = processes.Process(target=what[0], args=what[1:])
        process.start()
        process.join()
        hashed = re.search(r" (\d+) hashed now", log.read_text())
        return process.exitcode, int(hashed[1]) if hashed else None

    return run


@pytest.fixture(scope="module")
def before(run, tmp_path_factory) -> Path:
    """A folder with two versions, of which the next one removes the first; five pictures of the
    catalogue are new."""
    folder = tmp_path_factory.mktemp("before")
    for i in range(OLD):
        draw(folder / picture(i), i)
        if i >= OLD - 3:
            assert run(folder)[0] == 0
    for i in range(OLD, OLD + NEW):
        draw(folder / picture(i), i)
    assert Index(folder / INDEX).versions() == OLD_VERSIONS
    return folder


def kept_codes(root: Path) -> int:
    """How many codes stand in finished parts."""
    parts = [path for path in root.glob(".codes/*/*.npy") if path.parent.name != "files"]
    return len(np.unique(np.concatenate([np.load(part) for part in parts])))


@pytest.fixture(scope="module")
def undisturbed(run, before, tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(before, tmp_path_factory.mktemp("undisturbed") / "folder"))
    assert run(folder, calls=folder / "calls") == (0, NEW)
    return folder


def test_undisturbed_it_removes_what_is_older_than_the_way_back(undisturbed):
    assert Index(undisturbed / INDEX).versions() == ["1.2.0", "1.3.0"]


@pytest.mark.slow("two processes for every moment")
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_killed_at_any_moment_the_old_or_the_new_version_is_live_and_the_next_run_goes_on(
    step, run, before, undisturbed, tmp_path
):
    """Takes two processes for each moment."""
    calls = killed.read_calls(undisturbed / "calls")
    assert calls[step]
    for times in killed.moments(step, calls[step]):
        folder = Path(shutil.copytree(before, tmp_path / str(times)))
        root = folder / INDEX
        assert run(folder, step, times)[0] == -signal.SIGKILL, times

        live, there = Index(root).live(), Index(root).versions()
        assert live in ("1.2.0", "1.3.0"), times
        assert set(there) <= {*OLD_VERSIONS, "1.3.0"} and live in there, times
        assert not any(verify(root / name) for name in there), times

        is_built, kept = "1.3.0" in there, kept_codes(root)
        ended, hashed = run(folder)
        assert ended == (3 if live == "1.3.0" else 0), times
        assert hashed == OLD + NEW - kept, times
        assert not is_built or hashed == 0, times
        assert Index(root).live() == Index(root).versions()[-1] == "1.3.0", times
        shutil.rmtree(folder)


def test_killed_while_it_waits_for_a_worker_that_worker_follows(run, before, tmp_path):
    folder = Path(shutil.copytree(before, tmp_path / "folder"))
    follower = Follower(Index(folder / INDEX), None, "cpu")
    follower.watch()
    assert run(folder, "searcher.acknowledgements:alive", 1)[0] == -signal.SIGKILL
    wait_for(lambda: follower.serving.version == "1.3.0")
    assert run(folder) == (3, 0)
