"""The rooms of the program: imports point down their list, and never go round."""

import ast
import graphlib
import tomllib
from pathlib import Path

import pytest

from tests.running import ROOT

ROOMS = [
    {"machine", "efiss_client"},
    {"hashing", "photographs"},
    {"searcher"},
    {"indexer", "handlers"},
    {"serving", "trainer", "admin"},
    {"efiss"},
]
"""From the bottom to the top: a module imports its own room and what stands below it; serving,
which packs the handlers, is above them."""

Imports = dict[str, set[str]]
"""Module -> the modules of the program that it imports, wherever in its file."""


def imports(root: Path) -> Imports:
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for room in set().union(*ROOMS)
        for path in [*root.glob(f"{room}.py"), *root.glob(f"{room}/**/*.py")]
    }
    return {name: imported(name, path, set(files)) for name, path in files.items()}


def imported(module: str, path: Path, modules: set[str]) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        *packages, last = [before for before in beginnings(name) if before in modules] or [""]
        # The packages above what is imported are as well, but for those that this module is in:
        # they are there already, and may offer what stands in them.
        found |= {*packages} - {*beginnings(module)} | {last}
    return found - {"", module}


def beginnings(name: str) -> list[str]:
    """a.b.c -> a, a.b, a.b.c"""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def upward(graph: Imports) -> list[str]:
    """Imports of a higher room, or of another one of the same height."""
    height = {room: i for i, rooms in enumerate(ROOMS) for room in rooms}
    rooms = {module: module.partition(".")[0] for module in graph}
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if rooms[module] != rooms[other] and height[rooms[module]] <= height[rooms[other]]
    ]


def circle(graph: Imports) -> list[str]:
    """The modules of a circle of imports, when there is one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def graph() -> Imports:
    return imports(ROOT)


def test_imports_point_down_the_rooms(graph):
    assert upward(graph) == []


def test_no_import_goes_round(graph):
    assert circle(graph) == []


def test_every_package_of_the_program_is_in_a_room(graph):
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.partition(".")[0] for name in [*told["packages"], *told["py-modules"]]}
    assert packages == set().union(*ROOMS) == {module.partition(".")[0] for module in graph}


def write(root: Path, files: dict[str, str]) -> Imports:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return imports(root)


def test_what_would_be_found(tmp_path):
    files = {
        "hashing/model.py": "def late():\n    from indexer import pipeline\n",
        "indexer/pipeline.py": "import hashing.model\n",
        "handlers/answer.py": "from indexer.pipeline import index_catalogue\n",
        "machine/files.py": "import numpy, efiss_client\n",
        "efiss_client.py": "",
    }
    found = write(tmp_path, files)
    assert sorted(upward(found)) == [
        "handlers.answer imports indexer.pipeline",
        "hashing.model imports indexer.pipeline",
        "machine.files imports efiss_client",
    ]
    assert set(circle(found)) == {"hashing.model", "indexer.pipeline"}


def test_a_package_may_offer_what_stands_in_it_and_that_does_not_ask_the_package(tmp_path):
    files = {
        "searcher/__init__.py": "from searcher.opened import OpenVersion\n",
        "searcher/opened.py": "from searcher import version\n",
        "searcher/version.py": "",
    }
    assert circle(write(tmp_path, files)) == []
    files["searcher/version.py"] = "from searcher import OpenVersion\n"
    assert "searcher" in circle(write(tmp_path, files))
