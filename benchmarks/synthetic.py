"""Catalogues that no one has: codes and paths of millions of pictures, and versions of them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BYTES
from hashing.model import read_sidecar
from searcher.index import Index
from searcher.paths import Paths
from searcher.publish import DEFAULT, Contents, publish

SHOPS = 3000
ROWS_A_CENTRE, SPREAD, AWAY = 50, 0.06, 0.03
"""Of clustered codes: rows around a centre, share of bits flipped there, and flipped once more in a
query."""
CHUNK = 1_000_000
"""Rows drawn at a time."""


def uniform(seed: int, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Any code, alike: codes uint8 [rows, 8] and queries uint8 [queries, 8].  There is nothing near
    a query, which is the worst case."""
    random = np.random.default_rng(seed)
    return _codes(random, rows), _codes(random, queries)


def clustered(seed: int, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """ROWS_A_CENTRE codes around each of many centres, in any order; a query is a row, moved."""
    random = np.random.default_rng(seed)
    centres = _codes(random, max(1, rows // ROWS_A_CENTRE))
    codes = flip(random, centres[random.integers(0, len(centres), rows)], SPREAD)
    return codes, flip(random, codes[random.integers(0, rows, queries)], AWAY)


def kept(folder: Path, kind: str, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform or clustered codes and queries as above, memory-mapped; kept in the folder, and taken
    from there the next time."""
    files = [folder / f"{kind}-{rows}-{name}.npy" for name in ("codes", "queries")]
    if not all(file.exists() for file in files) or len(np.load(files[1], "r")) < queries:
        for file, drawn in zip(files, DRAWN[kind](1, rows, queries), strict=True):
            np.save(file, drawn)
    codes, asked = (np.load(file, "r") for file in files)
    return codes, asked[:queries]


def flip(random: np.random.Generator, codes: np.ndarray, share: float) -> np.ndarray:
    """The codes with each bit flipped with probability `share`."""
    flipped = codes.copy()
    for start in range(0, len(codes), CHUNK):
        part = flipped[start : start + CHUNK]
        part ^= np.packbits(random.random((len(part), 64), np.float32) < share, axis=1)
    return flipped


DRAWN = {"uniform": uniform, "clustered": clustered}


def _codes(random: np.random.Generator, rows: int) -> np.ndarray:
    return random.integers(0, 256, (rows, CODE_BYTES), np.uint8)


def paths(rows: int) -> Paths:
    """Paths of SHOPS shops, one shop after the other: `data/shop7.com/69_shop7_com.jpg`."""
    texts, lengths = zip(*_paths_of_shops(rows), strict=True)
    offsets = np.zeros(rows + 1, np.uint64)
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return Paths(np.frombuffer(b"".join(texts), np.uint8), offsets)


def write_list(path: Path, rows: int) -> None:
    """The same paths as a list, one a line."""
    with path.open("wb") as file:
        for text, lengths in _paths_of_shops(rows):
            ends = np.cumsum(lengths).tolist()
            lines = (text[a:b] for a, b in itertools.pairwise([0, *ends]))
            file.write(b"".join(line + b"\n" for line in lines))


def _paths_of_shops(rows: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """The paths of a shop as one run of bytes, and their lengths."""
    bounds = np.linspace(0, rows, min(SHOPS, rows) + 1).astype(int)
    for shop, count in enumerate(np.diff(bounds).tolist()):
        own = [b"data/shop%d.com/%d_shop%d_com.jpg" % (shop, i, shop) for i in range(count)]
        yield b"".join(own), np.array([len(path) for path in own], np.uint64)


def published(
    root: Path,
    version: str,
    codes: np.ndarray,
    index_mode: str = DEFAULT,
    model: Path | None = None,
    fine_codes: np.ndarray | None = None,
) -> Path:
    """A version of these codes in the index folder `root`, as if `model` had made them: its
    folder."""
    sidecar = model and read_sidecar(model)
    contents = Contents(
        codes=codes,
        paths=paths(len(codes)),
        rejected=[],
        model=model,
        model_name=sidecar.name if sidecar else "",
        model_sha256=sidecar.sha256 if sidecar else "",
        catalogue={"database": "", "sha256": "", "lines": len(codes)},
        index_mode=index_mode,
        fine_codes=fine_codes,
    )
    with Index(root).writing():
        publish(Index(root), version, contents)
    return root / version
