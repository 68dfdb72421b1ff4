"""Publishing: codes and paths become a version on disk, whole or not at all."""

import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from hashing.codes import CODE_BITS
from machine import arrays
from machine.files import sha256_of, sha256_of_each, sync_folder, write_synced, written_synced
from searcher import columns, tables
from searcher.index import OLD, STAGED, Index
from searcher.nearest import codes_of, steps_for_recall
from searcher.paths import Paths
from searcher.shops import rule_of
from searcher.version import (
    FAISS_INDEX,
    MANIFEST,
    MODEL,
    REJECTED,
    ROWS,
    SIDECAR,
    STARTS,
    Manifest,
    VersionError,
    now,
    open_index,
    read_manifest,
    verify,
)

DEFAULT, FAST = "default", "unnecessary fast"
INDEX_MODES = {DEFAULT: DEFAULT, FAST: FAST, "ivf": FAST}
"""What may be asked for -> the mode: exact or approximate search (`ivf` is the old name of it)."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What goes into a version."""

    codes: np.ndarray
    """uint8 [n, 8]; row i is the picture paths[i]."""
    paths: list[str] | Paths
    rejected: list[tuple[str, str]]
    """(path, reason) of the catalogue's lines left out."""
    model: Path | None
    """The .pt file that made the codes, its sidecar beside it; None: the version has none."""
    model_name: str
    """As the sidecar says; empty without a model."""
    model_sha256: str
    """As the sidecar says; empty without a model."""
    catalogue: dict[str, Any]
    """As in the manifest."""
    index_mode: str = DEFAULT
    """One of INDEX_MODES."""
    fine_codes: np.ndarray | None = None
    """The longer codes, uint8 [n, 32]; None where there are none."""

    digests: np.ndarray | None = None
    """The first 8 bytes of the SHA-256 of each picture's file, uint64 [n]; None where they were not
    read."""

    @property
    def path_bytes(self) -> Paths:
        """The paths as one run of bytes."""
        return self.paths if isinstance(self.paths, Paths) else Paths.of(self.paths)


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
            and rule_of(manifest.catalogue) == rule_of(contents.catalogue)
        )
        if not is_alike or verify(folder):
            return False
        index, own = open_index(folder, manifest)
    except (VersionError, OSError):
        return False
    paths = contents.path_bytes
    return (
        _same(own.paths.offsets, paths.offsets)
        and _same(own.paths.text, paths.text)
        and _same(index.codes, contents.codes)
        and _same(own.fine_codes, contents.fine_codes)
    )


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else arrays.same(one, other)


def publish(index: Index, version: str, contents: Contents, replace: bool = False) -> Manifest:
    """Write a version beside the others, verify it and rename it to its place.

    To be called inside `index.writing()`.  A kill at any moment leaves nothing half-made under the
    version's name; with `replace` the one before comes back.  Raises VersionError, OSError.
    """
    index.check_new(version, replace)
    if len(contents.codes) != len(contents.paths) or not len(contents.paths):
        raise VersionError(f"{len(contents.codes)} codes for {len(contents.paths)} paths")
    if contents.fine_codes is not None and len(contents.fine_codes) != len(contents.codes):
        raise VersionError(
            f"{len(contents.fine_codes)} longer codes for {len(contents.codes)} codes"
        )
    if len(contents.codes) > columns.MOST_ROWS:
        raise VersionError(
            f"{len(contents.codes)} rows are more than an index takes ({columns.MOST_ROWS}); split "
            "the catalogue"
        )
    staged = index.root / (STAGED + version)
    staged.mkdir()
    try:
        manifest = _write_version(staged, index, version, contents)
        if problems := verify(staged, version):
            raise VersionError(f"version {version} was not written well: " + "; ".join(problems))
        place = index.root / version
        with index.giving_up(version, "replaced; choose a new number"):  # as it may be by now
            if place.exists():
                os.rename(place, index.root / (OLD + version))
            os.rename(staged, place)
            sync_folder(index.root)
    finally:
        index.clear_up()
    return manifest


def _write_version(folder: Path, index: Index, version: str, contents: Contents) -> Manifest:
    _write_index(folder / FAISS_INDEX, contents.codes)
    search = _write_tables(folder, INDEX_MODES[contents.index_mode])
    shops = _write_columns(folder, contents)
    if contents.fine_codes is not None:
        _save(folder / columns.FINE_CODES, contents.fine_codes)
    if contents.digests is not None:
        _save(folder / columns.DIGESTS, contents.digests)
    write_synced(folder / columns.SHOPS, columns.shops_json(shops))
    if contents.model:
        _place_model(folder, contents.model, contents.model_sha256, index)
    write_synced(folder / REJECTED, rejected_csv(contents.rejected))

    paths = sorted(folder.iterdir())
    manifest = Manifest(
        version=version,
        rows=len(contents.codes),
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
            path.name: {"bytes": path.stat().st_size, "sha256": sha256}
            for path, sha256 in zip(paths, sha256_of_each(paths), strict=True)
        },
    )
    write_synced(
        folder / MANIFEST, (json.dumps(dataclasses.asdict(manifest), indent=2) + "\n").encode()
    )
    sync_folder(folder)
    return manifest


def _write_columns(folder: Path, contents: Contents) -> list[str]:
    """The names of the shops."""
    paths = contents.path_bytes
    with written_synced(folder / columns.PATHS) as file:
        _write(file, paths.text)
    built, shops = columns.build(paths, rule_of(contents.catalogue))
    for name, array in built.items():
        _save(folder / f"{name}.npy", array)
    return shops


def _write_index(path: Path, codes: np.ndarray) -> None:
    flat = faiss.IndexBinaryFlat(CODE_BITS)
    for piece in arrays.pieces(codes):
        flat.add(np.ascontiguousarray(piece))
    with written_synced(path) as file:
        faiss.write_index_binary(flat, faiss.PyCallbackIOWriter(file.write))


def _write_tables(folder: Path, mode: str) -> dict[str, Any]:
    """The tables of an index that is large enough for them; what the manifest says of search."""
    scanned = {"steps": 0, "recall": 1.0} if mode == FAST else {}
    index = faiss.read_index_binary(str(folder / FAISS_INDEX), faiss.IO_FLAG_MMAP_IFC)
    if index.ntotal < tables.FEWEST_ROWS:
        return scanned
    lookup = tables.build(codes_of(index))
    search: dict[str, Any] = {}
    if mode == FAST:
        found = steps_for_recall(index, lookup)
        if found is None:
            return scanned
        search = dict(zip(("steps", "recall"), found, strict=True))
    _save(folder / STARTS, lookup.starts)
    _save(folder / ROWS, lookup.rows)
    return search


def rejected_csv(rejected: Iterable[tuple[str, str]]) -> bytes:
    """A CSV of (path, reason)."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["path", "reason"])
    rows.writerows(rejected)
    return text.getvalue().encode(errors="surrogateescape")


def _place_model(folder: Path, model: Path, sha256: str, index: Index) -> None:
    """Copy the model into the version; link it where another version here has the same one."""
    for other in index.versions():
        # Copied below where there are no hard links, and where the other one's file is damaged.
        with contextlib.suppress(OSError):
            if sha256_of(index.root / other / MODEL) == sha256:
                os.link(index.root / other / MODEL, folder / MODEL)
                break
    if not (folder / MODEL).exists():
        write_synced(folder / MODEL, model.read_bytes())
    write_synced(folder / SIDECAR, model.with_suffix(".json").read_bytes())


def _save(path: Path, array: np.ndarray) -> None:
    """As numpy.save, which words a full disk as "n requested and m written"."""
    header = np.lib.format.header_data_from_array_1_0(array) | {"fortran_order": False}
    with written_synced(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        _write(file, array)


def _write(file: BinaryIO, array: np.ndarray) -> None:
    """The bytes of an array, row after row."""
    for piece in arrays.pieces(array):
        file.write(np.ascontiguousarray(piece).data)
