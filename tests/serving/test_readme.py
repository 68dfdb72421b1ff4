"""The README's examples, run as they stand there."""

import json
import re
import subprocess

from tests.drawing import draw
from tests.pictures import encoded
from tests.running import ROOT


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_api_examples_answer(service, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encoded(draw(1, 5000)))
    blocks = re.findall(r"```bash\n(.*?)```", section("The API"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 5
    answers = []
    for line in lines:
        line = line.replace("http://127.0.0.1:5000", service.url).replace("curl ", "curl -sS ")
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=True)
        answers += [json.loads(done.stdout)] if "curl" in line else []
    shown = json.loads(re.findall(r"```json\n(.*?)```", section("The API"), re.DOTALL)[0])
    assert list(answers[0]) == list(shown) and len(answers[0]["relevant"]) == 5
    assert all(list(answer.pop("ms")) == list(shown["ms"]) for answer in answers)
    assert len(answers) == 4 and answers.count(answers[0]) == 4


def test_the_mistake_shown_is_the_one_answered(service):
    shown = json.loads(re.findall(r"```json\n(.*?)```", section("The API"), re.DOTALL)[1])
    url = service.url + "/predictions/image-retrieval-v1.0"
    done = subprocess.run(
        ["curl", "-sS", url, "-T", "-"], input=b'{"image": "AAAA", "top_k": 0}', capture_output=True
    )
    assert json.loads(done.stdout) == shown


def test_every_file_the_readme_names_is_there():
    named = re.findall(r"^\| \[?`([\w./]+)`", section("Where things are"), re.MULTILINE)
    named += re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]
