"""Codes computed elsewhere -> version: what `efiss import` runs."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from hashing.codes import CODE_BYTES, FINE_BITS, FINE_BYTES
from hashing.model import find_model, read_sidecar
from indexer.catalogue import Lines, Nul, shop_rule
from machine.errors import Problem
from searcher.index import Index
from searcher.paths import Paths
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
    shop_depth: int | None = None
    """The shop is the so manieth folder of a path; None: as the file beside the list says."""


def import_codes(order: ImportOrder) -> Manifest:
    """Publish the codes as a version; it is not made live.

    Raises ImportingError, ModelError, VersionError or OSError, with nothing published.
    """
    index = Index(order.index_root)
    index.check_new(order.version, order.replace)
    contents = _contents(order)
    with index.writing():
        return publish(index, order.version, contents, order.replace)


def _contents(order: ImportOrder) -> Contents:
    codes = read_codes(order.codes)
    lines = Lines(order.database)
    paths = read_paths(lines, order.index_root)
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
    return Contents(
        codes=codes,
        fine_codes=fine_codes,
        paths=paths,
        rejected=[],
        model=model,
        model_name=sidecar.name if sidecar else "",
        model_sha256=sidecar.sha256 if sidecar else "",
        catalogue={
            "database": str(order.database),
            "sha256": lines.sha256,
            "lines": len(paths),
            "shops": shop_rule(order.database, order.shop_depth).as_json(),
        },
        index_mode=order.index_mode,
    )


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


def read_paths(lines: Lines, folder: Path) -> Paths:
    """The lines of a list, in their order, duplicates and all, in files in `folder`.

    A byte order mark is dropped and CRLF line ends are accepted; an empty line is refused, since it
    would be the path of a row.  Raises ImportingError.
    """
    try:
        return Paths.written(folder, _filled(lines))
    except Nul as error:
        raise ImportingError(
            f"{lines.path}: line {error.line} holds a NUL byte, so it is binary or UTF-16; save it "
            "as UTF-8"
        ) from None


def _filled(lines: Lines) -> Iterator[list[bytes]]:
    try:
        for block in lines:
            if b"" in block:
                line = lines.count - len(block) + block.index(b"") + 1
                raise ImportingError(
                    f"{lines.path}: line {line} is empty; line i is the path of code i"
                )
            yield block
    except OSError as error:
        raise ImportingError(f"{lines.path} cannot be read: {error.strerror or error}") from error
