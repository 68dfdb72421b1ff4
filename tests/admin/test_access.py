"""Who is listened to, and how much of them."""

import re
from pathlib import Path

import pytest

from admin.settings import Settings
from efiss import __version__
from machine.settings import SettingError
from tests.admin.conftest import administering, start
from tests.running import free_block

pytestmark = pytest.mark.server

TOKEN = "0123456789abcdef0123456789abcdef"
CHANGING = ["/api/reindex", "/api/rollback", "/api/versions/1.0.0/activate", "/api/jobs/1/cancel"]
PRIVATE = [
    *("/api/jobs", "/api/jobs/1", "/api/jobs/1/events", "/api/versions/1.0.0/report"),
    *("/api/models", "/api/reindex"),
]


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


def test_with_a_token_what_changes_something_and_job_details_need_it(shop):
    (shop / "token").write_text(TOKEN + "\n")
    with administering(shop, EFISS_ADMIN_TOKEN_FILE="token") as admin:
        for path in CHANGING:
            refused = admin.post(path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in refused.json()["message"]
        for path in PRIVATE:
            assert admin.get(path).status_code == 401, path
        for headers in (bearer(TOKEN[:-1]), bearer(TOKEN + "0"), {"Authorization": TOKEN}):
            refused = admin.get("/api/jobs", headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (401, "wrong_token")
        assert admin.get("/api/jobs").json()["type"] == "no_token"
        assert admin.get("/api/versions").status_code == 200
        assert admin.get("/api/session").json() == {"token_required": True}
        assert admin.get("/api/jobs", headers=bearer(TOKEN)).status_code == 200
        assert admin.post("/api/reindex", headers=bearer(TOKEN)).json()["result"] == "success"


def test_a_token_cannot_be_guessed_by_trying(shop):
    with administering(shop, EFISS_ADMIN_TOKEN=TOKEN) as admin:
        tries = [
            admin.get("/api/jobs", headers=bearer(f"{n:032}") | {"X-Forwarded-For": f"10.0.0.{n}"})
            for n in range(12)
        ]
        assert [one.status_code for one in tries] == [401] * 10 + [429] * 2
        assert tries[-1].headers["retry-after"]
        assert admin.get("/api/jobs", headers=bearer(TOKEN)).status_code == 200


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"EFISS_ADMIN_HOST": "0.0.0.0"}, "no token"),
        ({"EFISS_ADMIN_HOST": "shop.example"}, "IP address"),
        ({"EFISS_ADMIN_TOKEN": "short"}, "16"),
        ({"EFISS_ADMIN_TOKEN": TOKEN, "EFISS_ADMIN_TOKEN_FILE": "token"}, "not both"),
        ({"EFISS_ADMIN_TOKEN_FILE": "missing"}, "cannot be read"),
        ({"EFISS_ADMIN_PORT": "0"}, "1 to 65535"),
        ({"EFISS_SERVICE_URL": "localhost:5000"}, "http://HOST:PORT"),
        ({"EFISS_SERVICE_URL": "http://localhost:abc"}, "http://HOST:PORT"),
    ],
)
def test_a_bad_setting_is_said_in_a_sentence(shop, environment, word, monkeypatch):
    monkeypatch.chdir(shop)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=word) as refused:
        Settings.from_environment(Path("index"), Path("efiss.toml"))
    assert "short" not in str(refused.value)


def test_the_command_ends_with_that_sentence_and_starts_nothing(shop):
    process = start(shop, free_block(), EFISS_ADMIN_TOKEN="short")
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert re.fullmatch("Error: EFISS_ADMIN_TOKEN must be 16 ASCII letters or more .*\n", said)


def test_a_second_service_on_the_same_index_or_port_is_refused(admin):
    for port, word in ((free_block(), "another `efiss admin`"), (admin.url[-5:], "cannot be used")):
        folder = admin.folder if "another" in word else admin.folder / "models"
        process = start(folder, int(port))
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1 and word in said


def test_without_a_token_pages_of_other_sites_are_not_listened_to(idle_admin):
    own = idle_admin.url.removeprefix("http://")
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "["},
        {"Origin": "http://["},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ):
        refused = idle_admin.post("/api/reindex", {"mode": "?"}, headers=headers)
        assert refused.status_code == 403, headers
    for headers in ({"Origin": idle_admin.url}, {"Host": own.replace("127.0.0.1", "localhost")}):
        assert idle_admin.post("/api/reindex", {"mode": "?"}, headers=headers).status_code == 422


def test_what_costs_may_not_be_asked_for_without_end(admin):
    answers = [admin.post("/api/reindex", {"mode": "?"}).status_code for _ in range(32)]
    assert answers == [422] * 30 + [429] * 2


def test_callers_behind_a_known_proxy_are_told_apart(shop):
    """Two admin services."""

    def asking(caller: str) -> int:
        told = {"X-Forwarded-For": caller}
        return [admin.post("/api/reindex", {"mode": "?"}, headers=told) for _ in range(31)][-1]

    with administering(shop) as admin:  # a proxy of this machine is known
        assert [asking("10.0.0.1").status_code, asking("10.0.0.2").status_code] == [429, 429]
        assert admin.post("/api/reindex", {"mode": "?"}).status_code == 422
    with administering(shop, FORWARDED_ALLOW_IPS="10.9.9.9") as admin:
        assert asking("10.0.0.1").status_code == 429
        assert admin.post("/api/reindex", {"mode": "?"}).status_code == 429


def test_pages_may_not_be_framed_or_sniffed(idle_admin):
    headers = idle_admin.get("/health/live").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_the_openapi_page_needs_no_network(idle_admin):
    page = idle_admin.get("/docs").text
    assert "http://" not in page and "https://" not in page
    assert idle_admin.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    told = idle_admin.get("/openapi.json").json()
    assert told["info"]["version"] == __version__
    paths = told["paths"]
    fields = paths["/api/reindex"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert fields["properties"]["new_index_database_version"]["examples"] == ["1.2.0"]


def test_errors_have_one_form(idle_admin):
    for path, status in (("/nothing", 404), ("/api/jobs/x", 422)):
        answer = idle_admin.get(path)
        assert answer.status_code == status
        assert set(answer.json()) == {"code", "type", "message"}
    assert idle_admin.get("/api/rollback").json()["type"] == "wrong_method"
