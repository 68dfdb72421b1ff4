"""The page as shoppers use it, in a real browser on real answers."""

import base64
import re
import time
from collections.abc import Callable

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from efiss_client import Client
from tests.admin.conftest import is_wider_than_the_screen, resize
from tests.running import wait_for

RESULTS = """
return document.getElementById("results").getAttribute("aria-busy") === "false" &&
  [...document.querySelectorAll(".card")].map((card) => card.title.toWellFormed())
"""
DROP = """
const [type, kind, encoded] = arguments;
const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
if (encoded) data.items.add(new File([bytes], "photo.jpg", { type: kind }));
const event = type === "paste"
  ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
  : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


class Page:
    """The search page in a tab."""

    def __init__(self, browser, served):
        self.browser, self.served = browser, served

    def open(self, link: str = "/") -> "Page":
        self.browser.get(self.served.admin.url + link)
        self.wait()
        return self

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, title: str = "") -> list[tuple[str, int | None]]:
        """Path and distance of each result, once they are there under a title like this."""
        return self.wait_until(lambda results: title in self.title)

    def wait_until(self, fits: Callable[[list], object]) -> list[tuple[str, int | None]]:
        """The results, once they are there and fit.  Read once a try: others may come between."""

        def fitting() -> list | None:
            titles = self.run(RESULTS)
            results = titles is not False and [_result(text) for text in titles]
            return [results] if results is not False and fits(results) else None

        return wait_for(fitting)[0]

    def wait_for_others(self, before: list) -> list:
        return self.wait_until(lambda results: results != before)

    @property
    def title(self) -> str:
        return self.find("#results-title").text

    @property
    def link(self) -> str:
        return self.browser.current_url.removeprefix(self.served.admin.url)

    def choose(self, path: str) -> list:
        self.find("#file").send_keys(str(self.served.folder / path))
        return self.wait("Most like your photo")

    def ask(self, **fields) -> list[tuple[str, int]]:
        """What the service itself answers."""
        with Client(self.served.service.url) as client:
            answer = client.search(**{"top_k": 24, **fields})
        return [(result.path, result.distance) for result in answer.results]


def _result(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.*): (\d+) of 64 bits differ", text, re.DOTALL)
    return (found[1], int(found[2])) if found else (text, None)


@pytest.fixture
def page(served, browser) -> Page:
    return Page(browser, served).open()


@pytest.fixture
def photo(served) -> str:
    return base64.b64encode((served.folder / PHOTO).read_bytes()).decode()


PHOTO = "data/north.example/5_another.jpg"


def written(results: list) -> list:
    """As the browser can tell them: what is not UTF-8 replaced."""
    return [(re.sub("[\udc80-\udcff]", "\ufffd", path), distance) for path, distance in results]


def test_a_photo_is_chosen_and_the_services_own_answer_shown(page, photo):
    assert page.title == "From the catalogue" and len(page.wait()) == 24
    results = page.choose(PHOTO)
    assert results == written(page.ask(image=page.served.folder / PHOTO))
    assert results[0] == (PHOTO, 0)
    card = page.find(".card")
    assert card.find_element(By.CSS_SELECTOR, ".distance").text == "0 bits"
    assert card.find_element(By.CSS_SELECTOR, ".product").text == "Product 5"
    assert card.find_element(By.CSS_SELECTOR, ".shop").text == "north.example"
    figures = page.find("#meta").text.replace("\n", " ")
    assert "version 1.0.0" in figures and re.search(r"model \d+\.\d ms", figures)
    assert "24 pictures" in page.find("#said").get_attribute("textContent")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_is_dropped_or_pasted(page, photo, way):
    page.run(DROP, way, "image/jpeg", photo)
    assert page.wait("Most like your photo")[0] == (PHOTO, 0)


def test_every_thumbnail_is_shown_whatever_its_name(page, served):
    found = page.open("/?code=0000000000000000&top_k=1000").wait()
    assert len(found) == len(served.paths)
    page.run("for (const image of document.querySelectorAll('.grid img')) image.loading = 'eager'")
    wait_for(lambda: page.run("return [...document.images].every((one) => one.complete)"))
    assert page.run("return [...document.images].filter((one) => one.src && !one.naturalWidth)"
                    ".map((one) => one.src)") == []  # fmt: skip


def test_more_results_come_while_the_number_is_typed(page):
    page.choose(PHOTO)
    field = page.find("#top-k")
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys("3")
    wait_for(lambda: len(page.wait()) == 3)
    field.send_keys("0")
    wait_for(lambda: len(page.wait()) == 30)
    field.send_keys("000")
    assert page.find("#top-k-hint").text == "From 1 to 1000" and len(page.wait()) == 30
    assert "top_k=30" in page.link


def test_an_answer_that_comes_late_is_passed_over(page):
    page.choose(PHOTO)
    page.run("""
        const real = window.fetch;
        window.late = [];
        window.fetch = (path, options) => {
          const answer = real(path, { ...options, signal: undefined });
          if (!options.body.includes('"top_k":5,')) return answer;
          return new Promise((done) => window.late.push(() => done(answer)));
        };
    """)
    field = page.find("#top-k")
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys("5")
    wait_for(lambda: page.run("return window.late.length"))
    field.send_keys("0")
    wait_for(lambda: len(page.wait()) == len(page.served.paths))
    page.run("window.late.forEach((come) => come())")
    time.sleep(0.3)
    assert len(page.wait()) == len(page.served.paths)


@pytest.mark.parametrize(
    ("near", "text"),
    [(3, "Less similar from here"), (0, "Nothing near; less similar from here"), (24, None)],
)
def test_a_line_stands_before_what_is_far(page, near, text):
    """The shipped model need not say what is near, so the answer is made to."""
    page.run(
        """
        const real = window.fetch;
        window.fetch = async (path, options) => {
          const answer = await real(path, options);
          if (!path.startsWith("/api/search")) return answer;
          const said = await answer.json();
          said.match = said.relevant.map((_, place) => place < arguments[0] ? "alike" : "far");
          return new Response(JSON.stringify(said), { headers: answer.headers });
        };
    """.replace("arguments[0]", str(near))
    )
    results = page.choose(PHOTO)
    kinds = page.run(
        "return [...document.querySelectorAll('#grid > *')].map((one) => one.className)"
    )
    lines = page.find_all("#grid > .line")
    assert len(results) == 24 and [line.text for line in lines] == ([text] if text else [])
    if text:
        assert kinds[near] == "line" and len(kinds) == 25
        width = page.find("#grid").size["width"]
        assert lines[0].size["width"] == width, "over all columns"
    page.find("#forget").click()
    page.wait("From the catalogue")
    assert not page.find_all("#grid > .line"), "nothing was asked"


def test_a_service_that_knows_no_rank_is_asked_without(page):
    page.run("""
        const real = window.fetch;
        window.asked = [];
        window.fetch = (path, options) => {
          if (!path.startsWith("/api/search")) return real(path, options);
          const { rank } = JSON.parse(options.body);
          window.asked.push(rank ?? null);
          const said = { code: 400, type: "unknown_field", message: 'unknown field "rank"' };
          if (rank) return Promise.resolve(new Response(JSON.stringify(said), { status: 400 }));
          return real(path, options);
        };
    """)
    results = page.choose(PHOTO)
    assert results[0] == (PHOTO, 0)
    assert page.run("return window.asked") == ["fine", None]


def test_answers_of_a_service_that_tells_neither_shops_nor_products_are_shown(page):
    page.run("""
        const real = window.fetch;
        window.fetch = async (path, options) => {
          const answer = await real(path, options);
          if (!path.startsWith("/api/search")) return answer;
          const { shops, products, like, ...said } = await answer.json();
          return new Response(JSON.stringify(said), { headers: answer.headers });
        };
    """)
    assert page.choose(PHOTO)[0] == (PHOTO, 0)
    assert page.find(".card .shop").text == "north.example"
    assert page.find(".card .product").text == "Product 5"
    page.find(".card").click()
    assert page.wait("More like this")[0] == (PHOTO, 0)


def test_a_box_is_drawn_moved_and_cleared(page, photo):
    whole = page.choose(PHOTO)
    frame = page.find("#frame")
    width, height = frame.size["width"], frame.size["height"]
    mouse = ActionChains(page.browser)
    mouse.move_to_element_with_offset(frame, -width // 4, -height // 4).click_and_hold()
    mouse.move_by_offset(width // 3, height // 3).release().perform()
    part = page.wait("Most like the marked part")
    assert part != whole
    box = [float(page.find(f"#side-{side}").get_attribute("value")) / 100 for side in range(4)]
    assert box == pytest.approx([0.25, 0.25, 0.583, 0.583], abs=0.02)
    ActionChains(page.browser).drag_and_drop_by_offset(page.find("#box"), 40, 40).perform()
    moved = page.wait_for_others(part)
    assert float(page.find("#side-0").get_attribute("value")) / 100 > box[0] + 0.05
    assert moved != whole
    page.find("#unmark").click()
    page.wait("Most like your photo")
    assert page.wait() == whole and not page.find("#box").is_displayed()
    page.browser.back()
    page.wait("Most like the marked part")
    assert page.wait() == moved and page.find("#box").is_displayed()


def test_shops_and_one_per_product(page, photo):
    page.choose(PHOTO)
    page.find(".chip input[value='north.example']").click()
    wait_for(lambda: {path.split("/")[1] for path, _ in page.wait()} == {"north.example"})
    results = page.wait()
    assert results == written(page.ask(image=page.served.folder / PHOTO, shops=["north.example"]))
    page.find("#products").click()
    products = page.wait_for_others(results)
    names = [path.split("/")[2].split("_")[0] for path, _ in products]
    assert len(set(names)) == len(names) == len(results) - 1  # of product 5 there are two
    assert "shop=north.example" in page.link and "group_by=product" in page.link
    page.find("#all-shops").click()
    wait_for(lambda: len({path.split("/")[1] for path, _ in page.wait()}) == 4)


def test_a_click_on_a_result_finds_more_like_it_and_the_way_back_works(page):
    results = page.choose(PHOTO)
    path = next(path for path, _ in results[1:] if path.isascii())
    place = [one for one, _ in results].index(path)
    page.find_all(".card")[place].click()
    like = page.wait("More like this")
    assert like == written(page.ask(like=path)) and (path, 0) in like
    assert page.run("return document.activeElement.id") == "results-title"
    page.browser.back()
    page.wait("Most like your photo")
    assert page.wait() == results and "blob:" in page.find("#photo").get_attribute("src")
    page.browser.back()
    page.wait("From the catalogue")


def test_a_picture_whose_name_is_no_text_is_searched_by_and_linked(page, served):
    odd = next(path for path in served.paths if "\udce9" in path)
    results = page.open("/?code=0000000000000000&top_k=1000").wait()
    place = [path for path, _ in results].index(odd.replace("\udce9", "\ufffd"))
    page.find_all(".card")[place].click()
    like = page.wait("More like this")
    assert like == written(page.ask(like=odd, top_k=1000))
    code = re.search(r"code=([0-9a-f]{16})", page.link)[1]
    linked = page.open(page.link).wait("Nearest to this code")
    assert linked == written(page.ask(code=code, top_k=1000))


def test_the_link_of_a_photo_finds_the_nearest_to_its_code_in_another_tab(page):
    page.choose(PHOTO)
    page.find(".chip input[value='linden.example']").click()
    wait_for(lambda: "linden.example" in page.link)
    page.wait()
    link = page.link
    code = re.fullmatch(r"/\?code=([0-9a-f]{16})&top_k=24&shop=linden.example", link)[1]
    page.browser.switch_to.new_window("tab")
    again = page.open(link).wait("Nearest to this code")
    assert again == written(page.ask(code=code, top_k=24, shops=["linden.example"]))
    assert page.find(".chip input[value='linden.example']").is_selected()
    page.find_all(".card")[2].click()
    like, link = page.wait("More like this"), page.link
    page.browser.switch_to.new_window("tab")
    assert page.open(link).wait("More like this") == like


def test_all_of_it_works_by_keyboard(page):
    press_until(page, Keys.TAB, "choose")  # by Enter the system's own dialog opens
    page.choose(PHOTO)
    whole = page.wait()
    press_until(page, Keys.TAB, "mark")
    press(page, Keys.ENTER)
    part = page.wait("Most like the marked part")
    assert page.run("return document.activeElement.id") == "box"
    for _ in range(5):
        press(page, Keys.ARROW_RIGHT)
    assert float(page.find("#side-0").get_attribute("value")) == pytest.approx(30)
    moved = page.wait_for_others(part)
    ActionChains(page.browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_UP).key_up(
        Keys.SHIFT
    ).perform()
    assert float(page.find("#side-3").get_attribute("value")) == pytest.approx(78)
    press(page, Keys.DELETE)
    assert page.wait("Most like your photo") == whole != moved
    page.run("document.getElementById('top-k').focus()")
    press_until(page, Keys.TAB, "products")
    press(page, Keys.SPACE)
    wait_for(lambda: "group_by=product" in page.link)
    for _ in range(20):
        press(page, Keys.TAB)
        if page.run("return document.activeElement.className") == "card":
            break
    press(page, Keys.ENTER)
    page.wait("More like this")


def press(page, key: str) -> None:
    ActionChains(page.browser).send_keys(key).perform()


def press_until(page, key: str, id: str) -> None:
    for _ in range(20):
        press(page, key)
        if page.run("return document.activeElement.id") == id:
            return
    raise AssertionError(f"{id} is not reached")


def test_a_box_in_numbers(page, photo):
    page.choose(PHOTO)
    page.find("#numbers summary").click()
    field = page.find("#side-1")
    field.clear()
    field.send_keys("40")
    page.wait("Most like the marked part")
    wait_for(
        lambda: (
            page.wait() == written(page.ask(image=page.served.folder / PHOTO, box=[0, 0.4, 1, 1]))
        )
    )


def test_what_is_refused_is_said(page, photo):
    page.open("/?code=00ff&top_k=5")
    assert page.find("#error").text == 'Code must be 16 hex digits, not "00ff".'
    page.open("/?like=data%2Fnone.jpg")
    assert "no picture with the path" in page.find("#error").text
    page.run(DROP, "drop", "image/jpeg", base64.b64encode(b"no picture").decode())
    wait_for(lambda: "not a picture" in page.find("#error").text)
    page.run(DROP, "drop", "", "")
    wait_for(lambda: "no picture file" in page.find("#error").text)
    page.run(DROP, "drop", "image/jpeg", photo)
    page.wait("Most like your photo")
    assert not page.find("#error").is_displayed()


def test_a_photo_that_is_too_large_is_not_sent(page, tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(24 * 2**20)
    page.find("#file").send_keys(str(large))
    wait_for(lambda: "23 MB is the most" in page.find("#error").text)


def test_a_shop_that_is_not_there_is_said_with_the_nearest(page):
    page.open("/?code=0000000000000000&shop=nort.example")
    assert page.wait() == [] and 'did you mean "north.example"?' in page.find("#error").text
    page.find("#all-shops").click()
    wait_for(lambda: len(page.wait()) == 24)


@pytest.mark.parametrize("link", ["/", "/?code=0000000000000000", "/#operate"])
def test_a_narrow_screen_is_wide_enough(page, link):
    resize(page.browser, 360, 740)
    page.open(link)
    assert not is_wider_than_the_screen(page.browser)
    if "code" in link:
        page.choose(PHOTO)
        page.find("#mark").click()
        page.wait("Most like the marked part")
        page.find("#numbers summary").click()
        assert not is_wider_than_the_screen(page.browser)


def test_a_finger_draws_a_box(page):
    page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    page.choose(PHOTO)
    frame = page.run(
        "const r = document.getElementById('frame').getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]"
    )
    for type, part in (
        ("touchStart", 0.3),
        ("touchMove", 0.5),
        ("touchMove", 0.7),
        ("touchEnd", 0),
    ):
        point = {"x": frame[0] + part * frame[2], "y": frame[1] + part * frame[3]}
        points = [] if type == "touchEnd" else [point]
        page.browser.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": type, "touchPoints": points}
        )
    page.wait("Most like the marked part")
    page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
