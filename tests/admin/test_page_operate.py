"""The page as operators use it: versions, reports, changes and reindexing."""

import base64

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from searcher.index import Index
from tests.admin.conftest import (
    MANY,
    PICTURES,
    administering,
    draw,
    draw_many,
    is_wider_than_the_screen,
    reindex_here,
    resize,
)
from tests.running import wait_for

pytestmark = pytest.mark.server

TOKEN = "0123456789abcdef0123456789abcdef"


class Operate:
    """The operators' part in a tab."""

    def __init__(self, browser, admin):
        self.browser, self.admin = browser, admin

    def open(self) -> "Operate":
        self.browser.get(self.admin.url + "/#operate")
        self.browser.refresh()  # the same address again is no new visit
        wait_for(lambda: self.text("#versions"))
        return self

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).get_attribute("innerText").strip()

    def click(self, selector: str) -> None:
        wait_for(lambda: self.find(selector).is_displayed())
        self.find(selector).click()

    def row(self, version: str) -> str:
        return self.text(f"tr[data-version='{version}']")

    def wait_for_live(self, version: str) -> None:
        self.wait_for_text(f"tr[data-version='{version}'] th", "live")

    def wait_for_text(self, selector: str, text: str) -> None:
        wait_for(lambda: text in self.read(selector))

    def read(self, selector: str) -> str:
        """The text, in one go: rows are written anew at any moment."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return self.browser.execute_script(script, selector)

    def add_picture(self, number: int) -> None:
        draw(self.admin.folder / f"data/xyz.vn/{number}_xyz_vn.png", 100 + number)

    def steps_done(self) -> list[str]:
        """The steps of the shown job that have a tick."""
        done = "document.querySelectorAll('#steps .done')"
        return self.browser.execute_script(f"return [...{done}].map((one) => one.firstChild.data)")

    def reindex(self) -> None:
        self.click("#start")


@pytest.fixture
def operate(admin, browser) -> Operate:
    return Operate(browser, admin).open()


def test_a_reindex_is_started_and_seen_to_its_end(operate):
    """Jobs in processes that load torch, watched in Chromium."""
    assert "no version yet" in operate.text("#versions")
    operate.wait_for_text("#reindex-of", "Lists the pictures in data, hashes what is new")
    operate.reindex()
    operate.wait_for_text("#job-title", "Job 1 done")
    assert operate.steps_done() == ["List", "Index", "Check", "Activate", "Tidy up"]
    operate.wait_for_live("1.0.0")
    assert "30" in operate.row("1.0.0") and "tiny-1" in operate.row("1.0.0")
    assert "passed" in operate.row("1.0.0") and "exact" in operate.row("1.0.0")
    operate.wait_for_text("#jobs", "version 1.0.0 is live")
    operate.wait_for_text("#catalogue", "30 pictures in 1 shop")
    operate.reindex()
    operate.wait_for_text("#job-title", "Job 2 nothing new")
    operate.add_picture(1)
    operate.find("#new-version").send_keys("2.0.0")
    operate.reindex()
    operate.wait_for_live("2.0.0")
    operate.wait_for_text("#catalogue", "31 pictures in 2 shops")


def test_the_model_stays_and_another_may_be_chosen(operate):
    """Jobs in processes that load torch, watched in Chromium."""

    def choices() -> list[str]:
        script = "return [...document.querySelectorAll('#model option')].map((one) => one.text)"
        return [text.split(" (")[0] for text in operate.browser.execute_script(script)]

    def choose(text: str) -> None:
        names = [name for name in choices() if name.startswith(text)]
        Select(operate.find("#model")).select_by_index(choices().index(*names))

    wait_for(lambda: choices() == ["shipped: tiny-1", "tiny-2"])
    assert not operate.find("#model-hint").is_displayed()
    choose("tiny-2")
    operate.reindex()
    operate.wait_for_live("1.0.0")
    wait_for(lambda: choices() == ["as now: tiny-2", "tiny-1"])
    operate.wait_for_text("#model-hint", "The live version has the model tiny-2")
    operate.wait_for_text("#model-hint", "--model_path models/tiny-1.pt")
    operate.add_picture(1)
    operate.reindex()
    operate.wait_for_live("1.1.0")
    assert "tiny-2" in operate.row("1.1.0")
    choose("tiny-1")
    operate.reindex()
    operate.wait_for_live("1.2.0")
    wait_for(lambda: choices() == ["as now: tiny-1", "tiny-2"])
    assert "tiny-1" in operate.row("1.2.0")
    operate.click("button[aria-label='Report 1.2.0']")
    operate.wait_for_text("#report-model", "The model changes from tiny-2 (")


def test_steps_progress_and_the_end_of_a_job_are_shown_as_they_come(operate):
    """Jobs in processes that load torch, watched in Chromium."""
    draw_many(operate.admin.folder)
    operate.admin.post("/api/reindex", {"model_path": "slow", "wait": False})
    wait_for(operate.admin.is_at_work)
    with operate.admin.halted():
        operate.open()
        operate.wait_for_text("#job-title", "Job 1 runs")
        operate.wait_for_text("#pace", f"of {PICTURES + MANY} pictures")
        assert operate.text("#steps [aria-current='step']") == "Index"
        operate.click("#cancel")
    operate.wait_for_text("#job-title", "Job 1 cancelled")
    operate.wait_for_text("#jobs", "cancelled")
    assert not operate.find("#progress").is_displayed()


def test_without_a_folder_to_list_it_names_the_list(browser, shop):
    with administering(shop, EFISS_DATALAKE="") as admin:
        operate = Operate(browser, admin).open()
        operate.wait_for_text("#reindex-of", "Takes the list database_info.txt as it is, hashes")


def test_where_events_do_not_come_through_the_job_is_asked_for(operate):
    operate.browser.execute_script("""
        const real = window.fetch;
        window.fetch = (path, options) =>
          path.endsWith("/events") ? Promise.reject(new TypeError("cut")) : real(path, options);
    """)
    operate.reindex()
    operate.wait_for_text("#job-title", "Job 1 done")


def test_a_report_is_opened_and_says_in_words_what_was_refused(operate):
    """Jobs in processes that load torch, watched in Chromium."""
    operate.reindex()
    operate.wait_for_live("1.0.0")
    for number in range(20):
        (operate.admin.folder / f"data/abc.com/{number}_abc_com.png").unlink()
    operate.reindex()
    operate.wait_for_text("#job-title", "Job 2 refused")
    assert operate.steps_done() == ["List", "Index", "Check"]
    operate.wait_for_text("tr[data-version='1.1.0']", "refused")
    operate.click("tr[data-version='1.1.0'] button[aria-label='Report 1.1.0']")
    wait_for(lambda: operate.find("#report").is_displayed())
    assert "Check of 1.1.0" in operate.text("#report-title")
    assert "stays off" in operate.text("#report-verdict")
    lines = {line.split("\t")[0]: line for line in operate.text("#measures").splitlines()}
    assert "refused" in lines["catalogue shrunk by"] and "66.67 %" in lines["catalogue shrunk by"]
    assert "passed" in lines["self-retrieval"] and "30" in lines["rows"]
    resize(operate.browser, 360, 740)
    assert not is_wider_than_the_screen(operate.browser)
    operate.click("#report-close")
    assert not is_wider_than_the_screen(operate.browser)
    # It goes live when somebody insists.
    operate.click("button[aria-label='Activate 1.1.0']")
    operate.click("#confirm-yes")
    operate.wait_for_text("#confirm-error", "judged unfit")
    operate.wait_for_text("#confirm-yes", "Activate all the same")
    operate.click("#confirm-yes")
    operate.wait_for_live("1.1.0")
    assert "forced" in operate.row("1.1.0")


def test_versions_are_rolled_back_and_activated(operate):
    """Switches in an admin service of its own, watched in Chromium."""
    for number in range(2):
        operate.add_picture(number)
        operate.reindex()
        operate.wait_for_live(f"1.{number}.0")
    assert "before" in operate.row("1.0.0")
    operate.click("button[aria-label='Roll back 1.0.0']")
    assert "Go back to 1.0.0?" in operate.text("#confirm-title")
    operate.click("#confirm-no")
    assert Index(operate.admin.folder / "index").live() == "1.1.0"
    operate.click("button[aria-label='Roll back 1.0.0']")
    operate.click("#confirm-yes")
    operate.wait_for_live("1.0.0")
    assert Index(operate.admin.folder / "index").live() == "1.0.0"
    assert "Version 1.0.0 is live" in operate.text("#operate-said")
    operate.click("button[aria-label='Activate 1.1.0']")
    operate.click("#confirm-yes")
    operate.wait_for_live("1.1.0")


def test_what_fails_is_said(operate):
    operate.reindex()
    operate.wait_for_live("1.0.0")
    operate.find("#new-version").send_keys("1.0.0")
    operate.reindex()
    operate.wait_for_text("#operate-error", "Version 1.0.0 exists; choose a new number")
    operate.find("#new-version").clear()
    operate.find("#new-version").send_keys("one")
    operate.reindex()  # the browser itself says that this is no number of a version
    assert len(operate.admin.get("/api/jobs").json()["jobs"]) == 1
    operate.wait_for_text("#health", "The search does not answer")


def test_with_a_token_it_is_asked_for_and_kept_in_this_tab_only(browser, shop):
    """Jobs in processes that load torch, watched in Chromium."""
    with administering(shop, EFISS_ADMIN_TOKEN=TOKEN) as admin:
        operate = Operate(browser, admin).open()
        wait_for(lambda: operate.find("#token-form").is_displayed())
        assert not operate.find("#reindexing").is_displayed()
        operate.find("#token").send_keys("a wrong one, and long\n")
        operate.wait_for_text("#token-error", "not the right one")
        operate.find("#token").send_keys(TOKEN + "\n")
        wait_for(lambda: operate.find("#reindexing").is_displayed())
        assert not operate.find("#token-form").is_displayed()
        operate.reindex()
        operate.wait_for_live("1.0.0")
        operate.click("button[aria-label='Report 1.0.0']")
        operate.wait_for_text("#report-title", "Check of 1.0.0")
        assert TOKEN not in browser.current_url
        assert browser.execute_script("return [document.cookie, localStorage.length]") == ["", 0]
        browser.switch_to.new_window("tab")
        operate.open()
        wait_for(lambda: operate.find("#token-form").is_displayed())


def test_names_from_a_catalogue_are_never_markup(browser, shop):
    name = '<img src=x onerror=alert(1)>"&_1.png'
    draw(shop / "data" / "<b>shop" / name, 1)
    reindex_here(shop)
    with administering(shop) as admin:
        browser.get(admin.url)
        chips = "return [...document.querySelectorAll('.chip span')].map((one) => one.textContent)"
        wait_for(lambda: "<b>shop" in browser.execute_script(chips))
        browser.execute_script(
            """
            const answer = { index_database_version: "1.0.0", relevant: [arguments[0]],
              shops: ["<b>shop"], products: [arguments[2]], distances: [1],
              code: "0000000000000000", ms: {} };
            const real = window.fetch;
            window.fetch = (path, options) => path === "/api/search"
              ? Promise.resolve(new Response(JSON.stringify(answer))) : real(path, options);
            const bytes = Uint8Array.from(atob(arguments[1]), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "photo.png", { type: "image/png" }));
            document.body.dispatchEvent(
              new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
            """,
            f"data/<b>shop/{name}",
            base64.b64encode((shop / "data" / "<b>shop" / name).read_bytes()).decode(),
            name.partition("_")[0],
        )
        product = "return document.querySelector('.card .product')?.textContent"
        wait_for(lambda: browser.execute_script(product) is not None)
        assert browser.execute_script(product) == 'Product <img src=x onerror=alert(1)>"&'
        shown = "return document.querySelector('.grid img').naturalWidth"
        wait_for(lambda: browser.execute_script(shown))
        assert browser.execute_script("return document.querySelectorAll('main b').length") == 0


def test_many_shops_do_not_make_a_narrow_page_wider(browser, shop):
    for number in range(6):
        draw(shop / f"data/shop-of-everything-{number}.example/1_shop.png", number)
    reindex_here(shop)
    with administering(shop) as admin:
        resize(browser, 360, 740)
        browser.get(admin.url)
        chips = "return document.querySelectorAll('.chip').length"
        wait_for(lambda: browser.execute_script(chips) == 7)
        assert not is_wider_than_the_screen(browser)
