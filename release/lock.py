"""Write locked/: what is installed, file by file with its hash, for `pip install --require-hashes`.

    python release/lock.py

The versions are those of constraints.txt.  Run it after a change of that file or of pyproject.toml;
it asks the package index (PIP_INDEX_URL, or PyPI) for every file's hash and what it needs.

torch and what only its CUDA build needs are left out: PyTorch's own index has other builds of the
same version, and which one is installed is chosen where it is (docs/security.md).
"""

import dataclasses
import email.parser
import functools
import importlib.metadata
import json
import os
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "locked"
EXTRAS = ("admin", "heif", "java", "train", "milvus", "dev")
"""Beside what is always installed; others are as constraints.txt says, without hashes."""
UNLOCKED = "torch"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
JSON = "application/vnd.pypi.simple.v1+json"
PLACES = [
    {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system,
     "platform_system": name, "platform_machine": machine, "os_name": "posix",
     "implementation_name": "cpython", "platform_python_implementation": "CPython"}
    for python in ("3.11", "3.12", "3.13")
    for system, name, machine in (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"),
                                  ("darwin", "Darwin", "arm64"))
]  # fmt: skip
"""What may be needed in one of these is locked; it does no harm in the others."""


@dataclasses.dataclass(frozen=True)
class Release:
    """A version of a package."""

    needs: list[Requirement]
    hashes: list[str]
    """Of its files for CPython 3.11 or newer, not on Windows."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    roots = [*project["build-system"]["requires"], "wheel", *project["project"]["dependencies"]]
    base = closure(Requirement(text) for text in roots)
    _write("base", base)
    for extra in EXTRAS:
        mine = closure(Requirement(text) for text in needs_of_extra(project, extra))
        _write(extra, mine - base)


def needs_of_extra(project: dict, extra: str) -> list[str]:
    """An extra's requirements, those of other extras that it names among them."""
    needs: list[str] = []
    for text in project["project"]["optional-dependencies"][extra]:
        named = Requirement(text)
        if named.name == project["project"]["name"]:
            needs += [need for other in named.extras for need in needs_of_extra(project, other)]
        else:
            needs.append(text)
    return needs


def closure(roots: Iterator[Requirement]) -> set[str]:
    """The names of all that is needed, torch left out."""
    versions, found, open_ends = pinned(), set[tuple[str, frozenset[str]]](), list(roots)
    while open_ends:
        need = open_ends.pop()
        name = canonicalize_name(need.name)
        if name not in versions:
            raise SystemExit(f"{need} is needed and constraints.txt does not pin it")
        if not need.specifier.contains(versions[name]):
            raise SystemExit(f"{need} is needed and constraints.txt has {versions[name]}")
        if (name, frozenset(need.extras)) in found:
            continue
        found.add((name, frozenset(need.extras)))
        below = (one for one in release_of(name).needs if _applies(one, need.extras))
        if name == UNLOCKED:  # of the CUDA build alone
            below = (one for one in below if canonicalize_name(one.name) in versions)
        open_ends += below
    return {name for name, _ in found} - {UNLOCKED}


def _applies(need: Requirement, extras: set[str]) -> bool:
    marker = need.marker
    return marker is None or any(
        marker.evaluate({**place, "extra": extra}) for place in PLACES for extra in extras or {""}
    )


@functools.cache
def pinned() -> dict[str, str]:
    """The version of each package in constraints.txt, by its canonical name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


@functools.cache
def release_of(name: str) -> Release:
    """What the index says of the pinned version."""
    version = pinned()[name]
    files = [
        file
        for file in json.loads(_fetched(f"{INDEX}/{name}/", JSON))["files"]
        if _is_of(file["filename"], name, version)
    ]
    if not files:
        raise SystemExit(f"{INDEX} has no {name} {version}")
    return Release(_needs(name, files), sorted(file["hashes"]["sha256"] for file in files))


def _is_of(filename: str, name: str, version: str) -> bool:
    """Whether a file is of this version, and may be installed from CPython 3.11 on."""
    if not filename.endswith(".whl"):
        stem = filename.removesuffix(".tar.gz").removesuffix(".zip")
        return canonicalize_name(stem) == canonicalize_name(f"{name}-{version}")
    try:
        _, found, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:  # of before there were rules
        return False
    if str(found) != version:
        return False
    return any(
        not tag.platform.startswith("win")
        and (
            tag.interpreter.startswith("py")
            or tag.abi == "abi3"
            or tag.interpreter in ("cp311", "cp312", "cp313", "cp314")
        )
        for tag in tags
    )


def _needs(name: str, files: list[dict]) -> list[Requirement]:
    """What it needs: by the index, or where that does not say, by what is installed here."""
    told = [file for file in files if file.get("core-metadata")]
    if told:
        text = _fetched(told[0]["url"] + ".metadata", "*/*").decode()
        lines = email.parser.Parser().parsestr(text).get_all("Requires-Dist") or []
    elif _installed(name) == pinned()[name]:
        lines = importlib.metadata.requires(name) or []
    else:
        raise SystemExit(
            f"the index does not say what {name} needs; run: pip install {name}=={pinned()[name]}"
        )
    return [Requirement(line) for line in lines]


def _installed(name: str) -> str | None:
    """The version of a package here, without what a build adds (2.13.0+cpu)."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _fetched(url: str, kind: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": kind})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def _write(name: str, packages: set[str]) -> None:
    lines = ["# Made by release/lock.py; do not edit."]
    for package in sorted(packages):
        hashes = [f"    --hash=sha256:{digest}" for digest in release_of(package).hashes]
        lines.append(" \\\n".join([f"{package}=={pinned()[package]}", *hashes]))
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(f"locked/{name}.txt: {len(packages)} packages")


if __name__ == "__main__":
    main()
