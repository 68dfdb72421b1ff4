"""What is deployed, as tests read it."""

import functools
import json
import re
from pathlib import Path

import jsonschema
import yaml

from efiss.cli import COMMANDS
from tests.running import ROOT

SCHEMAS = Path(__file__).with_name("schemas")
PROGRAM = ("admin", "benchmarks", "efiss", "handlers", "hashing", "indexer", "searcher")


@functools.cache
def schema(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def problems(document, of: dict) -> list[str]:
    """What a schema has against a document, each with its place."""
    validator = jsonschema.validators.validator_for(of)(of)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def documents(path: Path) -> list[dict]:
    """All that a file of YAML holds; twice the same key is a mistake."""
    return [one for one in yaml.load_all(path.read_text(encoding="utf-8"), _Strict) if one]


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{node.start_mark}: {twice} twice"
        return super().construct_mapping(node, deep)


def is_role(arguments: list[str]) -> bool:
    """Whether an image's entry point knows what to do with a container's arguments."""
    name = arguments[0]
    if name.startswith("deploy/"):
        return (ROOT / name).stat().st_mode & 0o111 != 0
    return name in {*COMMANDS, "bench", "bash"}


@functools.cache
def variables() -> set[str]:
    """The environment variables of the program."""
    files = [path for name in PROGRAM for path in (ROOT / name).rglob("*.py")]
    return {
        name
        for path in files
        for name in re.findall(r"EFISS_[A-Z_]+", path.read_text(encoding="utf-8"))
    }
