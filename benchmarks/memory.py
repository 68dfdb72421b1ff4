"""What a worker's memory costs: private and shared, with one version open and with two.  Minutes,
most of them to make two versions; run it from the root of the repository."""

import contextlib
import gc
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import click
import faiss
import numpy as np
import record
import synthetic

from efiss.commands.options import MODEL_PATH
from hashing.codes import CODE_BYTES
from searcher import OpenVersion, open_version
from searcher.publish import DEFAULT

COUNTS = (10, 1000)
"""Rows that are asked for, in turn."""
STEPS = (
    "started",
    "one version open",
    "and answering",
    "second opened as well",
    "and answering",
    "first one dropped",
)


@click.command()
@click.option(
    "--rows", type=click.IntRange(1000), default=10_000_000, show_default=True, help="Of a version."
)
@click.option(
    "--version",
    "folders",
    type=click.Path(exists=True, path_type=Path),
    nargs=2,
    help="The folders of two versions, to open these.",
)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
@click.option("--queries", type=click.IntRange(1), default=400, show_default=True)
@MODEL_PATH
@record.OUT
def memory(
    rows: int,
    folders: tuple[Path, Path] | None,
    processes: int,
    queries: int,
    model_path: Path,
    out: Path,
) -> None:
    """Measure the memory of processes that open a version and answer from it, as the workers of the
    service do, at first without a model and then with one; they do each step at the same time.

    \b
    Columns, of every process and step:
      private  MB that no other process has mapped (USS)
      cache    of these, pages of files, which the system drops when it needs the memory
      shared   MB that another process has mapped too: the files of the version, and libraries
      beyond   private MB beyond the process just started, with the model loaded
      seconds  the step took

    Half of the queries are near a row and half are not, so that all ways of searching are gone.
    Results go to memory.json.

    \b
    Examples:
      python benchmarks/memory.py --rows 100000
      python benchmarks/memory.py --version index/1.5.0 index/1.6.0
    """
    with tempfile.TemporaryDirectory() as temporary:
        if not folders:
            folders = _publish(Path(temporary), rows)
        sizes = [open_version(folder).manifest.rows for folder in folders]
        click.echo(f"two versions of {sizes[0]:,} and {sizes[1]:,} rows, {queries} queries of each")
        result = {"rows": sizes, "queries": queries, "runs": []}
        for model in (None, model_path):
            taken = _run(folders, model, processes, queries)
            steps = [
                {"step": step, "processes": own} for step, own in zip(STEPS, taken, strict=True)
            ]
            result["runs"].append({"model": bool(model), "steps": steps})
            click.echo(f"\n{'with the model' if model else 'without a model'}\n{_table(taken)}")
    record.save(out, "memory", result)


def _publish(root: Path, rows: int) -> tuple[Path, Path]:
    """Two versions of as many rows each, of other codes."""
    folders = []
    for number in (1, 2):
        click.echo(f"publishing version {number} of 2", err=True)
        codes, _ = synthetic.clustered(number, rows, 1)
        folders.append(synthetic.published(root, f"{number}.0.0", codes, DEFAULT))
    return tuple(folders)


def _run(
    folders: tuple[Path, Path], model: Path | None, processes: int, queries: int
) -> list[list[dict]]:
    """Memory after each step, of each process."""
    context = multiprocessing.get_context("spawn")  # as workers start: nothing is inherited
    ends, workers = [], []
    for number in range(processes):
        own, other = context.Pipe()
        worker = context.Process(target=_worker, args=(other, number, folders, model, queries))
        worker.start()
        ends.append(own)
        workers.append(worker)
        other.close()
    taken = []
    try:
        for _ in STEPS:
            for end in ends:
                end.send("do the next step")
            seconds = [end.recv() for end in ends]
            for end in ends:
                end.send("measure")  # when all of them have done it
            taken.append(
                [
                    {"seconds": round(time, 4), **end.recv()}
                    for time, end in zip(seconds, ends, strict=True)
                ]
            )
    finally:
        for end in ends:
            end.close()
        for worker in workers:
            worker.join()
    return taken


# -- a worker --------------------------------------------------------------------------------------


def _worker(
    end: Connection, seed: int, folders: tuple[Path, Path], model: Path | None, queries: int
) -> None:
    """Go through the steps, each at a word of the parent; answers with the seconds it took and,
    at another word, with the memory."""
    faiss.omp_set_num_threads(1)  # as the service has it
    random = np.random.default_rng(seed)
    held: dict[str, object] = {}

    def start():
        if model:
            held["model"] = _loaded(model)

    def open_first():
        held["first"] = open_version(folders[0])

    def open_second():
        held["second"] = open_version(folders[1])

    def ask():
        for name in ("first", "second"):
            if name in held:
                _ask(held[name], random, queries)

    def drop_first():
        del held["first"]
        gc.collect()

    for step in (start, open_first, ask, open_second, ask, drop_first):
        end.recv()
        before = time.perf_counter()
        step()
        end.send(time.perf_counter() - before)
        end.recv()
        end.send(_memory())
    with contextlib.suppress(EOFError):
        end.recv()  # until all have measured: what this process maps is shared with the others


def _loaded(path: Path):
    """The model, after its first pictures: it takes its memory with them."""
    import torch

    from hashing.model import Model

    torch.set_num_threads(1)  # as the service has it
    model = Model.load(path)
    for _ in range(10):
        model.codes(np.zeros((1, model.sidecar.input_size, model.sidecar.input_size, 3), np.uint8))
    return model


def _ask(index: OpenVersion, random: np.random.Generator, queries: int) -> None:
    for number in range(queries):
        if number % 2:
            query = random.integers(0, 256, (1, CODE_BYTES), np.uint8)
        else:
            row = index.code(int(random.integers(index.manifest.rows)))
            query = synthetic.flip(random, row[None], synthetic.AWAY)
        rows, _ = index.search(query, COUNTS[number // 2 % len(COUNTS)])
        index.path(int(rows[0, 0]))


def _memory() -> dict[str, float]:
    """Memory of this process in MB, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    clean, dirty = kb["Private_Clean"], kb["Private_Dirty"]
    return {
        "private_mb": _mb(clean + dirty),
        "private_cache_mb": _mb(clean),
        "shared_mb": _mb(kb["Rss"] - clean - dirty),
    }


def _mb(kb: int) -> float:
    return round(kb * 1024 / 1e6, 1)


# -- telling ---------------------------------------------------------------------------------------


def _table(taken: list[list[dict]]) -> str:
    names = ("private", "cache", "shared", "beyond", "seconds")
    lines = [f"{'step':22}  process" + "".join(f"{name:>10}" for name in names)]
    for step, of_processes in zip(STEPS, taken, strict=True):
        for number, (one, first) in enumerate(zip(of_processes, taken[0], strict=True)):
            private = one["private_mb"]
            values = (private, one["private_cache_mb"], one["shared_mb"])
            values += (private - first["private_mb"],)
            lines.append(
                f"{'' if number else step:22}  {number + 1:7}"
                + "".join(f"{value:10.1f}" for value in values)
                + f"{one['seconds']:10.3f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    memory()
