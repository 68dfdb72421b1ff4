"""The command line as a whole."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from efiss.cli import COMMANDS, main
from efiss.exits import CRASHED
from efiss_client import ServiceError
from searcher import columns, switch
from searcher.version import VersionError

ROOT = Path(__file__).parents[2]
ROOMS = ("machine", "hashing", "searcher", "indexer", "handlers", "serving", "trainer", "admin",
         "efiss")  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_teaches_with_an_example(name):
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert re.search(r"Examples?:\n +(EFISS_\w+=\w+ )?(efiss|bash) ", done.output), done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_has_a_line_of_help(name):
    command = main.get_command(click.Context(main), name)
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.opts for option in options if not option.help] == []


def test_the_group_lists_every_command_without_importing_any():
    done = CliRunner().invoke(main, ["--help"])
    assert all(f"  {name} " in done.output for name in COMMANDS)


def test_an_unknown_command_is_a_usage_error():
    done = CliRunner().invoke(main, ["serch"])
    assert done.exit_code == 2 and "No such command" in done.output


def crash(*arguments, **named):
    return np.zeros(3) + np.zeros(4)


@pytest.fixture
def catalogue(tmp_path, monkeypatch, tiny_models):
    """The options that index one picture, in the folder where it lies."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("1.png")
    Path("database_info.txt").write_text("1.png\n")
    return ["--model_path", str(tiny_models[0]), "--new_index_database_version", "1.0.0"]


def test_a_bug_keeps_its_traceback_and_has_an_exit_code_of_its_own(catalogue, monkeypatch):
    monkeypatch.setattr(columns, "build", crash)
    done = CliRunner().invoke(main, ["index", *catalogue])
    assert done.exit_code == CRASHED == 70
    assert "Traceback (most recent call last)" in done.stderr and "in crash" in done.stderr
    assert "ValueError: operands could not be broadcast together" in done.stderr


BROKEN = """
import runpy, sys
import numpy
from searcher import columns
columns.build = lambda *_: numpy.zeros(3) + numpy.zeros(4)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow("two processes that import torch")
def test_the_file_of_the_contract_ends_as_the_command_does(catalogue):
    """Two processes that import torch."""
    script = str(ROOT / "indexer/main.py")

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command], cwd=Path.cwd(), capture_output=True, text=True
        )

    crashed = run("-c", BROKEN, script, *catalogue)
    assert crashed.returncode == CRASHED and "could not be broadcast" in crashed.stderr
    Path("database_info.txt").unlink()
    refused = run(script, *catalogue)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: database_info.txt is missing")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (VersionError("1.0.0 is live"), "1.0.0 is live"),
        (ServiceError("nothing answers"), "nothing answers"),
        (PermissionError(13, "Permission denied", "index/.lock"), "index/.lock: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_a_person_can_mend_is_one_sentence(error, said, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(switch, "prune", fail)
    done = CliRunner().invoke(main, ["remove", "--keep", "1"])
    assert (done.exit_code, done.stderr) == (1, f"Error: {said}\n")


def every_error() -> list[type]:
    """Of the program: the classes that a module of it defines and that are exceptions."""
    found = []
    for module in filter(None, list(sys.modules.values())):  # a blocked one is None
        room = module.__name__.partition(".")[0]
        if room in ROOMS:
            found += [
                kind
                for kind in vars(module).values()
                if isinstance(kind, type)
                and issubclass(kind, Exception)
                and kind.__module__ == module.__name__
            ]
    return found


@pytest.mark.filterwarnings("ignore:searcher.client:DeprecationWarning")
def test_no_error_of_the_program_passes_for_one_of_python():
    """Who catches a ValueError would take a bug for it."""
    for path in ROOT.glob("*/**/*.py"):
        room = path.relative_to(ROOT).parts[0]
        if room in ROOMS and path.stem not in ("__main__", "ray_engine"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    errors = every_error()
    assert len(errors) > 20
    assert [kind for kind in errors if issubclass(kind, ValueError | RuntimeError | OSError)] == []
