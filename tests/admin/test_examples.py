"""Photographs to ask with: offered beside the demo's catalogue and no other."""

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from photographs import DATALAKE, catalogue, queries
from searcher.index import Index
from tests.admin.conftest import administering, is_wider_than_the_screen, resize
from tests.admin.test_page import Page, written

pytestmark = pytest.mark.server

DEMO = [f"{DATALAKE}/{picture.path}" for picture in catalogue()[:3]]


@pytest.fixture
def live(publish_version, tmp_path):
    """live(paths) makes a version of some paths live, and gives the folder of its index folder."""

    def publish(paths):
        publish_version(tmp_path / "index", paths=paths)
        Index(tmp_path / "index").activate("1.0.0")
        return tmp_path

    return publish


def test_they_are_offered_beside_the_demo(live):
    with administering(live(DEMO)) as admin:
        examples = admin.get("/api/examples").json()["examples"]
        assert [one["id"] for one in examples] == [one.id for one in queries()]
        assert examples[1]["shows"] == "Dress for children"
        answer = admin.get(f"/api/examples/{examples[1]['id']}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content == queries()[1].file.read_bytes()
        for id in ("none", catalogue()[0].photograph.id, "..%2fREADME.md"):
            assert admin.get(f"/api/examples/{id}").status_code == 404


def test_beside_another_catalogue_there_are_none(live):
    with administering(live(["data/abc.com/1_abc_com.jpg"] * 3)) as admin:
        assert admin.get("/api/examples").json() == {"examples": []}
        answer = admin.get(f"/api/examples/{queries()[0].id}")
        assert (answer.status_code, answer.json()["type"]) == (404, "unknown_example")


def test_the_page_offers_them_by_pointer_and_by_key(live, served, browser):
    with administering(live(DEMO), EFISS_SERVICE_URL=served.service.url) as admin:
        page = Page(browser, served)
        browser.get(admin.url)
        page.wait()
        shown = page.find_all("#examples button img")
        assert len(shown) == 24 and all(one.get_attribute("loading") == "lazy" for one in shown)
        assert shown[1].get_attribute("alt") == "Dress for children"
        # The search is that of another catalogue, so its answers are real.
        page.find_all("#examples button")[1].click()
        assert page.wait("Most like your photo") == written(page.ask(image=queries()[1].file))
        page.find_all("#examples button")[2].send_keys(Keys.ENTER)
        wanted = written(page.ask(image=queries()[2].file))
        assert page.wait_until(lambda results: results == wanted)
        resize(browser, 360, 760)
        assert not is_wider_than_the_screen(browser)
        row = page.find("#examples")
        assert browser.execute_script("return arguments[0].scrollWidth", row) > row.size["width"]


def test_the_page_of_another_catalogue_offers_none(served, browser):
    page = Page(browser, served).open()
    assert not page.find("#examples-field").is_displayed()
    assert browser.find_elements(By.CSS_SELECTOR, "#examples li") == []
