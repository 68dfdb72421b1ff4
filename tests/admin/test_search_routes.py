"""Searches that the admin service passes on, and what it says of the catalogue."""

import base64
import http.client
import os

import httpx
import pytest

from admin.bounds import LARGEST_QUERY
from efiss_client import PATH
from tests.admin.conftest import PICTURES, administering

pytestmark = pytest.mark.server


def test_a_search_is_answered_as_the_service_itself_answers(served):
    photo = base64.b64encode((served.folder / served.paths[9]).read_bytes()).decode()
    for body in (
        {"image": photo, "top_k": 5, "debug": True},
        {"image": photo, "box": [0.2, 0.2, 0.9, 0.9], "top_k": 5, "debug": True},
        {"like": served.paths[3], "shops": ["north.example"], "debug": True},
    ):
        passed = served.admin.post("/api/search", body)
        direct = httpx.post(served.service.url + PATH, json=body, timeout=60)
        assert passed.status_code == 200
        assert passed.headers["x-index-version"] == "1.0.0"
        assert passed.headers["x-request-id"]
        assert passed.json() | {"ms": 0} == direct.json() | {"ms": 0}


def test_what_is_refused_is_passed_on_word_by_word(served):
    for content in (b'{"code": "00ff"}', b'{"like": "none"}', b"{", b"", b"[1]"):
        passed = served.admin.post("/api/search", content=content)
        direct = httpx.post(
            served.service.url + PATH,
            content=content,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert passed.status_code == direct.status_code >= 400, content
        assert passed.content == direct.content


def test_a_search_may_have_32_mb_and_no_byte_more(served):
    filled = b'{"image": "'.ljust(LARGEST_QUERY - 2, b"A") + b'"}'
    assert served.admin.post("/api/search", content=filled).json()["type"] != "too_large"
    refused = served.admin.post("/api/search", content=filled + b" ")
    assert (refused.status_code, refused.json()["type"]) == (413, "too_large")
    unannounced = served.admin.post("/api/search", content=iter([filled, b" "]))
    assert (unannounced.status_code, unannounced.json()["type"]) == (413, "too_large")


def test_without_a_search_service_it_says_so(shop):
    with administering(shop, EFISS_SERVICE_URL="http://127.0.0.1:1") as admin:
        refused = admin.post("/api/search", {"code": "0" * 16})
        assert (refused.status_code, refused.json()["type"]) == (503, "search_unreachable")
        assert "efiss serve" in refused.json()["message"]
        # Without a version there is nothing to tell of either.
        assert admin.get("/api/catalogue").json()["type"] == "no_live_version"


def test_the_catalogue_is_that_of_the_live_version(served):
    told = served.admin.get("/api/catalogue").json()
    assert (told["index_database_version"], told["rows"]) == ("1.0.0", len(served.paths))
    shops = {shop["name"]: shop["pictures"] for shop in told["shops"]}
    assert list(shops) == sorted({path.split("/")[1] for path in served.paths})
    assert sum(shops.values()) == len(served.paths)


def test_a_shop_whose_name_is_no_utf_8_is_in_the_catalogue_as_well(admin):
    folder = os.fsencode(admin.folder / "data")
    os.rename(folder + b"/abc.com", folder + b"/b\xe9b\xe9.com")
    assert admin.post("/api/reindex").status_code == 200
    told = admin.get("/api/catalogue")
    assert told.headers["content-type"] == "application/json"
    (shop,) = told.json()["shops"]
    assert os.fsencode(shop["name"]) == b"b\xe9b\xe9.com" and shop["pictures"] == PICTURES


def test_the_page_loads_nothing_from_elsewhere(idle_admin):
    page = idle_admin.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in ("style.css", "app.js", "icon.svg"):
        assert f'"/page/{name}"' in page.text
        part = idle_admin.get(f"/page/{name}")
        assert part.status_code == 200 and part.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    mark = {"If-None-Match": page.headers["etag"]}
    assert idle_admin.get("/", headers=mark).status_code == 304


def test_only_the_files_of_the_page_are_served(idle_admin):
    # Not by httpx, which would take the dots out.
    connection = http.client.HTTPConnection(*idle_admin.url.removeprefix("http://").split(":"))
    for path in ("/page/../app.py", "/page/..%2Fapp.py", "/page/%2Fetc%2Fpasswd", "/page/none.js"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 404 and b'"not_found"' in answer.read(), path
