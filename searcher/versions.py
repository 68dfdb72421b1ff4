"""The versions of an index on disk: their layout, and how one is published, checked and made live.

    index/
        CURRENT                 the name of the live version
        .before                 the versions that were live before it, the last one last
        .reindexed              empty; its time is that of the last reindex that succeeded
        1.0.0/                  one version, never changed once it is there
            index.bin           FAISS binary index of the codes, row i = picture i
            tables.*.npy        of a large index: tables to look up codes in (`searcher.tables`)
            paths.* shops.* products.npy    what else is known of a row (`searcher.columns`)
            model.pt model.json the model that made the codes, and its sidecar; an index imported
                                without a model has none
            rejected.csv        lines of the catalogue that are not in the index, and why
            manifest.json       counts, origin, and size and sha256 of every other file
            check.json          the judgement of the version (`indexer.judge`), once there is one;
                                alone of all files it may be written anew
        .new-1.1.0/             a version being written; renamed when it is complete
        .old-1.1.0/             a version being replaced by one of the same number
        .gone-1.1.0/            a version being removed

Nothing outside this module reads or writes these names.
"""

import contextlib
import csv
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.lib.format import open_memmap

from hashing.codes import CODE_BITS, CODE_BYTES
from machine.errors import Problem
from searcher import columns, tables
from searcher.columns import Columns, Paths
from searcher.nearest import Nearest, steps_for_recall
from searcher.tables import Tables

_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
_INDEX, _REJECTED = "index.bin", "rejected.csv"
_MODEL, _SIDECAR = "model.pt", "model.json"
_STARTS, _ROWS = "tables.starts.npy", "tables.rows.npy"
_FILES = (
    _INDEX,
    _REJECTED,
    columns.PATHS,
    columns.SHOPS,
    *(f"{name}.npy" for name in columns.ARRAYS),
)
"""Of every version; others have tables and a model as well."""

DEFAULT, FAST = "default", "unnecessary fast"
INDEX_MODES = {DEFAULT: DEFAULT, FAST: FAST, "ivf": FAST}
"""What may be asked for -> the mode: exact or approximate search (`ivf` is the old name of it)."""
_MANIFEST, _REPORT = "manifest.json", "check.json"
_CURRENT, _BEFORE, _REINDEXED, _LOCK = "CURRENT", ".before", ".reindexed", ".lock"
_NEW, _OLD, _GONE = ".new-", ".old-", ".gone-"
MOST_BEFORE = 100
"""Versions on the way back that are kept in mind."""


class VersionError(Problem):
    """A version, or the index folder, cannot be used as asked; the message says what to do."""


class Locked(VersionError):
    """Another process holds the lock; the message says what it does."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a version says of itself.

    rows: pictures in the index.  rejected: lines of the catalogue left out.  created: UTC, ISO
    8601.  model: name and sha256 of the model; empty without one.  search: of an approximate index
    `steps`, the last step of lookup, and `recall`, what that gave when it was built; else empty.
    catalogue: path as given, sha256 and lines of the list the index was built from.  files: name ->
    {"bytes", "sha256"}.
    """

    version: str
    rows: int
    rejected: int
    bits: int
    index_mode: str
    created: str
    model: dict
    search: dict
    catalogue: dict
    files: dict


_FIELDS = dataclasses.fields(Manifest)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What goes into a version.  Row i of codes (uint8 [n, 8]) is the picture paths[i].

    rejected: (path, reason) of the catalogue's lines left out.  model: the .pt file, its sidecar
    beside it, or None; model_name and model_sha256 as the sidecar says.  index_mode: one of
    INDEX_MODES.
    """

    codes: np.ndarray
    paths: list[str] | Paths
    rejected: list[tuple[str, str]]
    model: Path | None
    model_name: str
    model_sha256: str
    catalogue: dict
    index_mode: str = DEFAULT


def now() -> str:
    """UTC, ISO 8601, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def parse(version: str) -> tuple[int, int, int]:
    """`MAJOR.MINOR.PATCH` as numbers, to check and to sort by.  Raises VersionError."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise VersionError(
            f"{version!r} is not a version number; write MAJOR.MINOR.PATCH, for example 1.5.0"
        )
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


def versions(root: Path) -> list[str]:
    """The published versions in `root`, oldest number first; none if the folder is missing."""
    if not root.is_dir():
        return []
    found = [entry.name for entry in root.iterdir() if _VERSION.fullmatch(entry.name)]
    return sorted((name for name in found if (root / name / _MANIFEST).is_file()), key=parse)


def next_minor(root: Path) -> str:
    """The number for the next version: of the newest one the next minor, 1.0.0 when there is none.
    Raises VersionError when there is no next."""
    if not (names := versions(root)):
        return "1.0.0"
    major, minor, _ = parse(names[-1])
    name = f"{major}.{minor + 1}.0"
    parse(name)
    return name


def existing(root: Path, version: str) -> Path:
    """The folder of a published version.  Raises VersionError that names those that exist."""
    parse(version)
    if version in versions(root):
        return root / version
    others = ", ".join(versions(root)) or "none"
    raise VersionError(f"there is no version {version} in {root}; those that exist: {others}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the version in `folder`.  Raises VersionError."""
    path = folder / _MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        is_older = set(values) == {field.name for field in _FIELDS} - {"search"}
        manifest = None if is_older else Manifest(**values)
    except FileNotFoundError:
        raise VersionError(
            f"{folder} is not a version of an index: it has no {_MANIFEST}"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise VersionError(f"{path} cannot be read: {error}") from error
    if is_older:
        raise VersionError(
            f"{folder} was made by an older version of this program; index the catalogue again"
        )
    if not _is_well_formed(manifest):
        raise VersionError(f"{path} is damaged: a field has a value of the wrong kind")
    return manifest


def _is_well_formed(manifest: Manifest) -> bool:
    def has(value, **kinds: Any) -> bool:
        return isinstance(value, dict) and all(
            isinstance(value.get(name), kind) for name, kind in kinds.items()
        )

    return (
        has(vars(manifest), **{field.name: field.type for field in _FIELDS})
        and (not manifest.model or has(manifest.model, name=str, sha256=str))
        and (not manifest.search or has(manifest.search, steps=int, recall=float))
        and all(has(entry, bytes=int, sha256=str) for entry in manifest.files.values())
    )


def model_of(folder: Path) -> Path | None:
    """The model that made the codes of the version in `folder` (.pt, its sidecar beside it), or
    None when it was published without one."""
    return folder / _MODEL if (folder / _MODEL).exists() else None


def read_report(folder: Path) -> dict | None:
    """The judgement stored in a version, None when it has none.  Raises VersionError."""
    path = folder / _REPORT
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise VersionError(
            f"{path} cannot be read ({error}); run `efiss check {folder.name}` again"
        ) from error


def write_report(root: Path, version: str, report: dict) -> None:
    """Store the judgement of a version in it.  Raises VersionError, OSError."""
    folder = existing(root, version)
    staged = root / f".{version}.{_REPORT}"  # beside it: what a kill leaves is no part of a version
    _write(staged, (json.dumps(report, indent=2) + "\n").encode())
    os.replace(staged, folder / _REPORT)
    _sync_folder(folder)


# -- live version --------------------------------------------------------------------------------


def live(root: Path) -> str | None:
    """The version that CURRENT names, or None when none was activated yet."""
    return activated[0] if (activated := activation(root)) else None


def activation(root: Path) -> tuple[str, int] | None:
    """The live version and when it was activated (ns), to notice when it is activated again."""
    try:
        with open(root / _CURRENT, encoding="utf-8", errors="replace") as file:
            version, when = file.read().strip(), os.fstat(file.fileno()).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (version, when) if version else None


def before(root: Path) -> list[str]:
    """The versions that were live before the live one and are still there, the last one last."""
    names, now_live, there = _read_before(root), live(root), set(versions(root))
    # A process that was killed while it activated may have left the live version at the end.
    while names and names[-1] == now_live:
        names.pop()
    return [name for name in names if name in there]


def activate(root: Path, version: str, way_back: list[str] | None = None) -> str | None:
    """Verify a version completely, then make it the live one; returns the one live before.

    way_back: what `before` says from then on; by default what it says now and the version that was
    live until now.  Raises VersionError, and leaves the live version as it is, when anything is
    wrong with it.
    """
    folder = existing(root, version)
    if problems := verify(folder):
        raise VersionError(f"version {version} is damaged and stays off: " + "; ".join(problems))
    was_live = live(root)
    if way_back is None:
        way_back = before(root)
        if was_live not in (None, version):
            way_back = [*way_back, was_live]
    make_live(root, version, way_back)
    return was_live


def make_live(root: Path, version: str | None, way_back: list[str]) -> None:
    """Write CURRENT and the way back, without a look at the version; None: no version is live."""
    way_back = way_back[-MOST_BEFORE:]
    files = [(_BEFORE, way_back), (_CURRENT, [version] if version else [])]
    # Killed between the two, the way back may hold a version too many, but never lacks one.
    for name, lines in files if len(way_back) >= len(_read_before(root)) else reversed(files):
        if lines:
            staged = root / f"{name}.new"
            _write(staged, "".join(f"{line}\n" for line in lines).encode())
            os.replace(staged, root / name)
        else:
            (root / name).unlink(missing_ok=True)
        _sync_folder(root)


def _read_before(root: Path) -> list[str]:
    try:
        return (root / _BEFORE).read_text(encoding="utf-8", errors="replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def reindexing(root: Path) -> Iterator[None]:
    """Hold the lock under which one process at a time goes the whole way from a catalogue to a
    live version.  Raises VersionError when another holds it or the folder cannot be written."""
    with _locked(root, ".reindexing", f"another reindex of {root} runs; wait until it has ended"):
        yield


def is_reindexing(root: Path) -> bool:
    """Whether a process holds that lock.  Raises VersionError when the folder cannot be written."""
    try:
        with _locked(root, ".reindexing", ""):
            return False
    except Locked:
        return True


def note_reindexed(root: Path) -> None:
    """Remember that the catalogue as it is now was found to be live.  What is live stays so where
    the disk is too full to note it."""
    with contextlib.suppress(OSError):
        (root / _REINDEXED).touch()


def reindexed(root: Path) -> float | None:
    """When that was last, Unix time; None before the first time."""
    try:
        return (root / _REINDEXED).stat().st_mtime
    except OSError:
        return None


@contextlib.contextmanager
def switching(root: Path) -> Iterator[None]:
    """Hold the lock under which one process at a time changes the live version.

    Raises VersionError when another process holds it or the folder cannot be written.
    """
    with _locked(
        root, ".switching", f"another process is changing the live version of {root}; wait for it"
    ):
        yield


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


def verify(folder: Path) -> list[str]:
    """Full check: sizes, every checksum, and that all columns have the manifest's number of rows.

    Returns the problems in words; none means that the version is as it was published.
    """
    try:
        manifest = read_manifest(folder)
    except VersionError as error:
        return [str(error)]
    missing = {*_FILES, *([_MODEL, _SIDECAR] if manifest.model else [])} - set(manifest.files)
    problems = [f"the manifest does not name {name}" for name in sorted(missing)]
    if manifest.version != folder.name.removeprefix(_NEW):
        problems.append(f"the manifest is of version {manifest.version}")
    strangers = {path.name for path in folder.iterdir()} - set(manifest.files)
    strangers -= {_MANIFEST, _REPORT}
    problems += [f"{name} does not belong to the version" for name in sorted(strangers)]
    problems += check_sizes(folder, manifest)
    if problems:
        return problems
    problems = [
        f"{name} has another checksum than the manifest says"
        for name, wanted in manifest.files.items()
        if _sha256(folder / name) != wanted["sha256"]
    ]
    return problems or _check_contents(folder, manifest)


def _check_contents(folder: Path, manifest: Manifest) -> list[str]:
    try:
        index, own = open_index(folder, manifest)
        offsets, shops = own.paths.offsets, own.shops
        sidecar = json.loads((folder / _SIDECAR).read_bytes()) if manifest.model else None
    except VersionError as error:
        return [str(error)]
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return [f"a file cannot be opened: {error}"]
    problems = []
    if len(shops) != len(own.rows_in):
        problems.append(f"{columns.SHOPS} does not fit shops.starts.npy")
    if (offsets[1:] < offsets[:-1]).any():
        problems.append("paths.offsets.npy is not in ascending order")
    if not manifest.model:
        return problems
    if manifest.files[_MODEL]["sha256"] != manifest.model["sha256"]:
        problems.append(f"{_MODEL} is not the model that the manifest names")
    if not isinstance(sidecar, dict) or sidecar.get("sha256") != manifest.model["sha256"]:
        problems.append(f"{_SIDECAR} is not of the model that the manifest names")
    return problems


# -- opening -------------------------------------------------------------------------------------


def open_index(folder: Path, manifest: Manifest) -> tuple[Nearest, Columns]:
    """The codes of a version and its columns, memory-mapped: workers on one machine share their
    pages.  Raises VersionError when they do not have the manifest's number of rows; OSError,
    RuntimeError or ValueError when a file cannot be opened."""
    index = faiss.read_index_binary(str(folder / _INDEX), faiss.IO_FLAG_MMAP_IFC)
    problems = []
    if index.ntotal != manifest.rows or index.d != manifest.bits:
        problems.append(
            f"{_INDEX} holds {index.ntotal} codes of {index.d} bits, "
            f"the manifest says {manifest.rows} of {manifest.bits}"
        )
    lookup = None
    if _STARTS in manifest.files:
        lookup = Tables(*(open_memmap(folder / name, mode="r") for name in (_STARTS, _ROWS)))
        if not lookup.fits or len(lookup.rows) != tables.TABLES * manifest.rows:
            problems.append(f"{_STARTS} and {_ROWS} do not fit the index")
    own = Columns(folder)
    problems += own.problems(manifest.rows)
    if problems:
        raise VersionError(f"{folder} is damaged: " + "; ".join(problems))
    return Nearest(index, lookup, manifest.search.get("steps")), own


# -- publishing ----------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the lock of an index folder: one process at a time builds versions in it.

    The lock ends with the process however it ends; what a killed one left half-written is removed.
    Raises VersionError when another process holds it or the folder cannot be written.
    """
    with _locked(
        root, _LOCK, f"another process is building a version in {root}; wait until it has ended"
    ):
        _clear_up(root)
        yield


@contextlib.contextmanager
def _locked(root: Path, name: str, held: str) -> Iterator[None]:
    """held: what to say when another process holds the lock."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / name, "a+")  # noqa: SIM115 (closed by the `with` below)
    except OSError as error:
        raise VersionError(f"{root} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(held) from None
        yield


def _clear_up(root: Path) -> None:
    """What a killed process left: half-written versions go, a version half-replaced comes back."""
    for stale in (*root.glob(_NEW + "*"), *root.glob(_GONE + "*")):
        shutil.rmtree(stale)
    for old in root.glob(_OLD + "*"):
        place = root / old.name.removeprefix(_OLD)
        shutil.rmtree(old) if place.exists() else os.rename(old, place)


def holds(folder: Path, contents: Contents) -> bool:
    """Whether the version in `folder` would not differ from one of these contents but by its number
    and by which lines were rejected, and why.  A damaged one holds nothing."""
    try:
        manifest = read_manifest(folder)
        is_alike = (
            manifest.rows == len(contents.paths)
            and manifest.rejected == len(contents.rejected)
            and manifest.index_mode == INDEX_MODES[contents.index_mode]
            and manifest.model.get("sha256", "") == contents.model_sha256
        )
        if not is_alike or verify(folder):
            return False
        index, own = open_index(folder, manifest)
    except (VersionError, OSError, RuntimeError, ValueError):
        return False
    paths = contents.paths if isinstance(contents.paths, Paths) else Paths.of(contents.paths)
    return (
        np.array_equal(own.paths.offsets, paths.offsets)
        and np.array_equal(own.paths.text, paths.text)
        and np.array_equal(index.codes, contents.codes)
    )


def check_new(root: Path, version: str, replace: bool = False) -> None:
    """Raise VersionError unless a version of this name can be published."""
    parse(version)
    if version == live(root):
        raise VersionError(f"version {version} is live and is not replaced; choose a new number")
    if (root / version).exists() and not replace:
        raise VersionError(
            f"version {version} exists in {root}; choose a new number, or have it replaced by "
            "`efiss index --force`"
        )


def publish(root: Path, version: str, contents: Contents, replace: bool = False) -> Manifest:
    """Write a version beside the others, verify it and rename it to its place.

    To be called inside `writing(root)`.  A kill at any moment leaves nothing half-made under the
    version's name; with `replace` the one before comes back.  Raises VersionError, OSError.
    """
    check_new(root, version, replace)
    if len(contents.codes) != len(contents.paths) or not len(contents.paths):
        raise VersionError(f"{len(contents.codes)} codes for {len(contents.paths)} paths")
    if len(contents.codes) > columns.MOST_ROWS:
        raise VersionError(
            f"{len(contents.codes)} rows are more than an index takes ({columns.MOST_ROWS}); split "
            "the catalogue"
        )
    staged = root / (_NEW + version)
    staged.mkdir()
    try:
        manifest = _write_version(staged, root, version, contents)
        if problems := verify(staged):
            raise VersionError(f"version {version} was not written well: " + "; ".join(problems))
        check_new(root, version, replace)  # it may have been activated meanwhile
        if (root / version).exists():
            os.rename(root / version, root / (_OLD + version))
        os.rename(staged, root / version)
        _sync_folder(root)
    finally:
        _clear_up(root)
    return manifest


def remove(root: Path, version: str) -> None:
    """Remove a version that is not live; to be called inside `writing(root)`.  A kill at any moment
    leaves it whole or gone.  Raises VersionError, OSError."""
    folder = existing(root, version)
    if version == live(root):
        raise VersionError(f"version {version} is live and is not removed")
    os.rename(folder, root / (_GONE + version))
    _sync_folder(root)
    _clear_up(root)


def _write_version(folder: Path, root: Path, version: str, contents: Contents) -> Manifest:
    codes = np.ascontiguousarray(contents.codes)
    index = faiss.IndexBinaryFlat(CODE_BITS)
    index.add(codes)
    _write(folder / _INDEX, faiss.serialize_index_binary(index))
    search = _write_tables(folder, index, INDEX_MODES[contents.index_mode])
    paths = contents.paths if isinstance(contents.paths, Paths) else Paths.of(contents.paths)
    _write(folder / columns.PATHS, paths.text)
    arrays, shops = columns.build(paths)
    for name, array in arrays.items():
        _save(folder / f"{name}.npy", array)
    _write(folder / columns.SHOPS, columns.shops_json(shops))
    if contents.model:
        _place_model(folder, root, contents)
    write_rejected(folder / _REJECTED, contents.rejected)

    manifest = Manifest(
        version=version,
        rows=len(codes),
        rejected=len(contents.rejected),
        bits=CODE_BITS,
        index_mode=INDEX_MODES[contents.index_mode],
        created=now(),
        model={"name": contents.model_name, "sha256": contents.model_sha256}
        if contents.model
        else {},
        search=search,
        catalogue=contents.catalogue,
        files={
            path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(folder.iterdir())
        },
    )
    _write(folder / _MANIFEST, (json.dumps(dataclasses.asdict(manifest), indent=2) + "\n").encode())
    _sync_folder(folder)
    return manifest


def _write_tables(folder: Path, index: faiss.IndexBinaryFlat, mode: str) -> dict:
    """The tables of an index that is large enough for them; what the manifest says of search."""
    scanned = {"steps": 0, "recall": 1.0} if mode == FAST else {}
    if index.ntotal < tables.FEWEST_ROWS:
        return scanned
    lookup = tables.build(faiss.vector_to_array(index.xb).reshape(-1, CODE_BYTES))
    search = {}
    if mode == FAST:
        found = steps_for_recall(index, lookup)
        if found is None:
            return scanned
        search = dict(zip(("steps", "recall"), found, strict=True))
    _save(folder / _STARTS, lookup.starts)
    _save(folder / _ROWS, lookup.rows)
    return search


def write_rejected(path: Path, rejected: Iterable[tuple[str, str]]) -> None:
    """A CSV of (path, reason)."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "reason"])
        rows.writerows(rejected)
        _sync(file)


def _place_model(folder: Path, root: Path, contents: Contents) -> None:
    """Copy the model into the version; link it where another version here has the same one."""
    for other in versions(root):
        # Copied below where there are no hard links, and where the other one's file is damaged.
        with contextlib.suppress(OSError):
            if _sha256(root / other / _MODEL) == contents.model_sha256:
                os.link(root / other / _MODEL, folder / _MODEL)
                break
    if not (folder / _MODEL).exists():
        _write(folder / _MODEL, contents.model.read_bytes())
    _write(folder / _SIDECAR, contents.model.with_suffix(".json").read_bytes())


def _save(path: Path, array: np.ndarray) -> None:
    """As numpy.save, which words a full disk as "n requested and m written"."""
    header = np.lib.format.header_data_from_array_1_0(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(array).data)
        _sync(file)


def _write(path: Path, data) -> None:
    with open(path, "wb") as file:
        file.write(data)
        _sync(file)


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
