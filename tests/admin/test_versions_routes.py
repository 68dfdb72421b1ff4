"""The versions over HTTP, health and figures."""

import json
import socket
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from admin.health import ANSWER_SECONDS
from searcher.index import Index
from tests.admin.conftest import administering, draw, reindex_here
from tests.dashboard import ADMIN_METRICS

pytestmark = pytest.mark.server


def figures(admin) -> dict[str, float]:
    text = admin.get("/metrics").text
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def build(admin, count: int) -> None:
    for number in range(count):
        draw(admin.folder / f"data/xyz.vn/{number}_xyz_vn.png", 100 + number)
        reindex_here(admin.folder)


def test_versions_are_listed_activated_and_rolled_back(admin):
    build(admin, 3)
    listed = admin.get("/api/versions").json()
    assert (listed["live"], listed["rollback_to"]) == ("1.2.0", "1.1.0")
    assert [one["version"] for one in listed["versions"]] == ["1.0.0", "1.1.0", "1.2.0"]
    assert listed["versions"][2] | {"bytes": 0, "created": "", "model": {}} == {
        "version": "1.2.0", "is_live": True, "is_rollback_target": False, "damaged": None,
        "rows": 33, "rejected": 0, "created": "", "index_mode": "default", "model": {}, "bytes": 0,
        "verified": "passed",
    }  # fmt: skip
    back = admin.post("/api/rollback").json()
    assert back == {
        "result": "success",
        "previous_index_database_version": "1.2.0",
        "index_database_version": "1.1.0",
        "workers": 0,
    }
    forward = admin.post("/api/versions/1.2.0/activate")
    assert forward.json()["index_database_version"] == "1.2.0"
    assert Index(admin.folder / "index").live() == "1.2.0"


def test_a_report_is_what_efiss_check_found(admin):
    build(admin, 2)
    report = admin.get("/api/versions/1.1.0/report").json()
    assert (report["version"], report["against"], report["verdict"]) == ("1.1.0", "1.0.0", "passed")
    measures = {one["name"]: (one["value"], one["against"]) for one in report["measures"]}
    assert measures["rows"] == (32, 31) and measures["self-retrieval"] == (100, None)
    assert report == json.loads((admin.folder / "index/1.1.0/check.json").read_text())


def test_what_cannot_be_made_live_is_refused_in_a_sentence(admin):
    nothing = admin.post("/api/rollback")
    assert nothing.status_code == 409 and "no version was live" in nothing.json()["message"]
    build(admin, 2)
    for version in ("9.9.9", "..", "%2e%2e", "1.0"):
        assert admin.post(f"/api/versions/{version}/activate").status_code == 404, version
    index = admin.folder / "index/1.0.0/index.bin"
    index.write_bytes(index.read_bytes()[:-1] + b"\xff")
    refused = admin.post("/api/versions/1.0.0/activate")
    assert refused.status_code == 409 and "damaged" in refused.json()["message"]
    (admin.folder / "index/1.0.0/manifest.json").write_text("{")
    assert "manifest.json" in admin.get("/api/versions").json()["versions"][0]["damaged"]


def test_an_unfit_version_is_activated_by_force_and_that_is_recorded(admin):
    build(admin, 1)
    for number in range(20):
        (admin.folder / f"data/abc.com/{number}_abc_com.png").unlink()
    assert admin.post("/api/reindex").json()["type"] == "reindex_refused"
    assert admin.post("/api/versions/1.1.0/activate").json()["type"] == "unfit"
    assert admin.post("/api/versions/1.1.0/activate", {"force": True}).status_code == 200
    assert admin.get("/api/versions").json()["versions"][1]["verified"] == "forced"


def test_without_a_search_service_it_lives_and_is_not_ready(admin):
    build(admin, 1)
    assert admin.get("/health/live").json() == {"live": True}
    ready = admin.get("/health/ready")
    found = ready.json()
    assert ready.status_code == 503 and not found["ready"]
    assert "does not answer" in found["search"]["message"]
    assert found["index"]["rows"] == 31 and found["index"]["age_seconds"] >= 0
    assert found["disk"]["free_bytes"] > 0


def test_a_search_that_hangs_is_asked_once_for_all_and_holds_up_nothing_else(shop):
    """As long as a query may take."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with administering(shop, EFISS_SERVICE_URL=url) as admin:
            told: list[int] = []

            def ask() -> None:
                told.append(admin.get("/health/ready").status_code)

            start = time.monotonic()
            asking = [threading.Thread(target=ask) for _ in range(60)]
            for thread in asking:
                thread.start()
            for path in ("/api/versions", "/api/session", "/health/live"):
                assert admin.get(path).status_code == 200
            assert len(told) < 60  # some of those still wait
            for thread in asking:
                thread.join()
            assert told == [503] * 60
            assert time.monotonic() - start < 10 * ANSWER_SECONDS  # one by one it would be 60
            assert "efiss_ready 0.0" in admin.get("/metrics").text
        hanging.settimeout(0.1)
        connections = 0
        while connections < 60:
            try:
                hanging.accept()[0].close()
            except TimeoutError:
                break
            connections += 1
        assert connections <= 3


def test_what_is_wrong_with_a_version_is_told_to_callers_with_the_token(shop):
    (shop / "index" / "1.0.0").mkdir(parents=True)
    (shop / "index" / "1.0.0" / "manifest.json").write_text("{")
    (shop / "index" / "CURRENT").write_text("1.0.0\n")
    token = "0123456789abcdef"
    with administering(shop, EFISS_ADMIN_TOKEN=token) as admin:

        def ask(shown: str | None) -> str:
            headers = {"Authorization": f"Bearer {shown}"} if shown else {}
            paths = ("/api/versions", "/health/ready", "/api/catalogue", "/metrics")
            return "".join(admin.get(path, headers=headers).text for path in paths)

        for told in (ask(None), ask("0" * 16)):
            assert "index/" not in told and str(shop) not in told and "http://" not in told
            assert "callers with the admin token are told" in told
        assert "index/1.0.0/manifest.json" in ask(token)
        assert "http://127.0.0.1" in ask(token)
        for _ in range(5):  # who guesses learns nothing more
            ask("0" * 16)
        assert "index/1.0.0/manifest.json" not in ask(token)


def test_figures_for_prometheus(admin):
    """Jobs in processes that load torch."""
    before = figures(admin)
    assert before["efiss_index_versions"] == 0 and "efiss_index_rows" not in before
    build(admin, 1)
    assert admin.post("/api/reindex").json()["result"] == "nothing new"
    draw(admin.folder / "data/xyz.vn/2_xyz_vn.png", 102)
    assert admin.post("/api/reindex").json()["result"] == "success"
    now = figures(admin)
    assert now["efiss_index_versions"] == 2 and now["efiss_index_rows"] == 32
    assert now["efiss_admin_jobs_totaldone"] == 1
    assert now["efiss_admin_jobs_totalnothing_new"] == 1
    assert now["efiss_reindex_last_success_timestamp_seconds"] > 1.7e9
    assert now["efiss_ready"] == 0 and now["efiss_index_age_seconds"] >= 0
    text = admin.get("/metrics").text
    labels = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert labels.items() >= ADMIN_METRICS.items()  # what the dashboard asks for
