"""One request on its way from a checked query to the answer.

A `Job` is begun (`begin`), its picture goes through the model with those of the other requests of
the batch (`run_model`), and it is answered (`answer`).  Knows nothing of TorchServe.
"""

import base64
import contextlib
import dataclasses
import io
import json
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from handlers.body import RequestError
from handlers.request import Query
from hashing.codes import CODE_BITS, CODE_BYTES, pack
from hashing.model import Model, Sidecar
from searcher import order
from searcher.live import Serving
from searcher.opened import OpenVersion
from searcher.shops import nearest, rule_of, spellings, spellings_of_path

CROPPED_EDGE = 640
"""The longest side in pixels of the part that an answer shows."""


@dataclasses.dataclass
class Job:
    """A query and what the steps made of it."""

    query: Query
    serving: Serving
    """The version to answer from."""
    ms: dict[str, float]
    """Milliseconds of each step."""
    pixels: np.ndarray | None = None
    """Of an image, model input uint8 [edge, edge, 3]."""
    code: np.ndarray | None = None
    """uint8 [8]."""
    outputs: np.ndarray | None = None
    """Of an image, or what stands for those of a row that has a longer code: float32 [64], [320].
    """
    cropped: bytes | None = None
    """JPEG of the part of the image that the box marks."""
    distances: list[int] | None = None
    """Of the results, in bits."""
    unknown_shops: list[str] = dataclasses.field(default_factory=list)
    """Of the query, that the version does not have, beside others that it has."""


@contextlib.contextmanager
def timed(ms: dict[str, float], step: str) -> Iterator[None]:
    """Note what the block takes, also when it fails."""
    start = time.perf_counter()
    try:
        yield
    finally:
        ms[step] = _since(start)


def begin(job: Job, max_pixels: int) -> None:
    """Find the code of the query, or decode its picture.

    Raises RequestError when the version cannot answer such a query, picture.PictureError.
    """
    _know_shops(job)
    query, opened, model = job.query, job.serving.opened, job.serving.model
    if query.code is not None:
        job.code = np.frombuffer(query.code, np.uint8)
    elif query.like is not None:
        with timed(job.ms, "like"):
            found = map(opened.row, spellings_of_path(query.like))
            row = next((row for row in found if row is not None), None)
        if row is None:
            raise RequestError(
                404,
                "unknown_like",
                f"version {job.serving.version} has no picture with the path of like; give one as "
                "an answer of this version spells it",
            )
        job.code, job.outputs = opened.code(row), opened.outputs(row)
    elif model is None:
        raise RequestError(
            409,
            "no_model",
            f"version {job.serving.version} was imported without a model, so it cannot look at "
            "pictures; ask with code or like instead of image",
        )
    else:
        with timed(job.ms, "decode"):
            _decode(job, model, query.image or b"", max_pixels)


def _know_shops(job: Job) -> None:
    """Spell the shops of the query as the version does.  Raises RequestError when it has none of
    those that are asked for."""
    asked, names = job.query.selection, job.serving.opened.shop_names
    if not asked.shops and not asked.exclude_shops:
        return
    known = {
        name: [spelling for spelling in spellings(name) if spelling in names]
        for name in (*(asked.shops or ()), *asked.exclude_shops)
    }
    job.unknown_shops = sorted(name for name, spelled in known.items() if not spelled)
    if asked.shops and not any(known[name] for name in asked.shops):
        name = min(asked.shops)
        raise RequestError(
            400,
            "unknown_shops",
            f"version {job.serving.version} has no shop {_quoted(name)}, did you mean "
            f"{_quoted(nearest(name, names))}?",
        )
    shops, excluded = (
        frozenset(spelling for name in group for spelling in known[name])
        for group in (asked.shops or (), asked.exclude_shops)
    )
    job.query = dataclasses.replace(
        job.query,
        selection=dataclasses.replace(
            asked, shops=None if asked.shops is None else shops, exclude_shops=excluded
        ),
    )


def _quoted(name: str) -> str:
    """A shop's name as people read it, short; bytes that are not UTF-8 as question marks."""
    return json.dumps(name[:60], ensure_ascii=False).encode("utf-8", "replace").decode()


def run_model(jobs: list[Job]) -> None:
    """Codes and outputs of pictures that one model looks at, in one forward pass."""
    start = time.perf_counter()
    model = jobs[0].serving.model
    assert model is not None, "pictures are decoded for a model"
    outputs = model.outputs(np.stack([job.pixels for job in jobs if job.pixels is not None]))
    for job, code, own in zip(jobs, pack(outputs), outputs, strict=True):
        job.code, job.outputs, job.pixels = code[:CODE_BYTES], own, None
        job.ms["model"] = _since(start)


def answer(job: Job) -> dict:
    """What the caller gets, ready for JSON."""
    query, opened = job.query, job.serving.opened
    weight = _weight(job) if query.rank == "fine" else None
    code = job.code
    assert code is not None, "begin or run_model found it"
    with timed(job.ms, "search"):
        rows, distances = page(opened, code, job.outputs, query, weight)
        found: dict = {
            "index_database_version": job.serving.version,
            "relevant": opened.paths(rows),
        }
    job.distances = distances.tolist()
    if query.debug:
        found |= {"distances": job.distances, "code": code.tobytes().hex(), "ms": job.ms}
        asked = order.Query(code, job.outputs, weight)
        found |= _explained(
            job, rows, found["relevant"], order.is_fine(asked, opened.has_fine_codes)
        )
    if job.cropped:
        found["cropped_image"] = base64.b64encode(job.cropped).decode("ascii")
    return found


def _explained(job: Job, rows: np.ndarray, paths: list[str], is_fine: bool) -> dict:
    """Which rank the answer has, and of its results shops and products and how near they are, by
    both codes and in a word."""
    opened, model = job.serving.opened, job.serving.model
    found: dict = {"rank": "fine" if is_fine else "distance"} | _shops(job, paths)
    similar: list = [None] * len(rows)
    if opened.has_fine_codes and job.outputs is not None and len(job.outputs) > CODE_BITS:
        similar = opened.similarities(rows, job.outputs, _weight(job)).round(4).tolist()
        found["similarities"] = similar
    if model is not None and (match := model.sidecar.match) is not None:
        found["match"] = [
            match.word(distance, likeness if is_fine else None)
            for distance, likeness in zip(job.distances or [], similar, strict=True)
        ]
    return found


def _shops(job: Job, paths: list[str]) -> dict:
    """Shops and products of the results and of `like`, and shops that the version does not have."""
    rule = rule_of(job.serving.opened.manifest.catalogue)
    described = [rule.described(path) for path in paths]
    found: dict = {
        "shops": [shop for shop, _ in described],
        "products": [product for _, product in described],
    }
    if job.query.like is not None:
        found["like"] = dict(zip(("shop", "product"), rule.described(job.query.like), strict=True))
    if job.unknown_shops:
        found["unknown_shops"] = job.unknown_shops
    return found


def _weight(job: Job) -> float:
    model = job.serving.model
    return Sidecar.rank_weight if model is None else model.sidecar.rank_weight


def page(
    opened: OpenVersion,
    code: np.ndarray,
    outputs: np.ndarray | None,
    query: Query,
    weight: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Of the ranked hits every d-th from `offset * d` on, d the diversity, top_k of them or as many
    as there are: rows int64 [f] and distances in bits int32 [f].

    A hit is a picture, by product the first of each product.  The ranking does not depend on the
    page, so pages that follow each other are one long page.  weight: of rank `fine`.
    """
    step = query.diversity
    depth = (query.offset + query.top_k - 1) * step + 1
    rows, distances = opened.select(
        code, min(depth, opened.manifest.rows), outputs, query.selection, weight
    )
    wanted = slice(query.offset * step, None, step)
    return rows[wanted], distances[wanted]


def _decode(job: Job, model: Model, image: bytes, max_pixels: int) -> None:
    box = job.query.box
    if box is None:
        job.pixels = model.pixels(image, max_pixels)
        return
    part = model.sidecar.read(image, box, max_pixels)
    job.pixels = model.pixels_of(part.image, part.frame)
    job.cropped = _small_jpeg(part.image)


def _small_jpeg(image: Image.Image) -> bytes:
    image = image.copy()
    image.thumbnail((CROPPED_EDGE, CROPPED_EDGE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)
