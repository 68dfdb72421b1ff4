"""What the page knows by heart is what the service tells."""

import re
from pathlib import Path

import pillow_heif
from PIL import Image

from admin import jobs
from hashing import picture

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
