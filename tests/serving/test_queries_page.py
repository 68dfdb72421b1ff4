"""The requests of docs/queries.md, run as they stand there."""

import json
import re
import subprocess

import pytest

from photographs import DATALAKE, catalogue
from tests.drawing import SHOPS
from tests.running import ROOT

PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
SHELL, *REQUESTS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
REQUESTS = [line for block in REQUESTS for line in block.splitlines()]
MISTAKES = [line for line in REQUESTS if '"code": "00ff"' in line]
DEMO_SHOPS = {picture.path.split("/")[0] for picture in catalogue()}
DEMO_PATH = re.compile(r"demo/datalake/[\w./-]+\.jpg")


def ask(line: str, service) -> dict:
    """What the running service says to a line of the page: a path and the shops of the demo's
    catalogue stand for those of the catalogue that is there."""
    shell = SHELL.replace("http://127.0.0.1:5000", service.url)
    path = min((service.folder / "data" / "atlas.example").glob("[0-9]*_atlas_example.jpg"))
    line = DEMO_PATH.sub(str(path.relative_to(service.folder)), line)
    for demo, own in zip(sorted(DEMO_SHOPS), SHOPS, strict=True):
        line = line.replace(f'"{demo}"', f'"{own}.example"')
    done = subprocess.run(
        ["bash", "-c", shell + line], cwd=service.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", [line for line in REQUESTS if line not in MISTAKES])
def test_every_request_is_answered(line, service):
    answer = ask(line, service)
    assert answer.get("relevant"), answer


def test_the_mistake_is_the_one_that_is_shown(service):
    (line,), (shown,) = MISTAKES, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert ask(line, service) == json.loads(shown)


def test_the_paths_and_shops_are_the_demos():
    paths = set(DEMO_PATH.findall(PAGE))
    assert paths and paths <= {f"{DATALAKE}/{picture.path}" for picture in catalogue()}
    shops = {name for one in re.findall(r'shops": (\[.*?\])', PAGE) for name in json.loads(one)}
    assert shops and shops <= DEMO_SHOPS
