"""Catalogue -> codes -> version: what `efiss index` and `efiss reindex` run."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hashing import remote
from hashing.codes import split
from hashing.files import Hashed, hash_files
from hashing.model import Model, find_model
from hashing.picture import limits
from indexer.catalogue import Catalogue, read_catalogue, shop_rule
from indexer.known_codes import KnownCodes
from machine.arrays import kept_rows, mapped, scratch
from machine.errors import Problem
from machine.files import write_whole
from searcher.index import Index
from searcher.paths import Paths, Texts
from searcher.publish import Contents, holds, publish, rejected_csv
from searcher.version import Manifest, read_manifest

LOOKED_UP_AT_ONCE = 1 << 21
"""Rows: all that is known is read once for so many."""


class IndexingError(Problem):
    """Nothing was published; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to index."""

    database: Path
    """The list of image paths."""
    model_path: Path
    device: str
    """cpu or cuda:N."""
    version: str | None
    """Its number; None for the next minor, and then nothing is published when the live version, or
    the newest, holds just this."""
    index_root: Path
    workers: int
    """Threads, or CPUs of a Ray cluster that is started here."""
    batch_size: int
    max_pixels: int
    """Of a picture; a larger one is rejected."""
    index_mode: str = "default"
    image_size: int | None = None
    """The model's own, or None; anything else is refused."""
    max_rejected: float = 0.05
    """The share (0-1) of pictures that may fail; more, and nothing is published."""
    replace: bool = False
    """Whether a version of this number, unless it is live, may be replaced."""
    resume: bool = False
    """Whether a version of this number that holds just this is taken as it is, since an earlier run
    may have built it."""
    shop_depth: int | None = None
    """The shop is the so manieth folder of a path; None: as the file beside the list says."""
    trust_content: bool = False
    """Read every file and go by its content, whatever its size and time say."""
    engine: str = "threads"
    """threads or ray."""
    ray_address: str | None = None
    """Of a Ray cluster that runs; None starts one here."""

    @property
    def index(self) -> Index:
        return Index(self.index_root)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done.  Every picture of the version was computed, unchanged, known by content or a
    duplicate."""

    manifest: Manifest
    """Of the version that was published or, is_new being False, of the one that was there and holds
    the same."""
    is_new: bool
    rejected: list[tuple[str, str]]
    """Paths with the reasons why they are left out."""
    computed: int
    """Pictures hashed now."""
    unchanged: int
    """Known by path, size and time of an earlier run."""
    by_content: int
    """Read, and the content was known from earlier runs."""
    duplicates: int
    """Read, and the content is that of another one hashed now."""
    repeated_lines: int
    """Lines of the list that were there before."""


Engine = Callable[..., Iterator[Hashed]]
"""Hashes the files without a known code: engine(paths, model, known=…), answers as `hash_files`."""

Progress = Callable[[int, int], None]
"""Called as progress(done, total), in pictures, as they are done."""


def index_catalogue(order: Order, progress: Progress = lambda done, total: None) -> Summary:
    """Hash the catalogue's pictures and publish them as a version; it is not made live.

    Raises CatalogueError, ModelError, VersionError, IndexingError or an engine's Problem, with
    nothing published.  Codes computed until then are kept, and used by the next run.
    """
    try:
        return _index(order, progress)
    except OSError as error:
        error.add_note("nothing was published, finished work is kept")
        raise


def _index(order: Order, progress: Progress) -> Summary:
    _check_number(order)
    catalogue = read_catalogue(order.database, order.index_root)
    remote.check(map(os.fsdecode, catalogue.paths.with_byte(b":")))
    engine = _engine(order)
    # Of a cluster's GPUs this machine need not have one.
    device = "cpu" if order.engine == "ray" else order.device
    model = Model.load(order.model_path, device, order.workers)
    _check_image_size(order, model)
    with order.index.writing():
        # Again, before the work: what a killed --force left half-replaced has come back by now.
        _check_number(order)
        version, alike = _number(order)
        known = KnownCodes(
            order.index_root,
            _model_key(model, order),
            model.sidecar.outputs // 8,
            limits(order.max_pixels),
        )
        progress(0, len(catalogue.paths))
        with scratch(order.index_root) as codes:
            rows = _known_rows(catalogue.paths, known, codes, order)
            hash_rest = functools.partial(engine, model=model, known=known.code_of)
            _hash_the_rest(rows, hash_rest, known, progress)
            return _publish(catalogue, rows, model, order, version, alike)


def _check_number(order: Order) -> None:
    is_there = order.version in order.index.versions()
    if order.version is not None and not (order.resume and is_there):
        order.index.check_new(order.version, order.replace)


def _number(order: Order) -> tuple[str, list[str]]:
    """The number of the version, and the versions that are taken instead should they hold the
    same."""
    if order.version is not None:
        return order.version, [order.version] if order.resume else []
    newest = order.index.versions()[-1:]
    alike = [name for name in (order.index.live(), *newest) if name]
    return order.index.next_minor(), alike


def _engine(order: Order) -> Engine:
    options: dict[str, Any] = {
        "workers": order.workers,
        "batch_size": order.batch_size,
        "max_pixels": order.max_pixels,
    }
    if order.engine == "threads":
        return functools.partial(hash_files, **options)
    try:
        from indexer import ray_engine  # an extra
    except ImportError as error:
        raise IndexingError(
            f"--engine ray needs a package that is not installed ({error}): "
            "pip install 'efiss-ai[ray]'"
        ) from error
    ray_engine.check_device(order.device)
    return functools.partial(
        ray_engine.hash_files,
        model_path=order.model_path,
        device=order.device,
        address=order.ray_address,
        **options,
    )


@dataclasses.dataclass
class _Rows:
    """What became of the catalogue's pictures, row i of paths[i], and of the rest: those that no
    earlier run knew, in ascending order."""

    paths: Paths
    codes: BinaryIO
    """A scratch file, code_bytes of every row: the code, the longer one behind it."""
    code_bytes: int
    digests: np.ndarray
    """uint64 [n], how the digest of the content begins; arbitrary of those that were rejected."""
    rest: np.ndarray
    """int64 [r], their rows."""
    looks: np.ndarray
    """int64 [r, 2], their sizes and stamps."""
    computed: np.ndarray
    """bool [r]: whether the code was computed now."""
    rejected: dict[int, str]
    """row -> reason, of pictures without a code."""

    @property
    def packed(self) -> np.ndarray:
        """The codes uint8 [n, code bytes]; arbitrary of those that were rejected."""
        self.codes.seek(0, os.SEEK_END)
        return mapped(self.codes, np.uint8, self.code_bytes)


def _known_rows(paths: Paths, known: KnownCodes, codes: BinaryIO, order: Order) -> _Rows:
    """The rows, with the codes of files that look as they did when their content was hashed, and
    the reasons of those that were rejected."""
    digests = np.empty(len(paths), np.uint64)
    rest, looks = [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)]
    rejected: dict[int, str] = {}
    start = 0
    for piece in paths.pieces(LOOKED_UP_AT_ONCE):
        now = known.look_up(piece, order.workers)
        is_done = now.found & (not order.trust_content)
        if not order.trust_content:
            is_done[list(now.rejected)] = True
            rejected |= {start + row: reason for row, reason in now.rejected.items()}
        own = np.flatnonzero(~is_done)
        rest.append(start + own)
        looks.append(now.looks[own])
        codes.write(now.codes.data)
        digests[start : start + len(piece)] = now.digests[:, :8].view(np.uint64)[:, 0]
        start += len(piece)
    codes.flush()
    rows = np.concatenate(rest)
    computed = np.zeros(len(rows), bool)
    return _Rows(
        paths, codes, known.code_bytes, digests, rows, np.concatenate(looks), computed, rejected
    )


def _hash_the_rest(rows: _Rows, engine: Engine, known: KnownCodes, progress: Progress) -> None:
    done = len(rows.paths) - len(rows.rest)
    if done:
        progress(done, len(rows.paths))
    try:
        hashing = engine(Texts(rows.paths, rows.rest))
        for place, hashed in enumerate(hashing):
            row = int(rows.rest[place])
            if hashed.code is None or hashed.digest is None:
                rows.rejected[row] = str(hashed.reason)
                if hashed.digest is not None:
                    known.keep_rejected(
                        hashed.path, rows.looks[place], hashed.digest, rows.rejected[row]
                    )
            else:
                known.keep(hashed.path, rows.looks[place], hashed.digest, hashed.code)
                os.pwrite(rows.codes.fileno(), hashed.code, row * rows.code_bytes)
                rows.digests[row] = np.frombuffer(hashed.digest, np.uint64, 1)[0]
                rows.computed[place] = hashed.computed
            done += 1
            progress(done, len(rows.paths))
        assert done == len(rows.paths)
    finally:
        known.flush()
    known.merge()


def _publish(
    catalogue: Catalogue, rows: _Rows, model: Model, order: Order, version: str, alike: list[str]
) -> Summary:
    """alike: versions of which the first that holds just this is taken, and nothing is built."""
    root, report = order.index_root, _rejected_report(order.index_root, version)
    total = len(rows.paths)
    kept = np.ones(total, bool)
    kept[list(rows.rejected)] = False
    rejected = [
        (os.fsdecode(rows.paths.raw(row)), why) for row, why in sorted(rows.rejected.items())
    ]
    if not kept.any() or len(rejected) / total > order.max_rejected:
        write_whole(report, rejected_csv(rejected))
        raise IndexingError(_too_many(rejected, total, order.max_rejected, report))
    codes, fine_codes = split(kept_rows(rows.packed, kept, root))
    contents = Contents(
        codes=codes,
        fine_codes=fine_codes if model.sidecar.fine_bits else None,
        digests=rows.digests[kept],
        paths=rows.paths.kept(kept, root),
        rejected=rejected,
        model=find_model(order.model_path),
        model_name=model.sidecar.name,
        model_sha256=model.sidecar.sha256,
        catalogue={
            "database": str(order.database),
            "sha256": catalogue.sha256,
            "lines": total,
            "left_out": catalogue.left_out,
            "shops": shop_rule(order.database, order.shop_depth).as_json(),
        },
        index_mode=order.index_mode,
    )
    same = next((name for name in alike if holds(root / name, contents)), None)
    if same is None:
        manifest = publish(order.index, version, contents, order.replace)
    else:
        manifest = read_manifest(root / same)
    report.unlink(missing_ok=True)
    read = kept[rows.rest] & ~rows.computed
    of_rest = rows.digests[rows.rest]
    duplicates = int(np.isin(of_rest[read], of_rest[rows.computed]).sum())
    return Summary(
        manifest,
        same is None,
        rejected,
        computed=int(rows.computed.sum()),
        unchanged=int(kept.sum() - kept[rows.rest].sum()),
        by_content=int(read.sum()) - duplicates,
        duplicates=duplicates,
        repeated_lines=catalogue.duplicates,
    )


def _too_many(
    rejected: list[tuple[str, str]], total: int, max_rejected: float, report: Path
) -> str:
    path, reason = rejected[0]
    allowed = f", --max_rejected allows {100 * max_rejected:g} %"
    return (
        f"{len(rejected)} of {total} pictures could not be read"
        f"{allowed if len(rejected) < total else ''}; nothing was published. "
        f"The first: {path} ({reason}). "
        f"All of them with their reasons: {report}"
    )


def _rejected_report(root: Path, version: str) -> Path:
    """Where the rejected pictures are listed when nothing is published."""
    return root / f"rejected-{version}.csv"


def _check_image_size(order: Order, model: Model) -> None:
    if order.image_size not in (None, model.sidecar.input_size):
        raise IndexingError(
            f"--image_size {order.image_size} is not what the model was trained for "
            f"({model.sidecar.input_size}); leave the option out"
        )


def _model_key(model: Model, order: Order) -> str:
    """Names a model and its preprocessing: codes of equal keys may be mixed.  Device and batch size
    belong to it, since float noise differs between devices and between shapes."""
    device = order.device.partition(":")[0]
    # How codes are compared is no part of them.
    sidecar = dataclasses.replace(model.sidecar, rank_weight=1.0, match=None)
    text = f"{sidecar.to_json()}{device} {order.batch_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
