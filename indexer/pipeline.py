"""Catalogue -> codes -> version: what `indexer/main.py` and later engines and callers run."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hashing import remote
from hashing.files import Hashed, hash_files
from hashing.model import Model, find_model
from indexer.catalogue import Catalogue, read_catalogue
from indexer.code_cache import CodeCache
from indexer.known_files import KnownFiles, look
from machine.errors import Problem
from searcher import versions
from searcher.versions import Manifest


class IndexingError(Problem):
    """Nothing was published; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to index.  version: its number; None for the next minor, and then nothing is published
    when the live version, or the newest, holds just this.  max_rejected: the share (0-1) of
    pictures that may fail; more, and nothing is published.  replace: whether a version of this
    number, unless it is live, may be replaced.  resume: whether a version of this number that holds
    just this is taken as it is, since an earlier run may have built it.
    trust_content: read every file and go by its content, whatever its size and time say.
    engine: threads or ray.  ray_address: of a Ray cluster that runs; None starts one here."""

    database: Path
    model_path: Path
    device: str
    version: str | None
    index_root: Path
    workers: int
    batch_size: int
    max_pixels: int
    index_mode: str = "default"
    image_size: int | None = None
    max_rejected: float = 0.05
    replace: bool = False
    resume: bool = False
    trust_content: bool = False
    engine: str = "threads"
    ray_address: str | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done.  Every picture of the version is one of four.

    manifest: of the version that was published or, is_new being False, of the one that was there
    and holds the same.
    computed: hashed now.  unchanged: known by path, size and time of an earlier run.  by_content:
    read, and its content was known from earlier runs.  duplicates: read, and its content is that of
    another one hashed now.  repeated_lines: lines of the list that were there before.
    """

    manifest: Manifest
    is_new: bool
    rejected: list[tuple[str, str]]
    computed: int
    unchanged: int
    by_content: int
    duplicates: int
    repeated_lines: int


Engine = Callable[..., Iterator[Hashed]]
"""What hashes the files without a known code; called, and answering, as `hash_files`."""

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
    catalogue = read_catalogue(order.database)
    remote.check(catalogue.paths)
    engine = _engine(order)
    # Of a cluster's GPUs this machine need not have one.
    model = Model.load(order.model_path, "cpu" if order.engine == "ray" else order.device)
    _check_image_size(order, model)
    with versions.writing(order.index_root):
        alike = [order.version] if order.resume else []
        if order.version is None:
            names = versions.versions(order.index_root)
            alike = [name for name in (versions.live(order.index_root), *names[-1:]) if name]
            order = dataclasses.replace(order, version=versions.next_minor(order.index_root))
        # Again, before the work: what a killed --force left half-replaced has come back by now.
        _check_number(order)
        cache = CodeCache(order.index_root, _cache_key(model, order))
        files = KnownFiles(order.index_root)
        progress(0, len(catalogue.paths))
        rows = _known_rows(catalogue.paths, cache, files, order)
        _hash_the_rest(rows, engine, model, cache, files, order, progress)
        return _publish(catalogue, rows, model, order, alike)


def _check_number(order: Order) -> None:
    is_there = order.version in versions.versions(order.index_root)
    if order.version is not None and not (order.resume and is_there):
        versions.check_new(order.index_root, order.version, order.replace)


def _engine(order: Order) -> Engine:
    if order.engine == "threads":
        return hash_files
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
    )


@dataclasses.dataclass
class _Rows:
    """What is known of the catalogue's pictures, row i about paths[i].

    looks: int64 [n, 2], size and stamp.  unchanged, computed: bool [n], how its code was had.
    digests: uint8 [n, 32], of the content, where it was read now.  codes: uint8 [n, 8].
    rejected: row -> reason, of pictures without a code.
    """

    paths: list[str]
    looks: np.ndarray
    unchanged: np.ndarray
    computed: np.ndarray
    digests: np.ndarray
    codes: np.ndarray
    rejected: dict[int, str]


def _known_rows(paths: list[str], cache: CodeCache, files: KnownFiles, order: Order) -> _Rows:
    """The rows, with the codes of files that look as they did when their content was hashed."""
    looks = look(paths, order.workers)
    found, digests = files.find(paths, looks)
    hashed, codes = cache.find(digests)
    unchanged = found & hashed & (not order.trust_content)
    return _Rows(paths, looks, unchanged, np.zeros_like(unchanged), digests, codes, {})


def _hash_the_rest(
    rows: _Rows,
    engine: Engine,
    model: Model,
    cache: CodeCache,
    files: KnownFiles,
    order: Order,
    progress: Progress,
) -> None:
    rest = np.flatnonzero(~rows.unchanged).tolist()
    done = len(rows.paths) - len(rest)
    if done:
        progress(done, len(rows.paths))
    try:
        for row, hashed in zip(
            rest,
            engine(
                [rows.paths[row] for row in rest],
                model,
                workers=order.workers,
                batch_size=order.batch_size,
                max_pixels=order.max_pixels,
                known=cache.get,
            ),
            strict=True,
        ):
            if hashed.code is None:
                rows.rejected[row] = hashed.reason
            else:
                cache.add(hashed.digest, hashed.code)
                files.add(hashed.path, rows.looks[row], hashed.digest)
                rows.codes[row] = np.frombuffer(hashed.code, np.uint8)
                rows.digests[row] = np.frombuffer(hashed.digest, np.uint8)
                rows.computed[row] = hashed.computed
            done += 1
            progress(done, len(rows.paths))
    finally:
        cache.flush()
        files.flush()
    cache.melt()
    files.melt()


def _publish(
    catalogue: Catalogue, rows: _Rows, model: Model, order: Order, alike: list[str]
) -> Summary:
    """alike: versions of which the first that holds just this is taken, and nothing is built."""
    kept = np.ones(len(rows.paths), bool)
    kept[list(rows.rejected)] = False
    rejected = [(rows.paths[row], reason) for row, reason in rows.rejected.items()]
    if not kept.any() or len(rejected) / len(kept) > order.max_rejected:
        raise IndexingError(_too_many_rejected(rejected, len(kept), order))
    contents = versions.Contents(
        codes=rows.codes[kept],
        paths=[rows.paths[row] for row in np.flatnonzero(kept).tolist()],
        rejected=rejected,
        model=find_model(order.model_path),
        model_name=model.sidecar.name,
        model_sha256=model.sidecar.sha256,
        catalogue={
            "database": str(order.database),
            "sha256": catalogue.sha256,
            "lines": len(catalogue.paths),
        },
        index_mode=order.index_mode,
    )
    root = order.index_root
    same = next((name for name in alike if versions.holds(root / name, contents)), None)
    if same is None:
        manifest = versions.publish(root, order.version, contents, order.replace)
    else:
        manifest = versions.read_manifest(root / same)
    _rejected_report(order).unlink(missing_ok=True)
    read = kept & ~rows.unchanged & ~rows.computed
    contents_of = rows.digests.view("V32")[:, 0]
    duplicates = int(np.isin(contents_of[read], contents_of[rows.computed]).sum())
    return Summary(
        manifest,
        same is None,
        rejected,
        computed=int(rows.computed.sum()),
        unchanged=int(rows.unchanged.sum()),
        by_content=int(read.sum()) - duplicates,
        duplicates=duplicates,
        repeated_lines=catalogue.duplicates,
    )


def _too_many_rejected(rejected: list[tuple[str, str]], total: int, order: Order) -> str:
    report = _rejected_report(order)
    versions.write_rejected(report, rejected)
    path, reason = rejected[0]
    allowed = f", --max_rejected allows {100 * order.max_rejected:g} %"
    return (
        f"{len(rejected)} of {total} pictures could not be read"
        f"{allowed if len(rejected) < total else ''}; nothing was published. "
        f"The first: {path} ({reason}). "
        f"All of them with their reasons: {report}"
    )


def _rejected_report(order: Order) -> Path:
    """Where the rejected pictures are listed when nothing is published."""
    return order.index_root / f"rejected-{order.version}.csv"


def _check_image_size(order: Order, model: Model) -> None:
    if order.image_size not in (None, model.sidecar.input_size):
        raise IndexingError(
            f"--image_size {order.image_size} is not what the model was trained for "
            f"({model.sidecar.input_size}); leave the option out"
        )


def _cache_key(model: Model, order: Order) -> str:
    """Names a model and its preprocessing: codes of equal keys may be mixed.  Device and batch size
    belong to it, since float noise differs between devices and between shapes."""
    device = order.device.partition(":")[0]
    text = f"{model.sidecar.to_json()}{device} {order.batch_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
