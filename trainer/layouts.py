"""Labelled pictures in files: which layouts there are, and how each is read.

The recipes name their sources, and `source_of` finds one for three plain layouts: a folder with a
folder of pictures for every class, a CSV file with a column `path` and columns of labels, and a
parquet file with a column of encoded pictures and columns of labels.
"""

import csv
import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hashing.formats import SUFFIXES
from trainer.data import DataError, Pictures, Source

PICTURE_COLUMNS = ("jpeg", "image", "picture", "bytes")
GROUP_COLUMNS = ("group", "dup_group")
"""Columns that `source_of` takes for the pictures and for the groups of copies, first found."""


def source_of(path: Path) -> Source:
    """The source that a plain layout is: a folder of class folders (label `class`), a CSV or a
    parquet file (a label for every column that is not the picture, its group or `id`).
    Raises DataError."""
    if path.is_dir():
        return Source(path.name or "pictures", "./", labels={"class": "class"})
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(
            f"{path} is neither a folder of class folders nor a .csv or .parquet file; "
            "give one of these by --data"
        )
    columns = _columns_of(path)
    pictures = ("path",) if path.suffix == ".csv" else PICTURE_COLUMNS
    found = [name for name in pictures if name in columns]
    if not found:
        raise DataError(
            f"{path} has no column {' or '.join(pictures)}; it has {', '.join(columns)}"
        )
    group = next((name for name in GROUP_COLUMNS if name in columns), "")
    labels = {name: name for name in columns if name not in (found[0], group, "id")}
    if not labels:
        raise DataError(f"{path} has no column of labels beside {found[0]}")
    return Source(path.stem, path.name, found[0], group, labels)


def read(data: Path, source: Source) -> Pictures:
    """The pictures of a source; `data` is the folder that its `files` are found in, or a file in
    that folder.  Raises DataError."""
    return _split_by_class(_read(data, source), source)


def _read(data: Path, source: Source) -> Pictures:
    folder = data if data.is_dir() else data.parent
    if source.files.endswith("/"):
        return _read_folders(folder / source.files, source)
    files = sorted(folder.glob(source.files))
    if not files:
        raise DataError(
            f"{folder} holds no {source.files}; give the folder of the training data by --data"
        )
    return (_read_csv if files[0].suffix == ".csv" else _read_parquet)(files, source)


def _split_by_class(pictures: Pictures, source: Source) -> Pictures:
    """The pictures with as many queries and training pictures of every class as the source says."""
    if count := source.queries_per_class:
        among = np.ones(len(pictures), bool)
        queries = _of_every_class(pictures, count, among, "queries_per_class")
        pictures = dataclasses.replace(pictures, queries=queries)
    if count := source.training_per_class:
        training = _of_every_class(pictures, count, ~pictures.held_out, "training_per_class")
        pictures = dataclasses.replace(pictures, training=training)
    return pictures


def _of_every_class(pictures: Pictures, count: int, among: np.ndarray, key: str) -> np.ndarray:
    """Groups of `count` pictures of every class of the first label, a str array.  They are the
    first in the order of the sha256 of their names, so that it is the same split everywhere.
    Raises DataError."""
    if not pictures.labels:
        raise DataError(f"{pictures.name} has no labels; {key} needs one")
    label, values = next(iter(pictures.labels.items()))
    order = np.argsort(
        [hashlib.sha256(group.encode()).hexdigest() for group in pictures.groups], kind="stable"
    )
    order = order[among[order]]
    chosen = []
    for value in np.unique(values[values != ""]):
        rows = order[values[order] == value][:count]
        if len(rows) < count:
            raise DataError(
                f"{pictures.name}: {key} is {count}, but only {len(rows)} picture(s) are left of "
                f"{label} {value}"
            )
        chosen.append(pictures.groups[rows])
    return np.concatenate(chosen)


def _read_folders(folder: Path, source: Source) -> Pictures:
    files = sorted(path for path in folder.glob("*/**/*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"{folder} has no folders of pictures in it, one folder for every class")
    names = [path.relative_to(folder).as_posix() for path in files]
    classes = [name.split("/", 1)[0] for name in names]
    (label,) = source.labels or {"class": ""}
    labels = {label: _renamed(source, label, classes)}
    return Pictures(source.name, labels, np.array(names), lambda row: files[row].read_bytes())


def _read_csv(files: list[Path], source: Source) -> Pictures:
    rows: list[dict[str, str]] = []
    folders: list[Path] = []
    for file in files:
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows += csv.DictReader(lines)
                folders += [file.parent] * (len(rows) - len(folders))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{files[0]} has no rows")

    def column(name: str) -> list[str]:
        if name not in rows[0]:
            there = ", ".join(key for key in rows[0] if key)
            raise DataError(f"{files[0]} has no column {name}; it has {there}")
        return [row[name] or "" for row in rows]

    paths = [at / path for at, path in zip(folders, column(source.picture), strict=True)]
    groups = column(source.group) if source.group else column(source.picture)
    return Pictures(
        source.name, _labels(source, column), np.array(groups), lambda row: paths[row].read_bytes()
    )


def _read_parquet(files: list[Path], source: Source) -> Pictures:
    pa, pq = _pyarrow()
    try:
        table = pa.concat_tables([pq.read_table(file) for file in files])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{files[0].name} or another of {source.files} cannot be read: {error}"
        ) from error

    def values(name: str) -> Any:
        if name not in table.column_names:
            raise DataError(
                f"{files[0].name} has no column {name}; it has {', '.join(table.column_names)}"
            )
        return table.column(name)

    def column(name: str) -> list[str]:
        return [str(value if value is not None else "") for value in values(name).to_pylist()]

    encoded = values(source.picture).combine_chunks()
    if not (pa.types.is_binary(encoded.type) or pa.types.is_large_binary(encoded.type)):
        raise DataError(
            f"{files[0].name}: the column {source.picture} must hold encoded pictures (binary), "
            f"not {encoded.type}"
        )
    groups = column(source.group) if source.group else [str(row) for row in range(len(table))]
    return Pictures(
        source.name,
        _labels(source, column),
        np.array(groups),
        lambda row: encoded[row].as_py() or b"",
    )


def _labels(source: Source, column: Callable[[str], list[str]]) -> dict[str, np.ndarray]:
    return {label: _renamed(source, label, column(name)) for label, name in source.labels.items()}


def _renamed(source: Source, label: str, values: list[str]) -> np.ndarray:
    names = source.rename.get(label, {})
    return np.array([names.get(value, value) for value in values], str)


def _columns_of(path: Path) -> list[str]:
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as lines:
                return next(csv.reader(lines), [])
        pa, pq = _pyarrow()
        return pq.read_schema(path).names
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{path} cannot be read: {error}") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "reading parquet needs pyarrow; run pip install 'efiss-ai[train]'"
        ) from None
    return pyarrow, pyarrow.parquet
