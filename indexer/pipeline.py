"""Catalogue -> codes -> version: what `indexer/main.py` and later engines and callers run."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BYTES
from hashing.files import Hashed, hash_files
from hashing.model import Model, find_model
from indexer.catalogue import Catalogue, read_catalogue
from indexer.code_cache import CodeCache
from searcher import versions
from searcher.versions import Manifest


class IndexingError(ValueError):
    """Nothing was published; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to index.  max_rejected: the share (0-1) of pictures that may fail; more, and nothing is
    published.  replace: whether a version of this number, unless it is live, may be replaced."""

    database: Path
    model_path: Path
    device: str
    version: str
    index_root: Path
    workers: int
    batch_size: int
    max_pixels: int
    index_mode: str = "default"
    image_size: int | None = None
    max_rejected: float = 0.05
    replace: bool = False


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done.  computed: pictures hashed now; reused: codes known from earlier runs."""

    manifest: Manifest
    rejected: list[tuple[str, str]]
    computed: int
    reused: int
    duplicates: int


Progress = Callable[[int, int], None]
"""Called as progress(done, total), in pictures, as they are done."""


def index_catalogue(order: Order, progress: Progress = lambda done, total: None) -> Summary:
    """Hash the catalogue's pictures and publish them as a version; it is not made live.

    Raises CatalogueError, ModelError, VersionError or IndexingError, with nothing published.  Codes
    computed until then are kept, and used by the next run.
    """
    versions.check_new(order.index_root, order.version, order.replace)
    catalogue = read_catalogue(order.database)
    model = Model.load(order.model_path, order.device)
    _check_image_size(order, model)
    with versions.writing(order.index_root):
        # Again, before the work: what a killed --force left half-replaced has come back by now.
        versions.check_new(order.index_root, order.version, order.replace)
        cache = CodeCache(order.index_root, _cache_key(model, order.batch_size))
        hashed = _hash(catalogue, model, cache, order, progress)
        return _publish(catalogue, hashed, model, order)


def _hash(
    catalogue: Catalogue, model: Model, cache: CodeCache, order: Order, progress: Progress
) -> list[Hashed]:
    done = []
    progress(0, len(catalogue.paths))
    try:
        for hashed in hash_files(
            catalogue.paths,
            model,
            workers=order.workers,
            batch_size=order.batch_size,
            max_pixels=order.max_pixels,
            known=cache.get,
        ):
            if hashed.computed:
                cache.add(hashed.digest, hashed.code)
            done.append(hashed)
            progress(len(done), len(catalogue.paths))
    finally:
        cache.flush()
    cache.compact()
    return done


def _publish(catalogue: Catalogue, hashed: list[Hashed], model: Model, order: Order) -> Summary:
    kept = [one for one in hashed if one.code is not None]
    rejected = [(one.path, one.reason) for one in hashed if one.code is None]
    if not kept or len(rejected) / len(hashed) > order.max_rejected:
        raise IndexingError(_too_many_rejected(rejected, len(hashed), order))
    codes = np.frombuffer(b"".join(one.code for one in kept), np.uint8).reshape(-1, CODE_BYTES)
    contents = versions.Contents(
        codes=codes,
        paths=[one.path for one in kept],
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
    manifest = versions.publish(order.index_root, order.version, contents, order.replace)
    _rejected_report(order).unlink(missing_ok=True)
    computed = sum(one.computed for one in kept)
    return Summary(manifest, rejected, computed, len(kept) - computed, catalogue.duplicates)


def _too_many_rejected(rejected: list[tuple[str, str]], total: int, order: Order) -> str:
    report = _rejected_report(order)
    versions.write_rejected(report, rejected)
    path, reason = rejected[0]
    return (
        f"{len(rejected)} of {total} pictures could not be read, --max_rejected allows "
        f"{100 * order.max_rejected:g} %; nothing was published. The first: {path} ({reason}). "
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


def _cache_key(model: Model, batch_size: int) -> str:
    """Names a model and its preprocessing: codes of equal keys may be mixed.  Device and batch size
    belong to it, since float noise differs between devices and between shapes."""
    text = f"{model.sidecar.to_json()}{model.device.type} {batch_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
