"""POST /api/reindex and its jobs, with a real service and real work."""

import json
import os
import re
import shutil
import signal
import subprocess

import psutil
import pytest

from searcher.index import Index
from tests.admin.conftest import MANY, PICTURES, ROOT, administering, draw, draw_many
from tests.running import efiss, wait_for

pytestmark = pytest.mark.server

SLOW = {"model_path": "models/slow", "wait": False}


@pytest.mark.skipif(not shutil.which("curl"), reason="install curl")
def test_the_contracts_request_sent_with_curl_returns_exactly_the_four_fields(admin):
    """Jobs in processes that load torch."""

    def reindex(version: str) -> dict:
        body = {"new_index_database_version": version, "mode": "default",
                "model_path": "models/tiny-1.pt"}  # fmt: skip
        command = ["curl", "-s", "-X", "POST", f"{admin.url}/api/reindex", "-d", json.dumps(body)]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    assert reindex("1.1.0")["previous_index_database_version"] is None
    answer = reindex("1.2.0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", answer.pop("timestamp"))
    assert answer == {
        "result": "success",
        "previous_index_database_version": "1.1.0",
        "index_database_version": "1.2.0",
    }
    assert Index(admin.folder / "index").live() == "1.2.0"


def test_without_a_number_it_is_the_next_minor_and_the_same_catalogue_is_not_built_again(admin):
    """Jobs in processes that load torch."""
    assert admin.post("/api/reindex").json()["index_database_version"] == "1.0.0"
    answer = admin.post("/api/reindex").json()
    assert (answer["result"], answer["index_database_version"]) == ("nothing new", "1.0.0")
    draw(admin.folder / "data/abc.com/new_abc_com.png", 77)
    assert admin.post("/api/reindex").json()["index_database_version"] == "1.1.0"


@pytest.mark.parametrize(
    ("body", "headers"), [({}, {"Prefer": "respond-async, wait=10"}), ({"wait": False}, {})]
)
def test_a_job_is_watched_to_its_end(admin, body, headers):
    """With a model that takes its time."""
    accepted = admin.post("/api/reindex", {"model_path": "slow"} | body, headers=headers)
    assert accepted.status_code == 202
    id = accepted.json()["job"]["id"]
    assert accepted.headers["location"] == f"/api/jobs/{id}"
    events = admin.get(f"/api/jobs/{id}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[5:]) for line in events.text.splitlines() if line[:5] == "data:"]
    steps = list(dict.fromkeys(job["step"] for job in told))
    in_order = [None, "extract", "index", "check", "activate", "prune"]
    assert steps == [step for step in in_order if step in steps]  # a short one may not be seen
    assert {"index", "check"} <= set(steps)
    assert any(job["total"] == PICTURES for job in told)
    assert told[-1] == admin.job(id)
    assert told[-1]["state"] == "done" and told[-1]["report"]["verdict"] == "passed"


def test_the_model_stays_and_those_to_change_to_are_listed(admin):
    """Jobs in processes that load torch."""

    def models() -> dict:
        told = admin.get("/api/models").json()
        return told | {"models": [model["model_path"] for model in told["models"]]}

    first = models()
    assert first["models"] == ["tiny-1.pt", "slow/tiny-2.pt"]
    assert (first["has_live_version"], first["live"], first["hint"]) == (False, None, None)
    assert first["shipped"]["name"] == "tiny-1"
    body = {"model_path": "slow/tiny-2.pt"}
    assert admin.post("/api/reindex", body).json()["index_database_version"] == "1.0.0"
    then = models()
    assert then["has_live_version"] and then["live"]["name"] == "tiny-2"
    assert "the shipped one is tiny-1 (" in then["hint"]
    assert "--model_path models/tiny-1.pt` changes to it" in then["hint"]
    assert admin.post("/api/reindex").json()["result"] == "nothing new"
    draw(admin.folder / "data/abc.com/new_abc_com.png", 77)
    shutil.rmtree(admin.folder / "models" / "slow")  # the version has it
    assert admin.post("/api/reindex").json()["index_database_version"] == "1.1.0"
    listed = admin.get("/api/versions").json()["versions"]
    assert [version["model"]["name"] for version in listed] == ["tiny-2", "tiny-2"]
    admin.post("/api/reindex", {"model_path": "tiny-1.pt"})
    report = admin.get("/api/versions/1.2.0/report").json()
    assert report["model_change"].startswith("the model changes from tiny-2 (")
    assert models()["hint"] is None


def test_one_job_at_a_time_and_one_that_is_cancelled_keeps_what_it_hashed(admin):
    """Three jobs, each a process that loads torch, with a model that takes its time."""
    draw_many(admin.folder)
    id = admin.post("/api/reindex", SLOW).json()["job"]["id"]
    refused = admin.post("/api/reindex", {"wait": False})
    assert (refused.status_code, refused.json()["type"]) == (409, "job_running")
    assert refused.json()["job_id"] == id
    wait_for(admin.is_at_work)
    assert admin.post(f"/api/jobs/{id}/cancel").status_code == 202
    wait_for(lambda: admin.job(id)["state"] == "cancelled")
    assert Index(admin.folder / "index").versions() == []
    assert admin.post(f"/api/jobs/{id}/cancel").status_code == 409  # it has ended
    done = efiss("reindex", "--datalake", "data", "--model_path", "models/slow",
                 folder=admin.folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    hashed = int(re.search(r"rows, (\d+) hashed now", done.stdout)[1])
    assert hashed < MANY


def test_a_reindex_of_a_timer_is_waited_for_too(admin):
    with Index(admin.folder / "index").reindexing():
        refused = admin.post("/api/reindex")
        assert (refused.status_code, refused.json()["type"]) == (409, "reindex_running")
        assert admin.get("/api/jobs").json() == {"jobs": []}
    assert admin.post("/api/reindex").status_code == 200


def test_a_killed_service_leaves_an_interrupted_job_and_no_process(shop):
    """Two admin services and a job, with a model that takes its time."""
    with administering(shop) as admin:
        draw_many(admin.folder)
        id = admin.post("/api/reindex", SLOW).json()["job"]["id"]
        wait_for(admin.is_at_work)
        (child,) = admin.reindexing()
        admin.process.kill()
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running()
    with administering(shop) as admin:
        job = admin.job(id)
        assert job["state"] == "interrupted" and job["ended"] and "kept" in job["message"]
        assert admin.post("/api/reindex").json()["result"] == "success"


def test_a_killed_reindex_is_a_failed_job_and_the_next_one_succeeds(admin):
    """Jobs in processes that load torch."""
    draw_many(admin.folder)
    id = admin.post("/api/reindex", SLOW).json()["job"]["id"]
    wait_for(admin.is_at_work)
    admin.reindexing()[0].send_signal(signal.SIGKILL)
    wait_for(lambda: admin.job(id)["state"] == "failed")
    assert Index(admin.folder / "index").versions() == []
    assert admin.post("/api/reindex").json()["result"] == "success"


def test_a_version_that_is_judged_unfit_stays_off(admin):
    """Jobs in processes that load torch."""
    assert admin.post("/api/reindex").status_code == 200
    for number in range(PICTURES // 2):
        (admin.folder / f"data/abc.com/{number}_abc_com.png").unlink()
    refused = admin.post("/api/reindex")
    assert (refused.status_code, refused.json()["type"]) == (409, "reindex_refused")
    assert "catalogue shrunk by 50 %" in refused.json()["message"]
    assert Index(admin.folder / "index").live() == "1.0.0"
    assert admin.job(refused.json()["job_id"])["report"]["verdict"] == "refused"
    assert admin.post("/api/reindex", {"force": True}).json()["index_database_version"] == "1.1.0"


def test_what_goes_wrong_in_a_job_is_told_in_its_sentence(admin):
    shutil.rmtree(admin.folder / "data")
    failed = admin.post("/api/reindex")
    assert (failed.status_code, failed.json()["type"]) == (500, "reindex_failed")
    assert "there is no folder 'data'" in failed.json()["message"]


CRASHES = """
import sys
if "reindex" in sys.orig_argv:
    import numpy
    from indexer import reindex
    reindex.extract = lambda *_: numpy.zeros(3) + numpy.zeros(4)
"""


def test_a_crash_is_a_failed_job_and_its_traceback_is_in_the_services_log(shop, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CRASHES)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with administering(shop, PYTHONPATH=path) as admin:
        failed = admin.post("/api/reindex")
        assert (failed.status_code, failed.json()["type"]) == (500, "reindex_failed")
        assert "the reindex crashed (exit code 70)" in failed.json()["message"]
        admin.process.send_signal(signal.SIGTERM)
        log = admin.process.stderr.read()
    assert "Traceback" in log and "operands could not be broadcast together" in log
    assert "job 1: the reindex crashed" in log


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"new_index_database_version": "1.2"}, 422, "MAJOR.MINOR.PATCH"),
        ({"new_index_database_version": "01.2.0"}, 422, "MAJOR.MINOR.PATCH"),
        ({"new_index_database_version": "../1.0.0"}, 422, "MAJOR.MINOR.PATCH"),
        ({"new_index_database_version": 1}, 422, "MAJOR.MINOR.PATCH"),
        ({"mode": "fast"}, 422, "unnecessary fast"),
        ({"modus": "default"}, 422, "there is no field 'modus'"),
        ({"wait": "yes"}, 422, "wait"),
        ([], 422, "body"),
        ({"model_path": "../data"}, 400, "inside models"),
        ({"model_path": "/etc/passwd"}, 400, "inside models"),
        ({"model_path": "models/../data"}, 400, "inside models"),
        ({"model_path": "models/missing.pt"}, 400, "inside models"),
        ({"model_path": "models/tiny-1.json"}, 400, "inside models"),
        ({"model_path": "models/link"}, 400, "inside models"),
        ({"model_path": "a\0b"}, 400, "inside models"),
        ({"model_path": "a" * 300}, 400, "inside models"),
    ],
)
def test_a_bad_field_is_refused_in_a_sentence(idle_admin, body, status, word):
    refused = idle_admin.post("/api/reindex", body)
    assert refused.status_code == status
    assert word in refused.json()["message"]
    assert idle_admin.get("/api/jobs").json() == {"jobs": []}


def test_an_existing_version_is_refused(admin):
    admin.post("/api/reindex", {"new_index_database_version": "1.0.0"})
    refused = admin.post("/api/reindex", {"new_index_database_version": "1.0.0"})
    assert (refused.status_code, refused.json()["type"]) == (409, "version_exists")


@pytest.mark.parametrize("id", ["0", "7", "99999999999999999999", "x"])
def test_an_unknown_job_is_not_found(idle_admin, id):
    for path in (f"/api/jobs/{id}", f"/api/jobs/{id}/events"):
        assert idle_admin.get(path).status_code == (422 if id == "x" else 404)
    assert idle_admin.post(f"/api/jobs/{id}/cancel").status_code in (404, 422)
