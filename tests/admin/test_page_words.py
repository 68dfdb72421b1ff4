"""What the page knows by heart is what the service tells."""

import base64
import itertools
import re
from pathlib import Path

import pillow_heif
from PIL import Image

from admin import jobs
from hashing import picture
from searcher.columns import build
from searcher.paths import Paths

PAGE = Path(jobs.__file__).with_name("page")


def table(name: str) -> dict[str, str]:
    """An object of words in jobs.js."""
    script = (PAGE / "jobs.js").read_text()
    body = re.search(rf"\b{name} = {{(.*?)}};", script, re.DOTALL)
    return dict(re.findall(r'(\w+): "([^"]*)"', body[1]))


def test_it_has_a_word_for_every_state_of_a_job():
    assert set(table("STATE_WORDS")) == {jobs.RUNNING, *jobs.ENDED}
    assert set(table("marks")) < set(jobs.ENDED)


def test_it_lets_choose_every_format_that_is_decoded():
    Image.init()  # or it knows only the formats that were used so far
    pillow_heif.register_heif_opener()
    accepted = re.search(r'accept="([^"]*)">', (PAGE / "index.html").read_text())[1].split(",")
    assert accepted == [Image.MIME[format] for format in picture.FORMATS]


DESCRIBED = """
const [script, paths, done] = arguments;
import(script).then(({ described }) => done(paths.map(described)));
"""


def test_it_reads_shop_and_product_from_a_path_as_the_search_does(browser):
    paths = [
        "data/abc.com/69_abc_com.jpg", "data/abc.com/69_abc_com_back.jpg", "data/abc.com/69.jpg",
        "data/xyz.com/69_xyz_com.jpg", "data/abc.com/x/69_y.jpg", "abc.com/69_other.jpg",
        "data//abc.com//69_twice.jpg", "69_none.jpg", "/69_top.jpg", "a_b/no", "é/ü_1.jpg",
    ]  # fmt: skip
    script = base64.b64encode((PAGE / "paths.js").read_bytes()).decode()
    shown = browser.execute_async_script(DESCRIBED, f"data:text/javascript;base64,{script}", paths)
    columns, shops = build(Paths.of(paths))
    assert [one["shop"] for one in shown] == [shops[number] for number in columns["shops"]]
    for (one, number), (other, another) in itertools.combinations(
        zip(shown, columns["products"], strict=True), 2
    ):
        assert (one == other) == (number == another)
