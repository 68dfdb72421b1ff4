"""The versions of an index on disk: their layout, and how one is published, checked and made live.

    index/
        CURRENT                 the name of the live version
        1.0.0/                  one version, never changed once it is there
            index.bin           FAISS binary index of the codes, row i = picture i
            paths.bin           the pictures' paths, UTF-8, one after the other
            paths.offsets.npy   uint64 [rows + 1], where each path begins and the last ends
            model.pt model.json the model that made the codes, and its sidecar
            rejected.csv        lines of the catalogue that are not in the index, and why
            manifest.json       counts, origin, and size and sha256 of every other file
        .new-1.1.0/             a version being written; renamed when it is complete
        .old-1.1.0/             a version being replaced by one of the same number

Nothing outside this module reads or writes these names.
"""

import contextlib
import csv
import dataclasses
import datetime
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np

from hashing.codes import CODE_BITS

_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
_INDEX, _PATHS, _OFFSETS = "index.bin", "paths.bin", "paths.offsets.npy"
_MODEL, _SIDECAR, _REJECTED = "model.pt", "model.json", "rejected.csv"
_FILES = (_INDEX, _PATHS, _OFFSETS, _MODEL, _SIDECAR, _REJECTED)
_MANIFEST, _CURRENT, _LOCK = "manifest.json", "CURRENT", ".lock"
_NEW, _OLD = ".new-", ".old-"


class VersionError(ValueError):
    """A version, or the index folder, cannot be used as asked; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a version says of itself.

    rows: pictures in the index.  rejected: lines of the catalogue left out.  created: UTC, ISO
    8601.  model: name and sha256 of the model.  catalogue: path as given, sha256 and lines of the
    list the index was built from.  files: name -> {"bytes", "sha256"}.
    """

    version: str
    rows: int
    rejected: int
    bits: int
    index_mode: str
    created: str
    model: dict
    catalogue: dict
    files: dict


@dataclasses.dataclass(frozen=True)
class Contents:
    """What goes into a version.  Row i of codes (uint8 [n, 8]) is the picture paths[i].

    rejected: (path, reason) of the catalogue's lines left out.  model: the .pt file, its sidecar
    beside it; model_name and model_sha256 as the sidecar says.
    """

    codes: np.ndarray
    paths: list[str]
    rejected: list[tuple[str, str]]
    model: Path
    model_name: str
    model_sha256: str
    catalogue: dict
    index_mode: str = "default"


def parse(version: str) -> tuple[int, int, int]:
    """`MAJOR.MINOR.PATCH` as numbers, to check and to sort by.  Raises VersionError."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise VersionError(
            f"{version!r} is not a version number; write MAJOR.MINOR.PATCH, for example 1.5.0"
        )
    return tuple(int(number) for number in match.groups())


def versions(root: Path) -> list[str]:
    """The published versions in `root`, oldest number first; none if the folder is missing."""
    if not root.is_dir():
        return []
    found = [entry.name for entry in root.iterdir() if _VERSION.fullmatch(entry.name)]
    return sorted((name for name in found if (root / name / _MANIFEST).is_file()), key=parse)


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
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise VersionError(
            f"{folder} is not a version of an index: it has no {_MANIFEST}"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise VersionError(f"{path} cannot be read: {error}") from error
    if not _is_well_formed(manifest):
        raise VersionError(f"{path} is damaged: a field has a value of the wrong kind")
    return manifest


def _is_well_formed(manifest: Manifest) -> bool:
    def has(value, **kinds: type) -> bool:
        return isinstance(value, dict) and all(
            isinstance(value.get(name), kind) for name, kind in kinds.items()
        )

    fields = {field.name: field.type for field in dataclasses.fields(Manifest)}
    return (
        has(vars(manifest), **fields)
        and has(manifest.model, name=str, sha256=str)
        and all(has(entry, bytes=int, sha256=str) for entry in manifest.files.values())
    )


def model_of(folder: Path) -> Path:
    """The model that made the codes of the version in `folder` (.pt, its sidecar beside it)."""
    return folder / _MODEL


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


def activate(root: Path, version: str) -> str | None:
    """Verify a version completely, then make it the live one; returns the one live before.

    Raises VersionError, and leaves the live version as it is, when anything is wrong with it.
    """
    folder = existing(root, version)
    if problems := verify(folder):
        raise VersionError(f"version {version} is damaged and stays off: " + "; ".join(problems))
    before = live(root)
    staged = root / (_CURRENT + ".new")
    _write(staged, (version + "\n").encode())
    os.replace(staged, root / _CURRENT)
    _sync_folder(root)
    return before


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
    missing = set(_FILES) - set(manifest.files)
    problems = [f"the manifest does not name {name}" for name in sorted(missing)]
    if manifest.version != folder.name.removeprefix(_NEW):
        problems.append(f"the manifest is of version {manifest.version}")
    strangers = {path.name for path in folder.iterdir()} - set(manifest.files) - {_MANIFEST}
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
        index, (offsets, paths) = open_index(folder), open_paths(folder)
        sidecar = json.loads((folder / _SIDECAR).read_bytes())
    except (OSError, RuntimeError, ValueError) as error:
        return [f"a file cannot be opened: {error}"]
    problems = check_rows(manifest, index, offsets, paths)
    if not problems and (offsets[1:] < offsets[:-1]).any():
        problems.append(f"{_OFFSETS} is not in ascending order")
    if manifest.files[_MODEL]["sha256"] != manifest.model["sha256"]:
        problems.append(f"{_MODEL} is not the model that the manifest names")
    if not isinstance(sidecar, dict) or sidecar.get("sha256") != manifest.model["sha256"]:
        problems.append(f"{_SIDECAR} is not of the model that the manifest names")
    return problems


def check_rows(manifest: Manifest, index: faiss.IndexBinary, offsets, paths) -> list[str]:
    """Quick check: index and path table have the manifest's number of rows.  Returns the problems.

    offsets, paths: as `open_paths` returns them.
    """
    problems = []
    if index.ntotal != manifest.rows or index.d != manifest.bits:
        problems.append(
            f"{_INDEX} holds {index.ntotal} codes of {index.d} bits, "
            f"the manifest says {manifest.rows} of {manifest.bits}"
        )
    if len(offsets) != manifest.rows + 1:
        problems.append(f"{_OFFSETS} has {len(offsets) - 1} rows, the manifest {manifest.rows}")
    elif offsets[0] != 0 or offsets[-1] != len(paths):
        problems.append(f"{_OFFSETS} does not fit {_PATHS}")
    return problems


# -- opening -------------------------------------------------------------------------------------


def open_index(folder: Path) -> faiss.IndexBinary:
    """The FAISS index of a version, memory-mapped: workers on one machine share its pages."""
    return faiss.read_index_binary(str(folder / _INDEX), faiss.IO_FLAG_MMAP_IFC)


def codes_of(index: faiss.IndexBinaryFlat) -> np.ndarray:
    """The codes in an opened index, not copied: uint8 [rows, 8], valid while `index` lives."""
    codes = faiss.rev_swig_ptr(index.xb.data(), index.ntotal * index.code_size)
    codes = codes.reshape(index.ntotal, index.code_size)
    codes.flags.writeable = False  # the file is mapped for reading only
    return codes


def open_paths(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The path table, memory-mapped: offsets uint64 [rows + 1] and bytes uint8 [total]."""
    offsets = np.load(folder / _OFFSETS, mmap_mode="r")
    return offsets, np.memmap(folder / _PATHS, np.uint8, mode="r")


# -- publishing ----------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the lock of an index folder: one process at a time builds versions in it.

    The lock ends with the process however it ends; what a killed one left half-written is removed.
    Raises VersionError when another process holds it or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / _LOCK, "a+")  # noqa: SIM115 (closed by the `with` below)
    except OSError as error:
        raise VersionError(f"{root} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VersionError(
                f"another process is building a version in {root}; wait until it has ended"
            ) from None
        _clear_up(root)
        yield


def _clear_up(root: Path) -> None:
    """What a killed process left: half-written versions go, a version half-replaced comes back."""
    for stale in root.glob(_NEW + "*"):
        shutil.rmtree(stale)
    for old in root.glob(_OLD + "*"):
        place = root / old.name.removeprefix(_OLD)
        shutil.rmtree(old) if place.exists() else os.rename(old, place)


def check_new(root: Path, version: str, replace: bool = False) -> None:
    """Raise VersionError unless a version of this name can be published."""
    parse(version)
    if version == live(root):
        raise VersionError(f"version {version} is live and is not replaced; choose a new number")
    if (root / version).exists() and not replace:
        raise VersionError(
            f"version {version} exists in {root}; choose a new number or use --force"
        )


def publish(root: Path, version: str, contents: Contents, replace: bool = False) -> Manifest:
    """Write a version beside the others, verify it and rename it to its place.

    To be called inside `writing(root)`.  A kill at any moment leaves nothing half-made under the
    version's name; with `replace` the one before comes back.  Raises VersionError, OSError.
    """
    check_new(root, version, replace)
    if len(contents.codes) != len(contents.paths) or not contents.paths:
        raise VersionError(f"{len(contents.codes)} codes for {len(contents.paths)} paths")
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


def _write_version(folder: Path, root: Path, version: str, contents: Contents) -> Manifest:
    index = faiss.IndexBinaryFlat(CODE_BITS)
    index.add(np.ascontiguousarray(contents.codes))
    _write(folder / _INDEX, faiss.serialize_index_binary(index))

    encoded = [os.fsencode(path) for path in contents.paths]
    offsets = np.zeros(len(encoded) + 1, np.uint64)
    np.cumsum([len(path) for path in encoded], out=offsets[1:])
    _write(folder / _PATHS, b"".join(encoded))
    table = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
    np.save(table, offsets)
    _write(folder / _OFFSETS, table.getbuffer())

    _place_model(folder, root, contents)
    write_rejected(folder / _REJECTED, contents.rejected)

    manifest = Manifest(
        version=version,
        rows=len(contents.paths),
        rejected=len(contents.rejected),
        bits=CODE_BITS,
        index_mode=contents.index_mode,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model={"name": contents.model_name, "sha256": contents.model_sha256},
        catalogue=contents.catalogue,
        files={
            name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
            for name in _FILES
        },
    )
    _write(folder / _MANIFEST, (json.dumps(dataclasses.asdict(manifest), indent=2) + "\n").encode())
    _sync_folder(folder)
    return manifest


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
