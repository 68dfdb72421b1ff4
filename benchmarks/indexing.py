"""What indexing costs: pictures a second, beside what decoding and the model reach alone; and the
seconds that a catalogue takes in which nothing is new.  Minutes; run it from the root of the
repository."""

import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import record
import torch
from PIL import Image

from efiss.commands.options import DEVICE, MODEL_PATH, NUM_WORKERS
from hashing.files import hash_files
from hashing.formats import SUFFIXES
from hashing.model import Model, find_model
from indexer.pipeline import Order, index_catalogue
from machine.settings import BATCH_SIZE, max_pixels
from photographs import catalogue

DECODE, MODEL, BOTH = "decoding alone", "the model alone", "both, as indexed"
LINKS = 30_000
"""Names of one file; file systems allow some 65,000."""


@click.command()
@MODEL_PATH
@DEVICE
@NUM_WORKERS
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of pictures; the demo's photographs without it.",
)
@click.option(
    "--pictures",
    type=click.IntRange(1),
    default=640,
    show_default=True,
    help="How many; of those in --data the first ones.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--lines",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Also index a list of so many tiny files twice; 1000000 takes minutes and 3 GB.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of another commit: compare it with this one, and measure nothing else.",
)
@record.OUT
def indexing(
    model_path: Path,
    device: str,
    workers: int,
    data: Path | None,
    pictures: int,
    rounds: int,
    lines: int,
    against: Path | None,
    out: Path,
) -> None:
    """Measure how fast pictures become codes, and how fast a list in which nothing is new.

    \b
    The three ways take turns, on the same pictures with the same threads:
      decoding alone    read, digest, decode, resize
      the model alone   whole batches of decoded pictures
      both, as indexed  what `efiss index` does
    "of the slower" is the last against the slower of the two others. Where decoding and model share
    the same cores it cannot reach 1: a picture costs the time of both. "of the cores' time" is
    against that sum. The figures are medians over the rounds.

    With --against this checkout and another one take turns at the last way, a process each.

    \b
    Examples:
      python benchmarks/indexing.py
      python benchmarks/indexing.py --data data/abc.com --rounds 3 --lines 1000000
      git worktree add ../before COMMIT && python benchmarks/indexing.py --against ../before
    """
    if against:
        order = {
            "paths": [str(Path(path).resolve()) for path in _pictures(data, pictures)],
            "model_path": str(find_model(model_path).resolve()),
            "device": device,
            "workers": workers,
        }
        values = _compared(order, [against, Path.cwd()], rounds)
        click.echo(f"written: {record.save(out, 'indexing_against', values)}")
        return
    model = Model.load(model_path, device, workers)
    with tempfile.TemporaryDirectory(prefix="efiss-") as folder:
        paths = _pictures(data, pictures)
        click.echo(f"{len(paths)} pictures, {workers} threads, {device}")
        throughput = _throughput(model, paths, workers, rounds)
        values = {"device": device, "workers": workers, "throughput": throughput}
        if lines:
            values["nothing_new"] = _nothing_new(
                Path(folder), lines, find_model(model_path), workers
            )
    click.echo(f"written: {record.save(out, 'indexing', values)}")


def _pictures(data: Path | None, count: int) -> list[str]:
    """Paths of pictures: the first of `data`, as many as there are up to count, or the demo's
    photographs, as often as it takes."""
    if data is None:
        files = [str(one.photograph.file) for one in catalogue() if not one.is_detail]
        return list(itertools.islice(itertools.cycle(files), count))
    found = sorted(str(path) for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise click.ClickException(f"{data} holds no picture ({', '.join(SUFFIXES)})")
    return found[:count]


# -- throughput ----------------------------------------------------------------------------------


def _throughput(model: Model, paths: list[str], workers: int, rounds: int) -> dict:
    torch.set_num_threads(1)  # as `efiss index` has it
    batches = _decoded(model, paths[: 8 * BATCH_SIZE])
    whole = len(paths) - len(paths) % BATCH_SIZE or len(paths)
    ways: dict[str, Callable] = {
        DECODE: lambda: _on_all_cores(
            lambda path: model.pixels(_read(path), max_pixels()), paths[:whole], workers
        ),
        MODEL: lambda: _on_all_cores(
            model.codes,
            (batches[i % len(batches)] for i in range(-(-whole // BATCH_SIZE))),
            workers,
        ),
        BOTH: lambda: deque(
            hash_files(paths[:whole], model, workers=workers, max_pixels=max_pixels()), maxlen=0
        ),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(1 + rounds):  # the first one to warm up
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[way].append(time.perf_counter() - start)
    rates = {way: whole / statistics.median(own) for way, own in seconds.items()}
    slower = min(rates[DECODE], rates[MODEL])
    ceiling = 1 / (1 / rates[DECODE] + 1 / rates[MODEL])
    for way, own in seconds.items():
        spread = f"{whole / max(own):.1f} to {whole / min(own):.1f}"
        click.echo(f"{way:18} {rates[way]:8.1f} pictures/s   ({spread})")
    click.echo(f"of the slower      {rates[BOTH] / slower:8.2f}")
    click.echo(f"of the cores' time {rates[BOTH] / ceiling:8.2f}")
    return {
        "pictures": whole,
        "rounds": rounds,
        "pictures_a_second": {way: round(rate, 2) for way, rate in rates.items()},
        "seconds": {way: [round(one, 4) for one in own] for way, own in seconds.items()},
        "of_the_slower": round(rates[BOTH] / slower, 3),
        "of_the_cores_time": round(rates[BOTH] / ceiling, 3),
    }


def _on_all_cores(function: Callable, items: Iterable, workers: int) -> None:
    with ThreadPoolExecutor(workers) as pool:
        deque(pool.map(function, items), maxlen=0)


def _read(path: str) -> bytes:
    data = Path(path).read_bytes()
    hashlib.sha256(data).digest()
    return data


def _decoded(model: Model, paths: list[str]) -> list[np.ndarray]:
    """Whole batches of model input: uint8 [BATCH_SIZE, size, size, 3] each."""
    pixels = [model.pixels(Path(path).read_bytes(), max_pixels()) for path in paths]
    return [
        np.stack([pixels[(start + i) % len(pixels)] for i in range(BATCH_SIZE)])
        for start in range(0, len(pixels), BATCH_SIZE)
    ]


# -- two commits ---------------------------------------------------------------------------------


def _compared(order: dict, checkouts: list[Path], rounds: int) -> dict:
    """Seconds and CPU seconds of the first and the second checkout, turn by turn, and how many
    times as fast the second is: the median over the turns."""
    processes = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("turns.py")],
            env=os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for checkout in checkouts
    ]
    for process in processes:
        assert process.stdin  # a pipe, as was asked for
        print(json.dumps(order), file=process.stdin, flush=True)
    turns = [[_turn(process) for process in processes] for _ in range(1 + rounds)]
    taken = np.array(turns[1:])  # the first one to warm up
    for process in processes:
        process.communicate()
    count = len(order["paths"])
    for name, one in zip(("the other", "this one"), taken.swapaxes(0, 1), strict=True):
        seconds, cpu = np.median(one, axis=0)
        rate, each = count / seconds, 1e3 * cpu / count
        click.echo(f"{name:10} {rate:8.1f} pictures/s   {each:6.2f} ms of a core each")
    ratios = np.median(taken[:, 0] / taken[:, 1], axis=0)
    click.echo(
        f"this one is {ratios[0]:.2f} times as fast, by the time of the cores {ratios[1]:.2f}"
    )
    return {
        "pictures": count,
        "workers": order["workers"],
        "device": order["device"],
        "times_as_fast": round(ratios[0], 3),
        "times_as_fast_by_cpu": round(ratios[1], 3),
        "seconds_and_cpu_seconds": taken.round(4).tolist(),
    }


def _turn(process: subprocess.Popen) -> list[float]:
    assert process.stdin and process.stdout
    print(file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


# -- a list in which nothing is new --------------------------------------------------------------


def _nothing_new(folder: Path, lines: int, model: Path, workers: int) -> dict:
    click.echo(f"making {lines:,} files …", err=True)
    database = folder / "database_info.txt"
    paths = _many_files(folder, lines)
    database.write_text("".join(f"{path}\n" for path in paths))
    values = {}
    for version, name in (("1.0.0", "first"), ("1.1.0", "again")):
        order = Order(
            database=database,
            model_path=model,
            device="cpu",
            version=version,
            index_root=folder / "index",
            workers=workers,
            batch_size=BATCH_SIZE,
            max_pixels=max_pixels(),
        )
        start = time.perf_counter()
        summary = index_catalogue(order)
        values[f"{name}_seconds"] = round(time.perf_counter() - start, 4)
    if summary.unchanged != lines:
        raise click.ClickException(f"only {summary.unchanged} of {lines} files were unchanged")
    start = time.perf_counter()
    for path in paths:
        os.stat(path)
    values |= {"lines": lines, "stat_seconds": round(time.perf_counter() - start, 4)}
    click.echo(
        f"{lines:,} lines: first {values['first_seconds']:.1f} s, with nothing new "
        f"{values['again_seconds']:.1f} s; os.stat alone, one thread {values['stat_seconds']:.1f} s"
    )
    return values


def _many_files(folder: Path, lines: int) -> list[str]:
    """Names of the same small picture, 1,000 a folder."""
    paths = []
    for number in range(lines):
        if number % LINKS == 0:
            original = folder / f"original-{number}.jpg"
            Image.new("RGB", (16, 16), "teal").save(original)
            os.utime(original, (1e9, 1e9))
        shop = f"{folder}/data/{number // 1000}.com"
        if number % 1000 == 0:
            os.makedirs(shop)
        paths.append(f"{shop}/{number}_{number // 1000}_com.jpg")
        os.link(original, paths[-1])
    return paths


if __name__ == "__main__":
    indexing()
