"""What a query must find, by brute force that shares no code with the search."""

import os

import numpy as np

IMPORTED, IMPORTED_CATALOGUE = "2.0.0", (7, 3000)
"""A version without a model that the service under test has, and the seed and size of it."""


def shop_of(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def product_of(path: str) -> tuple[str, str]:
    return shop_of(path), os.path.basename(path).split("_")[0]


def ranked(
    codes, paths, code, outputs=None, *, max_distance=64, shops=None, exclude_shops=(), by_product
) -> list[tuple[int, int]]:
    """All hits as (row, distance), ordered by distance, similarity to the outputs if there are any,
    and row.  codes: uint8 [n, 8], code: uint8 [8], outputs: float32 [64]."""
    distances = np.unpackbits(codes ^ code, axis=1).sum(axis=1)
    similar = np.zeros(len(codes), np.int64)
    if outputs is not None:
        wide = outputs.astype(np.float64)
        weights = np.round(wide / np.abs(wide).max() * 1024).astype(np.int64)
        similar = (np.unpackbits(codes, axis=1).astype(np.int64) * 2 - 1) @ weights
    order = sorted(range(len(codes)), key=lambda row: (distances[row], -similar[row], row))
    hits, products = [], set()
    for row in order:
        shop = shop_of(paths[row])
        if distances[row] > max_distance or shop in exclude_shops:
            continue
        if shops is not None and shop not in shops:
            continue
        if by_product and product_of(paths[row]) in products:
            continue
        products.add(product_of(paths[row]))
        hits.append((row, int(distances[row])))
    return hits


def clustered_catalogue(seed: int, n: int) -> tuple[np.ndarray, list[str]]:
    """Codes in few clusters, so that many distances are equal, and paths of shops of unequal size
    whose products have some pictures each."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (3, 8), np.uint8)
    flips = np.packbits(rng.random((n, 64)) < 0.04, axis=1)
    codes = centres[rng.integers(0, 3, n)] ^ flips
    shops = np.minimum(rng.geometric(0.4, n), 5)
    products = rng.integers(0, 1 + n // 3, n)
    paths = [
        f"data/shop{shop}.example/{product}_{row}.jpg"
        for row, (shop, product) in enumerate(zip(shops, products, strict=True))
    ]
    return codes, paths
