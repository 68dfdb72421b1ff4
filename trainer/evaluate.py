"""How well codes retrieve, beside what needs no training and beside what the bits were made from.

Queries are the pictures that training never saw (`data.is_held_out`), the gallery is all others.
"""

import dataclasses

import click
import numpy as np

from hashing.model import Model
from trainer.another_picture import OtherPictures, transform
from trainer.data import ARTICLE_TYPE_OF_PHOTO_LABEL, DataError, Labelled
from trainer.floors import floors
from trainer.measures import bit_measures, bucket_measures, distance_histogram, found, retrieval
from trainer.views import Embed, View, by_hamming, model_views, through

NOT_AVAILABLE = "not available for this model"


def evaluate(
    model: Model,
    products: Labelled,
    photos: Labelled,
    others: OtherPictures,
    *,
    embed: Embed | None = None,
    k: int = 10,
) -> dict:
    """All figures of a model as a JSON-ready dict; docs/development.md says what stands in it.

    embed: the float embedding before the hash layer, where the model has one.  Raises DataError
    when no picture of one of the two kinds is held out.
    """
    if not products.held_out.any() or not photos.held_out.any():
        raise DataError(
            "the data is too small to evaluate: no product or no phone photo falls into the 5 % "
            "that training never sees"
        )
    ours = model_views(model, embed, products.pixels, others.pixels)
    codes = ours[0].products
    photo_codes = model_codes(model, photos)
    views = ours + floors(products.pixels, others.pixels, products.held_out)
    tasks = _tasks(products, photos, others, views, photo_codes, k)
    results = {"labels": {}, "article_type": {}, "another_picture": {}, "distances": {}}
    with click.progressbar(tasks, label="ranking") as bar:
        for table, name, task in bar:
            results[table][name] = task()
    if embed is None:
        results["article_type"]["float embedding, cosine"] = NOT_AVAILABLE
        results["another_picture"]["float embedding, cosine"] = NOT_AVAILABLE
    return {
        "model": {"name": model.sidecar.name, "sha256": model.sidecar.sha256},
        "k": k,
        "transform_of_another_picture": transform(),
        **results,
        "codes": _code_figures(codes, products.article_type),
    }


def model_codes(model: Model, pictures: Labelled) -> np.ndarray:
    """Codes uint8 [n, 8] of labelled pictures."""
    return through([model.codes], pictures.pixels, "hashing phone photos")[0]


def _tasks(products, photos, others, views: list[View], photo_codes: np.ndarray, k: int) -> list:
    """What is to be ranked: (table, name, call without arguments) of each."""
    held, rest = products.held_out, ~products.held_out
    codes, types = views[0].products, products.article_type
    both = np.where(
        products.colour == "", "", np.char.add(np.char.add(types, " / "), products.colour)
    )

    def by_label(view: View, labels: np.ndarray) -> dict:
        distances = view.between(view.products[held], view.products[rest])
        return dataclasses.asdict(retrieval(distances, labels[held], labels[rest], k))

    def by_photo(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> dict:
        distances = by_hamming(photo_codes[queries], gallery)
        return dataclasses.asdict(retrieval(distances, photos.article_type[queries], labels, k))

    def same_product(view: View) -> dict:
        distances = view.between(view.others, view.products)
        at_1, at_k = found(distances, others.groups, others.product_groups, (1, k))
        rows = {"queries": len(view.others), "gallery": len(view.products)}
        return {**rows, "recall_at_1": at_1, "recall_at_k": at_k}

    def histogram() -> dict:
        return distance_histogram(by_hamming(codes[held], codes[rest]), types[held], types[rest])

    mapped = np.isin(photos.article_type, list(ARTICLE_TYPE_OF_PHOTO_LABEL.values()))
    shown = ~photos.held_out
    return [
        ("labels", "article type", lambda: by_label(views[0], types)),
        ("labels", "colour", lambda: by_label(views[0], products.colour)),
        ("labels", "article type and colour", lambda: by_label(views[0], both)),
        (
            "labels",
            "phone photo to phone photos",
            lambda: by_photo(photos.held_out, photo_codes[shown], photos.article_type[shown]),
        ),
        (
            "labels",
            "phone photo to products",
            lambda: by_photo(photos.held_out & mapped, codes[rest], types[rest]),
        ),
        *[("article_type", view.name, lambda v=view: by_label(v, types)) for view in views[1:]],
        *[("another_picture", view.name, lambda v=view: same_product(v)) for view in views],
        ("distances", "article type", histogram),
    ]


def _code_figures(codes: np.ndarray, types: np.ndarray) -> dict:
    by_type = {str(name): bucket_measures(codes[types == name]) for name in np.unique(types)}
    return {**bucket_measures(codes), "bits": bit_measures(codes), "by_article_type": by_type}
