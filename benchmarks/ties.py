"""What the order costs: inside equal distances by the query's outputs, and of the nearest by both
codes.  About half a minute; run it from the root of the repository."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import faiss
import numpy as np
from synthetic import published

from hashing.codes import CODE_BYTES, FINE_BITS, FINE_BYTES, pack, unpack
from searcher import open_version
from searcher.faiss_version import FaissVersion
from searcher.order import WINDOW

SIZES = (100_000, 1_000_000)
COUNTS = (10, 1000)
CENTRES, SPREAD = 1000, 0.06
"""Of clustered codes: how many centres, and the share of bits flipped around them."""
TIED_DISTANCE = 8
"""Of tied codes: how far away from the query all of them are."""


@click.command()
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(1000),
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Rows of an index; may be given repeatedly.",
)
@click.option("--queries", type=click.IntRange(1), default=20, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def ties(sizes: tuple[int, ...], queries: int, rounds: int) -> None:
    """Measure what the order costs, one query at a time on one core, the pages in memory.

    \b
    Columns: milliseconds a query (the mean over queries of the median over rounds) by distance and
    row; by distance and the longer code; by rank fine; and of that the finding of 1,000.
    Codes:
      uniform    any code; queries too
      clustered  near one of 1,000 centres; queries too
      tied       all rows equally far from the query: the worst case
    Longer codes are any bits.

    \b
    Examples:
      python benchmarks/ties.py --queries 5
      python benchmarks/ties.py --size 10000000
    """
    faiss.omp_set_num_threads(1)  # as the service has it
    click.echo("      rows  codes         k     plain  distance      fine  the 1,000 nearest")
    for size in sizes:
        for name, draw in KINDS.items():
            random = np.random.default_rng(1)
            codes, outputs = draw(random, size, queries)
            fine_codes = random.integers(0, 256, (size, FINE_BYTES), np.uint8)
            longer = random.normal(size=(queries, FINE_BITS)).astype(np.float32)
            outputs = np.concatenate([outputs, longer], axis=1)
            with tempfile.TemporaryDirectory() as folder:
                index = open_version(published(Path(folder), "1.0.0", codes, fine_codes=fine_codes))
                for k in COUNTS:
                    took = "".join(f"{ms:7.2f} ms" for ms in _measure(index, outputs, k, rounds))
                    click.echo(f"{size:10,}  {name:9}  {k:5,}{took}")


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


def _measure(index: FaissVersion, outputs: np.ndarray, k: int, rounds: int) -> np.ndarray:
    """Milliseconds a query of each way, in turns."""
    took = []
    for one in outputs:
        code = pack(one[None])[0, :CODE_BYTES]
        ways = (
            lambda code=code: index.select(code, k),
            lambda code=code, one=one: index.select(code, k, one),
            lambda code=code, one=one: index.select(code, k, one, weight=1.0),
            lambda code=code: index.select(code, WINDOW),
        )
        took.append(np.median([[_seconds(way) for way in ways] for _ in range(rounds)], axis=0))
    return np.mean(took, axis=0) * 1000


def _seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


if __name__ == "__main__":
    ties()
