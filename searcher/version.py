"""One version of an index on disk: its files, its manifest, and whether it is as it was published.

    1.0.0/                      a version, never changed once it is there
        index.bin               FAISS binary index of the codes, row i = picture i
        tables.*.npy            of a large index: tables to look up codes in (`searcher.tables`)
        paths.* shops.* products.npy    what else is known of a row (`searcher.columns`)
        model.pt model.json     the model that made the codes, and its sidecar; an index imported
                                without a model has none
        rejected.csv            lines of the catalogue that are not in the index, and why
        manifest.json           counts, origin, and size and sha256 of every other file
        check.json              the judgement of the version (`searcher.report`), once there is one;
                                alone of all files it may be written anew

`searcher.publish` writes them; nothing else knows these names.
"""

import dataclasses
import datetime
import json
import re
from pathlib import Path
from typing import Any, get_origin

import faiss
from numpy.lib.format import open_memmap

from machine.errors import Problem
from machine.files import sha256_of_each
from searcher import columns
from searcher.columns import Columns
from searcher.nearest import Nearest
from searcher.shops import is_rule
from searcher.tables import Tables

NUMBER = r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}"
"""A version's number, MAJOR.MINOR.PATCH, as a regular expression."""

FAISS_INDEX, REJECTED = "index.bin", "rejected.csv"
MODEL, SIDECAR = "model.pt", "model.json"
STARTS, ROWS = "tables.starts.npy", "tables.rows.npy"
MANIFEST, REPORT = "manifest.json", "check.json"
_FILES = (
    FAISS_INDEX,
    REJECTED,
    columns.PATHS,
    columns.SHOPS,
    *(f"{name}.npy" for name in columns.ARRAYS),
)
"""Of every version; others have tables and a model as well."""


class VersionError(Problem):
    """A version, or the index folder, cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a version says of itself."""

    version: str
    rows: int
    """Pictures in the index."""
    rejected: int
    """Lines of the catalogue that were left out."""
    bits: int
    index_mode: str
    created: str
    """UTC, ISO 8601."""
    model: dict[str, str]
    """`name` and `sha256` of the model; empty without one."""
    search: dict[str, Any]
    """Of an approximate index `steps`, the last step of lookup, and `recall`, what that gave when
    it was built; else empty."""
    catalogue: dict[str, Any]
    """`database`, the path as given, `sha256` and `lines` of the list the index was built from;
    `left_out`, how many files that may be pictures the list does not have, where that is known;
    `shops`, the rule of `searcher.shops` that says what a shop is, empty or absent for the last
    folder."""
    files: dict[str, dict[str, Any]]
    """Name -> {"bytes", "sha256"} of every other file."""

    @property
    def size(self) -> int:
        """Bytes of all these files together."""
        return sum(file["bytes"] for file in self.files.values())


_FIELDS = dataclasses.fields(Manifest)


def now() -> str:
    """UTC, ISO 8601, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def is_number(text: str) -> bool:
    """Whether a text is a version's number."""
    return re.fullmatch(NUMBER, text) is not None


def parse(version: str) -> tuple[int, int, int]:
    """`MAJOR.MINOR.PATCH` as numbers, to check and to sort by.  Raises VersionError."""
    if not is_number(version):
        raise VersionError(
            f"{version!r} is not a version number; write MAJOR.MINOR.PATCH, for example 1.5.0"
        )
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the version in `folder`.  Raises VersionError."""
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if set(values) == {field.name for field in _FIELDS} - {"search"}:
            raise VersionError(
                f"{folder} was made by an older version of this program; index the catalogue again"
            )
        manifest = Manifest(**values)
    except FileNotFoundError:
        raise VersionError(f"{folder} is not a version of an index: it has no {MANIFEST}") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise VersionError(f"{path} cannot be read: {error}") from error
    if not _is_well_formed(manifest):
        raise VersionError(f"{path} is damaged: a field has a value of the wrong kind")
    return manifest


def _is_well_formed(manifest: Manifest) -> bool:
    def has(value: object, **kinds: Any) -> bool:
        return isinstance(value, dict) and all(
            isinstance(value.get(name), kind) for name, kind in kinds.items()
        )

    return (
        has(vars(manifest), **{one.name: get_origin(one.type) or one.type for one in _FIELDS})
        and (not manifest.model or has(manifest.model, name=str, sha256=str))
        and (not manifest.search or has(manifest.search, steps=int, recall=float))
        and is_rule(manifest.catalogue.get("shops", {}))
        and all(has(entry, bytes=int, sha256=str) for entry in manifest.files.values())
    )


def build_of(folder: Path) -> tuple[int, int]:
    """Tells builds of a version apart: one that was built anew under the same number lies in
    another folder.  Raises OSError."""
    status = folder.stat()
    return status.st_ino, status.st_mtime_ns


def model_of(folder: Path) -> Path | None:
    """The model that made the codes of the version in `folder` (.pt, its sidecar beside it), or
    None when it was published without one."""
    return folder / MODEL if (folder / MODEL).exists() else None


# -- checking ------------------------------------------------------------------------------------


def check_sizes(folder: Path, manifest: Manifest) -> list[str]:
    """Quick check: every file is there with the size the manifest says.  Returns the problems."""
    problems = []
    for name, wanted in manifest.files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != wanted["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes, not {wanted['bytes']}")
    return problems


def verify(folder: Path, number: str | None = None) -> list[str]:
    """Full check: sizes, every checksum, and that all columns have the manifest's number of rows.

    Returns the problems in words; none means that the version is as it was published.  number: of
    the version, where its folder has another name.
    """
    try:
        manifest = read_manifest(folder)
    except VersionError as error:
        return [str(error)]
    missing = {*_FILES, *([MODEL, SIDECAR] if manifest.model else [])} - set(manifest.files)
    problems = [f"the manifest does not name {name}" for name in sorted(missing)]
    if manifest.version != (number or folder.name):
        problems.append(f"the manifest is of version {manifest.version}")
    strangers = {path.name for path in folder.iterdir()} - set(manifest.files)
    strangers -= {MANIFEST, REPORT}
    problems += [f"{name} does not belong to the version" for name in sorted(strangers)]
    problems += check_sizes(folder, manifest)
    if problems:
        return problems
    sums = sha256_of_each(folder / name for name in manifest.files)
    problems = [
        f"{name} has another checksum than the manifest says"
        for (name, wanted), sha256 in zip(manifest.files.items(), sums, strict=True)
        if sha256 != wanted["sha256"]
    ]
    return problems or _check_contents(folder, manifest)


def _check_contents(folder: Path, manifest: Manifest) -> list[str]:
    try:
        _, own = open_index(folder, manifest)
    except VersionError as error:
        return [str(error)]
    try:
        shops = own.shops
        sidecar = json.loads((folder / SIDECAR).read_bytes()) if manifest.model else None
    except (OSError, TypeError, ValueError) as error:
        return [f"a file cannot be opened: {error}"]
    offsets = own.paths.offsets
    problems = []
    if len(shops) != len(own.rows_in):
        problems.append(f"{columns.SHOPS} does not fit shops.starts.npy")
    if (offsets[1:] < offsets[:-1]).any():
        problems.append("paths.offsets.npy is not in ascending order")
    if not manifest.model:
        return problems
    if manifest.files[MODEL]["sha256"] != manifest.model["sha256"]:
        problems.append(f"{MODEL} is not the model that the manifest names")
    if not isinstance(sidecar, dict) or sidecar.get("sha256") != manifest.model["sha256"]:
        problems.append(f"{SIDECAR} is not of the model that the manifest names")
    return problems


# -- opening -------------------------------------------------------------------------------------


def open_index(folder: Path, manifest: Manifest) -> tuple[Nearest, Columns]:
    """The codes of a version and its columns, memory-mapped: workers on one machine share their
    pages.  Raises VersionError when a file cannot be opened, or they do not have the manifest's
    number of rows."""
    lookup = None
    try:
        index = faiss.read_index_binary(str(folder / FAISS_INDEX), faiss.IO_FLAG_MMAP_IFC)
        if STARTS in manifest.files:
            lookup = Tables(*(open_memmap(folder / name, mode="r") for name in (STARTS, ROWS)))
        own = Columns(folder)
    except (OSError, RuntimeError, ValueError) as error:  # FAISS's and numpy's, of damaged files
        raise VersionError(f"{folder} cannot be opened: {error}") from error
    problems = []
    if index.ntotal != manifest.rows or index.d != manifest.bits:
        problems.append(
            f"{FAISS_INDEX} holds {index.ntotal} codes of {index.d} bits, "
            f"the manifest says {manifest.rows} of {manifest.bits}"
        )
    if lookup and not lookup.fit(manifest.rows):
        problems.append(f"{STARTS} and {ROWS} do not fit the index")
    problems += own.problems(manifest.rows)
    if problems:
        raise VersionError(f"{folder} is damaged: " + "; ".join(problems))
    return Nearest(index, lookup, manifest.search.get("steps")), own
