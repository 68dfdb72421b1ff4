"""locked/ is what pyproject.toml needs: versions of constraints.txt, each file with its hash."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.running import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED_EXTRAS = ("admin", "heif", "java", "train", "milvus", "dev")
FILES = ("base", *LOCKED_EXTRAS)
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Versions, by package."""
    text = (ROOT / "locked" / f"{name}.txt").read_text()
    found = {package: version for package, version, _ in ENTRY.findall(text)}
    assert ENTRY.sub("", text).strip() == "# Made by release/lock.py; do not edit."
    return found


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    return {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines)
    }


@pytest.mark.parametrize("name", FILES)
def test_versions_are_those_of_the_constraints(name):
    assert locked(name).items() <= pinned().items()


@pytest.mark.parametrize("name", FILES)
def test_what_pyproject_names_is_there(name):
    extras = PROJECT["optional-dependencies"]
    needs = PROJECT["dependencies"] if name == "base" else extras[name]
    there = locked("base") | locked(name)
    for need in map(Requirement, needs):
        if need.name not in ("torch", PROJECT["name"]):
            assert need.specifier.contains(there[canonicalize_name(need.name)]), need


@pytest.mark.parametrize("name", FILES)
def test_what_those_need_is_there_as_well(name):
    """By what is installed here."""
    there = locked("base") | locked(name)
    for package in locked(name):
        for need in map(Requirement, importlib.metadata.requires(package) or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in {*there, "torch"}, f"{package} needs {need}"


def test_the_docs_name_what_is_not_locked():
    text = (ROOT / "docs" / "security.md").read_text()
    (row,) = re.findall(r"^\| the extras (.*?) \|", text, re.MULTILINE)
    others = PROJECT["optional-dependencies"].keys() - set(LOCKED_EXTRAS)
    assert set(re.findall(r"`(\w+)`", row)) == others


def test_a_file_of_another_hash_is_refused(tmp_path):
    """Of a package on this disk: no network is asked."""
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "pyproject.toml").write_text('[project]\nname = "one"\nversion = "1"\n')
    subprocess.run(
        [
            *build,
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            tmp_path / "one",
        ],
        check=True,
    )
    (tmp_path / "one.txt").write_text(f"one==1 \\\n    --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [*build, "install", "--no-index", "--find-links", tmp_path, "--target", tmp_path / "there",
         "--no-deps", "--require-hashes", "--requirement", tmp_path / "one.txt"],
        text=True, capture_output=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    assert done.returncode == 1 and "HASHES" in done.stderr
    assert not (tmp_path / "there").exists()


def test_everything_is_installed_by_hash():
    """But torch, and in the image NVIDIA's libraries and the extras that are not locked."""
    makefile = (ROOT / "Makefile").read_text()
    installs = re.findall(r"\$\(PIP\) (.*?)(?: && \\|; \}|$)", makefile, re.MULTILINE)
    others = [one for one in installs if not one.startswith("$(LOCKED)/")]
    assert others == [
        "--constraint constraints.txt torch",
        "--no-deps --no-build-isolation --editable .",
    ]
    assert "LOCKED := --no-deps --require-hashes --requirement locked" in makefile
