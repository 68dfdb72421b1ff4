"""Codes computed elsewhere -> version: what `efiss import` runs."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from hashing.codes import CODE_BYTES, FINE_BITS, FINE_BYTES
from hashing.model import find_model, read_sidecar
from machine.errors import Problem
from machine.files import sha256_of
from searcher.columns import Paths
from searcher.index import Index
from searcher.publish import Contents, publish
from searcher.version import Manifest

CODE_COLUMN = "code"
"""Of a parquet file: 8 bytes a row."""


class ImportingError(Problem):
    """Nothing was published; the message names the file and says what to do."""


@dataclasses.dataclass(frozen=True)
class ImportOrder:
    """What to import."""

    codes: Path
    """A .npy or .parquet file."""
    fine_codes: Path | None
    """A .npy file of the longer codes, or None when there are none."""
    database: Path
    """The list of paths, line i of row i."""
    version: str
    index_root: Path
    index_mode: str
    model_path: Path | None
    """The model that made the codes, or None when the index is to have none."""
    replace: bool
    """Whether a version of this number, unless it is live, may be replaced."""


def import_codes(order: ImportOrder) -> Manifest:
    """Publish the codes as a version; it is not made live.

    Raises ImportingError, ModelError, VersionError or OSError, with nothing published.
    """
    index = Index(order.index_root)
    index.check_new(order.version, order.replace)
    codes = read_codes(order.codes)
    paths = read_paths(order.database)
    if len(codes) != len(paths):
        raise ImportingError(
            f"{order.codes} holds {len(codes)} codes and {order.database} {len(paths)} paths; "
            "line i must be the picture of code i"
        )
    fine_codes = read_fine_codes(order.fine_codes) if order.fine_codes else None
    if fine_codes is not None and len(fine_codes) != len(codes):
        raise ImportingError(
            f"{order.fine_codes} holds {len(fine_codes)} longer codes and {order.codes} "
            f"{len(codes)} codes; row i of both must be of one picture"
        )
    model = find_model(order.model_path) if order.model_path else None
    sidecar = read_sidecar(model) if model else None
    contents = Contents(
        codes=codes,
        fine_codes=fine_codes,
        paths=paths,
        rejected=[],
        model=model,
        model_name=sidecar.name if sidecar else "",
        model_sha256=sidecar.sha256 if sidecar else "",
        catalogue={
            "database": str(order.database),
            "sha256": sha256_of(order.database),
            "lines": len(paths),
        },
        index_mode=order.index_mode,
    )
    with index.writing():
        return publish(index, order.version, contents, order.replace)


def read_codes(path: Path) -> np.ndarray:
    """Codes uint8 [n, 8]: a .npy file, memory-mapped, or the column `code` of a parquet file.
    Raises ImportingError."""
    try:
        codes = _read_parquet(path) if path.suffix == ".parquet" else _read_npy(path)
    except OSError as error:
        raise ImportingError(f"{path} cannot be read: {error.strerror or error}") from error
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES:
        raise ImportingError(
            f"{path} holds {codes.dtype} {list(codes.shape)}; codes are uint8 [n, {CODE_BYTES}], "
            "as numpy.packbits makes them of 64 bits a row"
        )
    if not len(codes):
        raise ImportingError(f"{path} holds no code")
    return codes


def read_fine_codes(path: Path) -> np.ndarray:
    """Longer codes uint8 [n, 32], a .npy file, memory-mapped.  Raises ImportingError."""
    try:
        fine_codes = _read_npy(path)
    except OSError as error:
        raise ImportingError(f"{path} cannot be read: {error.strerror or error}") from error
    if fine_codes.dtype != np.uint8 or fine_codes.shape[1:] != (FINE_BYTES,):
        raise ImportingError(
            f"{path} holds {fine_codes.dtype} {list(fine_codes.shape)}; longer codes are uint8 "
            f"[n, {FINE_BYTES}], as numpy.packbits makes them of {FINE_BITS} bits a row"
        )
    return fine_codes


def _read_npy(path: Path) -> np.ndarray:
    try:
        return open_memmap(path, mode="r")
    except ValueError as error:
        raise ImportingError(f"{path} is not a .npy file of codes: {error}") from error


def _read_parquet(path: Path) -> np.ndarray:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise ImportingError(
            f"{path} is read by pyarrow; run pip install 'efiss-ai[train]', or give a .npy file"
        ) from None
    try:
        column = pq.read_table(path, columns=[CODE_COLUMN]).column(CODE_COLUMN)
        column = column.cast(pa.binary(CODE_BYTES)).combine_chunks()
    except (pa.ArrowException, KeyError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ImportingError(
            f"{path} has no column `{CODE_COLUMN}` of {CODE_BYTES} bytes a row: {reason}"
        ) from error
    if column.null_count:
        raise ImportingError(f"{path} has rows without a code")
    data = np.frombuffer(column.buffers()[1], np.uint8)
    start = column.offset * CODE_BYTES
    return data[start : start + len(column) * CODE_BYTES].reshape(-1, CODE_BYTES)


def read_paths(path: Path) -> Paths:
    """The lines of a list, in their order, duplicates and all.

    A byte order mark is dropped and CRLF line ends are accepted; an empty line is refused, since it
    would be the path of a row.  Raises ImportingError.
    """
    try:
        text = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ImportingError(f"{path} cannot be read: {error.strerror or error}") from error
    if text[:3].tobytes() == b"\xef\xbb\xbf":
        text = text[3:]
    if len(text) and text[-1] != ord("\n"):
        text = np.append(text, np.uint8(ord("\n")))
    ends = np.flatnonzero(text == ord("\n"))
    _refuse(path, text, ends, text == 0, "a NUL byte, so it is binary or UTF-16; save it as UTF-8")
    is_end = np.zeros(len(text), bool)
    is_end[ends] = True
    before = ends[ends > 0] - 1
    is_end[before[text[before] == ord("\r")]] = True
    offsets = np.zeros(len(ends) + 1, np.uint64)
    offsets[1:] = np.cumsum(~is_end)[ends]
    if len(empty := np.flatnonzero(offsets[1:] == offsets[:-1])):
        raise ImportingError(f"{path}: line {empty[0] + 1} is empty; line i is the path of code i")
    return Paths(text[~is_end], offsets)


def _refuse(path: Path, text, ends, wrong, what: str) -> None:
    if wrong.any():
        line = int(np.searchsorted(ends, np.argmax(wrong))) + 1
        raise ImportingError(f"{path}: line {line} holds {what}")
