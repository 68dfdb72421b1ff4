"""How well codes retrieve: held-out queries against a gallery, by the standard measures.

Queries are the rows that training never saw (`data.is_held_out`), the gallery is all the others.
Results are ordered as the service orders them: by (distance, row).
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from hashing.codes import CODE_BYTES, hamming, pack
from hashing.model import Model
from trainer.data import ARTICLE_TYPE_OF_PHOTO_LABEL, Labelled

K = 10
BATCH = 64

Distances = Callable[[int], np.ndarray]
"""Distances of one query, by its number, to every row of the gallery: a number per row."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Retrieval measures of one kind of query against one gallery.

    precision: share of the first K results with the query's label, mean over queries (micro).
    macro_precision: mean over labels of their queries' mean.  mean_average_precision: mAP over the
    whole gallery; None where it was not asked for.
    """

    queries: int
    gallery: int
    precision: float
    macro_precision: float
    mean_average_precision: float | None = None


def retrieval(
    distances: Distances, queries: np.ndarray, gallery: np.ndarray, over_all: bool = True
) -> Figures:
    """Measure a ranking by labels.

    queries, gallery: labels, str [q] and [n]; queries with label "" are left out.  over_all: also
    compute mAP@all.
    """
    precisions, averages, labels = [], [], []
    for i, label in enumerate(queries):
        if label == "":
            continue
        order = np.argsort(distances(i), kind="stable")
        relevant = gallery[order if over_all else order[:K]] == label
        precisions.append(relevant[:K].mean())
        averages.append(_average_precision(relevant))
        labels.append(label)
    precisions, labels = np.array(precisions), np.array(labels)
    macro = np.mean([precisions[labels == label].mean() for label in np.unique(labels)])
    average = float(np.mean(averages)) if over_all else None
    return Figures(len(labels), len(gallery), float(precisions.mean()), float(macro), average)


def evaluate(model: Model, products: Labelled, photos: Labelled) -> dict:
    """All figures of a model, and of the floors it has to beat, as a JSON-ready dict."""
    codes = codes_of(model, products.pixels)
    photo_codes = codes_of(model, photos.pixels)
    held, rest = products.held_out, ~products.held_out
    types, colours = products.article_type, products.colour
    both = np.where(colours == "", "", np.char.add(np.char.add(types, " / "), colours))

    def between_codes(queries: np.ndarray, gallery: np.ndarray) -> Distances:
        return lambda i: hamming(queries[i], gallery).astype(np.uint8)

    def split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values[held], values[rest]

    ours = between_codes(*split(codes))
    mapped = np.isin(photos.article_type, list(ARTICLE_TYPE_OF_PHOTO_LABEL.values()))
    photo_queries = photos.held_out & mapped
    figures = {
        "article type": retrieval(ours, *split(types)),
        "colour": retrieval(ours, *split(colours), over_all=False),
        "article type and colour": retrieval(ours, *split(both), over_all=False),
        "phone photo to phone photos": retrieval(
            between_codes(photo_codes[photos.held_out], photo_codes[~photos.held_out]),
            photos.article_type[photos.held_out],
            photos.article_type[~photos.held_out],
        ),
        "phone photo to products": retrieval(
            between_codes(photo_codes[photo_queries], codes[rest]),
            photos.article_type[photo_queries],
            types[rest],
        ),
    }
    floors = {
        name: retrieval(floor, *split(types)) for name, floor in _floors(products, held, rest)
    }
    _, buckets = np.unique(codes, axis=0, return_counts=True)
    return {
        "model": {"name": model.sidecar.name, "sha256": model.sidecar.sha256},
        "k": K,
        "figures": {name: dataclasses.asdict(value) for name, value in figures.items()},
        "floors (article type)": {k: dataclasses.asdict(v) for k, v in floors.items()},
        "codes": {
            "rows": len(codes),
            "distinct": len(buckets),
            "largest_bucket": int(buckets.max()),
        },
    }


def codes_of(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Codes of uint8 [n, size, size, 3] pictures: uint8 [n, 8]."""
    parts = [model.codes(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    return np.concatenate(parts)


def _floors(products: Labelled, held: np.ndarray, rest: np.ndarray) -> Iterator:
    """What needs no training: (name, distances) of each."""
    small = _small(products.pixels)
    queries, gallery = small[held], small[rest]
    squares = (gallery**2).sum(axis=1)
    yield "raw pixels, 12x16", lambda i: squares - 2 * (gallery @ queries[i])

    mean = gallery.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((gallery - mean).T))
    signs = pack((small - mean) @ axes[:, -8 * CODE_BYTES :])
    yield "signs of 64 PCA axes", lambda i: hamming(signs[held][i], signs[rest]).astype(np.uint8)

    random = np.random.default_rng(0).integers(0, 256, (len(small), CODE_BYTES), np.uint8)
    yield "random codes", lambda i: hamming(random[held][i], random[rest]).astype(np.uint8)


def _small(pixels: np.ndarray) -> np.ndarray:
    """uint8 [n, s, s, 3] -> float32 [n, 16 * 12 * 3] in 0-1, by averaging areas."""
    size = pixels.shape[1]
    rows = np.linspace(0, size, 17).astype(int)[:-1]
    columns = np.linspace(0, size, 13).astype(int)[:-1]
    sums = np.add.reduceat(pixels, rows, axis=1, dtype=np.float32)
    sums = np.add.reduceat(sums, columns, axis=2)
    area = np.diff(np.append(rows, size))[:, None] * np.diff(np.append(columns, size))[None, :]
    return (sums / (area[None, :, :, None] * 255)).reshape(len(pixels), -1)


def _average_precision(relevant: np.ndarray) -> float:
    """Mean, over the relevant results, of the precision at their ranks."""
    ranks = np.flatnonzero(relevant)
    if not len(ranks):
        return 0.0
    return float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
