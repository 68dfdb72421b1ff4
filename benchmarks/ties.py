"""What the order inside equal distances costs: search with the query's outputs against search
without.  About half a minute; run it from the root of the repository."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import faiss
import numpy as np

from efiss.commands.options import MODEL_PATH
from hashing.codes import pack, unpack
from hashing.model import find_model, read_sidecar
from searcher import open_version
from searcher.index import Index
from searcher.publish import Contents, publish

SIZES = (100_000, 1_000_000)
COUNTS = (10, 1000)
CENTRES, SPREAD = 1000, 0.06
"""Of clustered codes: how many centres, and the share of bits flipped around them."""
TIED_DISTANCE = 8
"""Of tied codes: how far away from the query all of them are."""


@click.command()
@MODEL_PATH
@click.option("--queries", type=click.IntRange(1), default=20, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def ties(model_path: Path, queries: int, rounds: int) -> None:
    """Measure search with outputs against search without, one query at a time on one core.

    \b
    Columns: milliseconds a query without and with outputs (the mean over queries of the median over
    rounds), and the second divided by the first. Codes:
      uniform    any code; queries too
      clustered  near one of 1,000 centres; queries too
      tied       all rows equally far from the query: the worst case
    The model only completes the version on disk; nothing is hashed with it.

    \b
    Example:
      python benchmarks/ties.py --queries 5
    """
    faiss.omp_set_num_threads(1)  # as the service has it
    click.echo("     rows  codes         k     plain   ordered   ratio")
    for size in SIZES:
        for name, draw in KINDS.items():
            codes, outputs = draw(np.random.default_rng(1), size, queries)
            with tempfile.TemporaryDirectory() as folder:
                index = _open(Path(folder), codes, find_model(model_path))
                for k in COUNTS:
                    plain, ordered = _measure(index, outputs, k, rounds)
                    click.echo(
                        f"{size:9,}  {name:9}  {k:5,}  {plain:5.2f} ms  {ordered:5.2f} ms  "
                        f"{ordered / plain:5.2f}x"
                    )


def _uniform(rng, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 [rows, 8], and outputs of queries: float32 [queries, 64]."""
    return _codes(rng, rows), rng.normal(size=(queries, 64)).astype(np.float32)


def _clustered(rng, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    near = _codes(rng, CENTRES)[rng.integers(0, CENTRES, rows + queries)]
    near ^= np.packbits(rng.random((rows + queries, 64)) < SPREAD, axis=1)
    return near[:rows], _outputs(rng, near[rows:])


def _tied(rng, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    query = _codes(rng, 1)
    flipped = rng.random((rows, 64)).argpartition(TIED_DISTANCE, axis=1)[:, :TIED_DISTANCE]
    bits = np.zeros((rows, 64), np.uint8)
    np.put_along_axis(bits, flipped, 1, axis=1)
    return query ^ np.packbits(bits, axis=1), _outputs(rng, np.repeat(query, queries, axis=0))


KINDS: dict[str, Callable] = {"uniform": _uniform, "clustered": _clustered, "tied": _tied}


def _codes(rng, rows: int) -> np.ndarray:
    return rng.integers(0, 256, (rows, 8), np.uint8)


def _outputs(rng, codes: np.ndarray) -> np.ndarray:
    """Outputs that have these codes: float32 [n, 64]."""
    magnitudes = np.abs(rng.normal(size=(len(codes), 64))) + 1e-6
    return ((unpack(codes) * 2.0 - 1) * magnitudes).astype(np.float32)


def _open(folder: Path, codes: np.ndarray, model: Path):
    sidecar = read_sidecar(model)
    contents = Contents(
        codes=codes,
        paths=["a.jpg"] * len(codes),
        rejected=[],
        model=model,
        model_name=sidecar.name,
        model_sha256=sidecar.sha256,
        catalogue={"database": "", "sha256": "", "lines": len(codes)},
    )
    with Index(folder).writing():
        publish(Index(folder), "1.0.0", contents)
    return open_version(folder / "1.0.0")


def _measure(index, outputs: np.ndarray, k: int, rounds: int) -> tuple[float, float]:
    """Milliseconds a query without and with outputs, in turns."""
    plain, ordered = [], []
    for one in np.split(outputs, len(outputs)):
        code = pack(one)
        turns = [
            (_seconds(index.search, code, k), _seconds(index.search, code, k, one))
            for _ in range(rounds)
        ]
        plain.append(np.median([turn[0] for turn in turns]))
        ordered.append(np.median([turn[1] for turn in turns]))
    return float(np.mean(plain) * 1000), float(np.mean(ordered) * 1000)


def _seconds(search: Callable, *arguments) -> float:
    start = time.perf_counter()
    search(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    ties()
