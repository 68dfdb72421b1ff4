"""Codes that a model gives to pictures, and as many codes like them as a benchmark needs."""

from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from synthetic import flip

import photographs
from hashing.model import Model, find_model, read_sidecar
from machine.container import available_cores
from searcher import open_version

KEPT_BACK = 20
"""Of a version, every so-manieth picture is a query and in no index."""
VIEWS = 8
"""Of a photograph of the demo: parts of it."""
JITTER = 0.03
"""Share of bits flipped where there are more rows than pictures."""
BATCH = 64


def of_version(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a published version: (codes uint8 [n, 8], bool [n]: queries)."""
    index = open_version(folder)
    codes = np.stack([index.code(row) for row in range(index.manifest.rows)])
    return codes, np.arange(len(codes)) % KEPT_BACK == 0


def of_pictures(data: Path | None, model_path: Path, keep: Path | None):
    """The codes of the pictures in `data`, of the demo's photographs without it, as of
    `of_version`.  They are kept in the folder `keep`, and taken from there when it has them."""
    model = read_sidecar(find_model(model_path))
    name = f"{model.name}-{model.sha256[:12]}-{'data' if data else 'photographs'}.npz"
    kept = keep / name if keep else None
    if kept and kept.exists():
        with np.load(kept) as file:
            return file["codes"], file["queries"]
    torch.set_num_threads(1)  # pictures are shared out among threads
    codes, queries = _hash(data, model_path) if data else _views(model_path)
    if kept:
        np.savez(kept, codes=codes, queries=queries)
    return codes, queries


def like(
    seed: int, codes: np.ndarray, is_query: np.ndarray, rows: int, queries: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the same distribution, codes uint8 [rows, 8] and queries uint8 [queries, 8].

    Queries are codes of pictures that are not in the index, as they are.  So are the rows where
    there are enough pictures; else pictures are drawn again and again, and JITTER of their bits
    flipped: a smoothed bootstrap, which keeps as it is how many rows crowd in how few codes.
    """
    random = np.random.default_rng(seed)
    own, asked = codes[~is_query], codes[is_query]
    if rows <= len(own):
        drawn = own[random.permutation(len(own))[:rows]]
    else:
        drawn = flip(random, own[random.integers(0, len(own), rows)], JITTER)
    return drawn, asked[random.integers(0, len(asked), queries)]


def _hash(data: Path, model_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Queries are the pictures that the model was not trained on."""
    from trainer.evaluation.encode import encode
    from trainer.layouts import read
    from trainer.recipe import recipe_for

    model = Model.load(model_path, threads=available_cores())
    sources = [read(data, source) for source in recipe_for(data, None).data]
    encoded = [encode(source, model) for source in sources]
    return (
        np.concatenate([one.codes for one in encoded]),
        np.concatenate([source.held_out for source in sources]),
    )


def _views(model_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Queries are the photographs that the model was not trained on."""
    model, random = Model.load(model_path), np.random.default_rng(0)
    own = [one.photograph for one in photographs.catalogue() if not one.is_detail]
    asked, codes = photographs.queries(), []
    with click.progressbar([*own, *asked], label="hashing the demo's photographs") as bar:
        for photograph in bar:
            with Image.open(photograph.file) as image:
                views = [model.pixels_of(_part(random, image)) for _ in range(VIEWS)]
            codes.append(model.codes(np.stack(views)))
    return np.concatenate(codes), np.repeat(np.arange(len(codes)) >= len(own), VIEWS)


def _part(random: np.random.Generator, image: Image.Image) -> Image.Image:
    """A part of the picture, of half to all of each side."""
    size = np.array(image.size)
    wanted = size * random.uniform(0.5, 1, 2)
    corner = random.uniform(0, 1, 2) * (size - wanted)
    return image.crop((*corner.astype(int), *(corner + wanted).astype(int)))
