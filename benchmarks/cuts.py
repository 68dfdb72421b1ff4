"""Into how many parts a code is best cut for the tables (`searcher.tables`), by the number of rows.
Run it from the root of the repository."""

import time
from pathlib import Path

import click
import faiss
import numpy as np
import record
import synthetic

from searcher.nearest import Nearest
from searcher.tables import Tables, build, tables_for

CUTS = (3, 4)
NEAREST = 10
WARM_UP = 50
BLOCK = 25
"""Queries that one cut is asked before the next."""


@click.command()
@click.option("--size", "sizes", type=click.IntRange(1000), multiple=True, required=True)
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder that codes and tables are kept in for the next run.",
)
@click.option("--build-only", is_flag=True, help="Draw and build what is to be measured later.")
@record.OUT
def cuts(sizes: tuple[int, ...], queries: int, keep: Path, build_only: bool, out: Path) -> None:
    """Measure a search of the ten nearest with codes cut into three and into four parts, in turns,
    by the time of the thread.  Results go to cuts.json.

    \b
    Example:
      python benchmarks/cuts.py --size 1000000 --size 10000000 --keep build/versions
    """
    faiss.omp_set_num_threads(1)
    keep.mkdir(parents=True, exist_ok=True)
    result: dict = {"searches": []}
    for rows in sizes:
        for kind in synthetic.DRAWN:
            codes, asked = synthetic.kept(keep, kind, rows, WARM_UP + queries)
            folders = {parts: _built(keep / f"{kind}-{rows}", codes, parts) for parts in CUTS}
            if build_only:
                continue
            for parts, figures in _measured(codes, asked, folders).items():
                about = {"rows": rows, "codes": kind, "parts": parts}
                result["searches"].append(about | {"chosen": parts == tables_for(rows)} | figures)
                click.echo(result["searches"][-1])
            record.save(out, "cuts", result)


def _built(place: Path, codes: np.ndarray, parts: int) -> list[Path]:
    """The files of the tables: where they begin, and their rows."""
    files = [Path(f"{place}-cut{parts}-{name}.npy") for name in ("starts", "rows")]
    if not all(file.exists() for file in files):
        built = build(codes, parts)
        for file, array in zip(files, (built.starts, built.rows), strict=True):
            np.save(file, array)
    return files


def _measured(
    codes: np.ndarray, asked: np.ndarray, folders: dict[int, list[Path]]
) -> dict[int, dict]:
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    ways = {}
    for parts, files in folders.items():
        tables = Tables(*(np.load(file, "r") for file in files))
        tables.rows.max()  # which maps them
        ways[parts] = Nearest(index, tables, None)
    milliseconds: dict[int, list[float]] = {parts: [] for parts in ways}
    found: dict[int, list[list[int]]] = {parts: [] for parts in ways}
    for start in range(0, len(asked), BLOCK):
        for parts, nearest in ways.items():
            for code in asked[start : start + BLOCK]:
                begin = time.thread_time()
                distances, _ = nearest.find(code, NEAREST)
                milliseconds[parts].append((time.thread_time() - begin) * 1e3)
                found[parts].append(np.sort(distances).tolist())
    if any(other != found[CUTS[0]] for other in found.values()):
        raise click.ClickException("the cuts find different rows")
    return {
        parts: {
            "queries": len(asked) - WARM_UP,
            "median_ms": round(float(np.median(times[WARM_UP:])), 4),
            "p99_ms": round(float(np.percentile(times[WARM_UP:], 99)), 4),
            "scanned": round(ways[parts].ways["scan"] / len(asked), 3),
        }
        for parts, times in milliseconds.items()
    }


if __name__ == "__main__":
    cuts()
