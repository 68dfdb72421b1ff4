"""What a search costs, beside what else there is: time against the number of rows.  The largest
sizes take an hour; run it from the root of the repository."""

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import faiss
import model_codes
import numpy as np
import record
import synthetic
from search_ways import (
    FLAT,
    FLOOR,
    OURS,
    OURS_FAST,
    USEARCH,
    WAYS,
    Answer,
    Way,
    find_usearch,
    flat_of,
    ways_of,
)

from efiss.commands.options import MODEL_PATH
from searcher import OpenVersion, columns, open_version
from searcher.publish import DEFAULT, FAST

SIZES = (100_000, 1_000_000, 10_000_000)
KINDS = ("clustered", "uniform", "model")
COUNTS = (10, 100, 1000)
FEWEST_QUERIES = 5
"""Even of the slowest way."""
WARM_UP = 50
"""Queries before those that are measured: they touch the files' pages for the first time."""
BLOCK = 25
"""Queries that one way is asked before the next."""
CHUNK = 500
"""Queries that are checked at a time."""


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
@click.option(
    "--codes",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    default=KINDS,
    show_default=True,
    help="Kind of codes; may be given repeatedly.",
)
@click.option(
    "--k",
    "counts",
    type=click.IntRange(1, 1000),
    multiple=True,
    default=COUNTS,
    show_default=True,
    help="Rows that are asked for; may be given repeatedly.",
)
@click.option(
    "--way",
    "names",
    type=click.Choice(WAYS),
    multiple=True,
    default=WAYS,
    help="Beside ours and FAISS flat; may be given repeatedly.  [default: all]",
)
@click.option(
    "--queries",
    type=click.IntRange(FEWEST_QUERIES),
    default=500,
    show_default=True,
    help="Queries of each way.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10,
    show_default=True,
    help="A way that takes longer for all queries is asked fewer.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    envvar="EFISS_DATA",
    help="Pictures for `model`, as for `efiss evaluate`; the demo's photographs without it.",
)
@click.option(
    "--version",
    "version",
    type=click.Path(exists=True, path_type=Path),
    help="A version's folder: take the codes for `model` from it.",
)
@MODEL_PATH
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that codes and versions are kept in for the next run.",
)
@click.option(
    "--check",
    type=click.IntRange(1),
    metavar="QUERIES",
    help="Only compare that many answers with FAISS flat's.",
)
@click.option(
    "--add", is_flag=True, help="Add to the results that are there; else they are replaced."
)
@record.OUT
def search(
    sizes: tuple[int, ...],
    kinds: tuple[str, ...],
    counts: tuple[int, ...],
    names: tuple[str, ...],
    queries: int,
    seconds: float,
    data: Path | None,
    version: Path | None,
    model_path: Path,
    keep: Path | None,
    check: int | None,
    add: bool,
    out: Path,
) -> None:
    """Measure a search among 64-bit codes, one query at a time on one thread, by that thread's
    time on its processor: what else the machine does is not in it.

    \b
    Ways, which take turns by 25 queries:
      ours                    a published version, opened; exact
      ours, unnecessary fast  the same of that index mode; approximate
      FAISS flat              IndexBinaryFlat, in memory, counting (use_heap = False)
      FAISS multi-hash        IndexBinaryMultiHash, 3 tables of 21 bits, nflip raised until the
                              answer is proved, else the flat index
      numpy                   bitwise_count and argpartition
      usearch exact           left out where usearch is not installed
      reading the codes       their sum: what the memory's bandwidth allows a scan

    \b
    Codes:
      clustered  50 around each of many centres, 6 % of bits flipped; queries 3 % from a row
      uniform    any code alike; nothing is near a query
      model      those of the model, for pictures (--data, --version or the demo's). For more rows
                 than pictures, pictures are taken repeatedly and 3 % of their bits flipped; queries
                 are pictures that are not in the index, unchanged

    Results go to search.json (with --check to search_check.json) and search.png.

    \b
    Examples:
      python benchmarks/search.py --size 100000 --codes uniform --k 10
      python benchmarks/search.py --data my_pictures --keep build/versions --size 10000000
      python benchmarks/search.py --keep build/versions --check 10000 --k 10
    """
    faiss.omp_set_num_threads(1)  # as the service has it
    pictures = None
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    if "model" in kinds:
        pictures = (
            model_codes.of_version(version)
            if version
            else model_codes.of_pictures(data, model_path, keep)
        )
    if not check and USEARCH in names and find_usearch() is None:
        click.echo("usearch is not installed and left out: pip install 'efiss-ai[bench]'")
    result = {"pictures": len(pictures[0]) if pictures else 0, "versions": [], "searches": []}
    name = "search_check" if check else "search"
    if add:
        result |= _earlier(out / f"{name}.json")
    for rows in sorted(sizes):
        for kind in kinds:
            codes, asked = _draw(kind, rows, WARM_UP + (check or queries), pictures, keep)
            modes = [DEFAULT, FAST] if OURS_FAST in names and not check else [DEFAULT]
            with _published(kind, codes, keep, modes) as folders:
                opened = {mode: _open(folder, codes) for mode, folder in folders.items()}
                about = {"rows": rows, "codes": kind}
                result["versions"] += [about | facts for _, facts in opened.values()]
                indexes = {mode: index for mode, (index, _) in opened.items()}
                if check:
                    done = _check(indexes[DEFAULT], codes, asked[WARM_UP:], counts)
                else:
                    ways = ways_of(indexes, codes, (OURS, FLAT, *names))
                    done = _measure(ways, indexes[DEFAULT], asked, counts, seconds)
                result["searches"] += [about | facts for facts in done]
                del opened, indexes
            record.save(out, name, result)  # now already: what follows may take an hour
    if not check:
        from search_plot import plot

        plot(result["searches"], out / "search.png")
    click.echo("\n" + (_check_table(result) if check else _table(result)))


def _earlier(path: Path) -> dict:
    """The results of an earlier run, and how that came about."""
    earlier = json.loads(path.read_text(encoding="utf-8"))
    own = {name: earlier.pop(name) for name in ("pictures", "versions", "searches")}
    return {"earlier": [*earlier.pop("earlier", []), earlier], **own}


# -- what is searched in ---------------------------------------------------------------------------


def _draw(
    kind: str, rows: int, queries: int, pictures, keep: Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 [rows, 8] and queries uint8 [queries, 8]; the same ones in every run."""
    _say(f"{rows:,} {kind} codes: drawing")
    if kind == "model":
        return model_codes.like(1, *pictures, rows, queries)
    return (
        synthetic.kept(keep, kind, rows, queries)
        if keep
        else synthetic.DRAWN[kind](1, rows, queries)
    )


@contextlib.contextmanager
def _published(
    kind: str, codes: np.ndarray, keep: Path | None, modes: list[str]
) -> Iterator[dict[str, Path]]:
    """The folder of a version in each mode: a new one, or one that was kept."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {}
        for mode in modes:
            root = (keep or Path(temporary)) / f"{kind}-{len(codes)}-{mode.replace(' ', '-')}"
            folders[mode] = root / "1.0.0"
            if not folders[mode].exists():
                _say(f"publishing a version in the mode {mode!r}")
                synthetic.published(root, "1.0.0", codes, mode)
        yield folders


def _open(folder: Path, codes: np.ndarray) -> tuple[OpenVersion, dict]:
    """An opened version of these codes, and what it took: seconds to open, bytes a row.  Its files
    are in memory, as those of a service that has run for a while."""
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        index = open_version(folder)
        seconds.append(time.perf_counter() - start)
    for row in np.linspace(0, len(codes) - 1, 100).astype(int):
        if not np.array_equal(index.code(row), codes[row]):
            raise click.ClickException(f"{folder.parent} was kept of other codes; remove it")
    manifest = index.manifest
    size = sum(file["bytes"] for name, file in manifest.files.items() if name != columns.PATHS)
    return index, {
        "index_mode": manifest.index_mode,
        **manifest.search,
        "open_seconds": round(float(np.median(seconds)), 4),
        "bytes_a_row": round(size / manifest.rows, 2),
        "bytes_of_paths_a_row": round(manifest.files[columns.PATHS]["bytes"] / manifest.rows, 2),
    }


# -- measuring -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Asked:
    """What a way answered, by the number of the query, and how long it took."""

    milliseconds: list[float] = dataclasses.field(default_factory=list)
    answers: dict[int, Answer] = dataclasses.field(default_factory=dict)


def _measure(
    ways: dict[str, Way], exact: OpenVersion, queries, counts, seconds: float
) -> Iterator[dict]:
    """Figures of every k and way.  exact: the version of OURS."""
    for k in counts:
        _say(f"k = {k}")
        warm_up, own = queries[:WARM_UP], queries[WARM_UP:]
        how_many = {
            name: _how_many(way, warm_up, k, len(own), seconds) for name, way in ways.items()
        }
        before = exact.ways
        asked = _in_turns(ways, own, k, how_many)
        proofs = {way: count - before.get(way, 0) for way, count in exact.ways.items()}
        median = {name: float(np.median(one.milliseconds)) for name, one in asked.items()}
        for name, one in asked.items():
            p99 = float(np.percentile(one.milliseconds, 99))
            yield {
                "k": k,
                "way": name,
                "queries": len(one.milliseconds),
                "median_ms": round(median[name], 4),
                "p99_ms": round(p99, 4) if len(one.milliseconds) >= 100 else None,
                "median_of_ours": round(median[name] / median[OURS], 2),
                **_right(name, one, asked[FLAT], k),
                **({"proved_by": _shares(proofs)} if name == OURS else {}),
            }


def _how_many(way: Way, warm_up: np.ndarray, k: int, most: int, seconds: float) -> int:
    """How many queries a way answers in that time, as far as a few tell."""
    took = []
    for query in warm_up[:, None]:
        start = time.thread_time()
        way(query, k)
        took.append(time.thread_time() - start)
        if sum(took) > seconds / 10:
            break
    return min(most, max(FEWEST_QUERIES, int(seconds / np.median(took))))


def _in_turns(
    ways: dict[str, Way], queries: np.ndarray, k: int, how_many: dict[str, int]
) -> dict[str, Asked]:
    """Ask a block of queries one way and then the next, so that whatever else the machine does
    strikes all of them, in another order every time; the slow ones are asked fewer of a block.
    Before a block one query is not counted: the way before has left the caches full of its own."""
    asked = {name: Asked() for name in ways}
    order = np.random.default_rng(0)
    for start in range(0, len(queries), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(queries)) + 1)
        for name in order.permutation(list(ways)):
            own = block[:-1][np.diff(block * how_many[name] // len(queries)) > 0].tolist()
            if own:
                ways[name](queries[start - 1][None], k)
            for i in own:
                begin = time.thread_time()
                answer = ways[name](queries[i][None], k)
                asked[name].milliseconds.append((time.thread_time() - begin) * 1e3)
                asked[name].answers[i] = answer
    return asked


def _right(name: str, own: Asked, truth: Asked, k: int) -> dict:
    """How right the answers are: of an approximate way its recall, of the others how many are
    wrong.  Ours must have FAISS's rows in its order, (distance, row); the others its distances."""
    if name in (FLAT, FLOOR):
        return {}
    both = [(own.answers[i], truth.answers[i]) for i in own.answers if i in truth.answers]
    if name == OURS_FAST:
        recalls = [(mine[1] <= true[1][-1]).mean() for mine, true in both]
        return {"compared": len(both), "recall": round(float(np.mean(recalls)), 4)}
    parts = (0, 1) if name == OURS else (1,)
    wrong = [any(not np.array_equal(mine[p], true[p]) for p in parts) for mine, true in both]
    return {"compared": len(both), "wrong": sum(wrong)}


def _check(
    index: OpenVersion, codes: np.ndarray, queries: np.ndarray, counts: tuple[int, ...]
) -> Iterator[dict]:
    """How many of our answers are not FAISS's; nothing is timed, so all cores are used."""
    flat = flat_of(codes)
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    for k in counts:
        wrong, before = 0, index.ways
        for start in range(0, len(queries), CHUNK):
            chunk = queries[start : start + CHUNK]
            distances, rows = flat.search(chunk, k)
            own_rows, own_distances = index.search(chunk, k)
            differs = (own_rows != rows) | (own_distances != distances)
            wrong += int(differs.any(axis=1).sum())
            _say(f"k = {k}: {start + len(chunk):,} queries, {wrong} wrong")
        proofs = {way: count - before.get(way, 0) for way, count in index.ways.items()}
        yield {
            "k": k,
            "queries": len(queries),
            "wrong": wrong,
            "proved_by": _shares(proofs),
        }


# -- telling ---------------------------------------------------------------------------------------


def _say(what: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {what}", err=True)


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {way: round(count / total, 4) for way, count in sorted(counts.items()) if count}


def _table(result: dict) -> str:
    lines = [
        f"{'rows':>11}  {'codes':9}  {'k':>5}  {'way':22}  {'queries':>7}  {'median ms':>9}  "
        f"{'p99 ms':>8}  {'of ours':>8}"
    ]
    for one in result["searches"]:
        p99 = "" if one["p99_ms"] is None else f"{one['p99_ms']:.3f}"
        lines.append(
            f"{one['rows']:11,}  {one['codes']:9}  {one['k']:5,}  {one['way']:22}  "
            f"{one['queries']:7,}  {one['median_ms']:9.3f}  {p99:>8}  "
            f"{one['median_of_ours']:7.2f}x  {_remark(one)}"
        )
    lines.append("")
    lines += [
        f"{one['rows']:11,}  {one['codes']:9}  {one['index_mode']:16}  "
        f"opened in {one['open_seconds'] * 1e3:.1f} ms, {one['bytes_a_row']} bytes a row and "
        f"{one['bytes_of_paths_a_row']} of its path"
        for one in result["versions"]
    ]
    return "\n".join(lines)


def _check_table(result: dict) -> str:
    return "\n".join(
        f"{one['rows']:11,}  {one['codes']:9}  {one['k']:5,}  {one['wrong']} wrong answers in "
        f"{one['queries']:,}  ({_proofs(one)})"
        for one in result["searches"]
    )


def _remark(one: dict) -> str:
    if "recall" in one:
        return f"recall {one['recall']:.3f}"
    wrong = f"{one['wrong']} wrong" if one.get("wrong") else ""
    return ", ".join(part for part in (wrong, _proofs(one)) if part)


def _proofs(one: dict) -> str:
    return ", ".join(f"{way} {share:.0%}" for way, share in one.get("proved_by", {}).items())


if __name__ == "__main__":
    search()
