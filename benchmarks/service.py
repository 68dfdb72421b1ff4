"""How long the running service takes to answer: codes and pictures, one client or several.  Some
minutes; run it from the root of the repository."""

import base64
import http.client
import io
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np
import record
import synthetic
from PIL import Image

from efiss.commands.options import MODEL_PATH
from efiss_client import PATH
from hashing.model import find_model
from machine.container import available_cores
from photographs import queries
from searcher.index import Index
from searcher.publish import DEFAULT
from serving.archive import write_archive
from serving.service import Service
from serving.settings import Settings

WARM_UP = 500
"""Requests before those that are measured: Java compiles what it runs often."""


@click.command()
@MODEL_PATH
@click.option("--rows", type=click.IntRange(1000), default=1_000_000, show_default=True)
@click.option("--queries", type=click.IntRange(10), default=500, show_default=True)
@click.option("--clients", type=click.IntRange(1), multiple=True, default=(1, 8), show_default=True)
@record.OUT
def service(model_path: Path, rows: int, queries: int, clients: tuple[int, ...], out: Path) -> None:
    """Serve an index of clustered codes by TorchServe and measure its answers.

    \b
    Columns: requests a second, and milliseconds a request at the median and the 99th percentile, by
    connections that are kept open. Requests:
      ping   TorchServe alone, without a worker: the floor
      code   a code of the catalogue with a few bits flipped
      image  a photograph, JPEG of 480x640 pixels

    \b
    Example:
      python benchmarks/service.py --rows 100000 --queries 200
    """
    with tempfile.TemporaryDirectory(prefix="efiss-") as name:
        folder = Path(name)
        codes, asked = synthetic.clustered(0, rows, 1000)
        model = find_model(model_path)
        synthetic.published(folder / "index", "0.0.1", codes[:10], DEFAULT, model)  # in the archive
        synthetic.published(folder / "index", "1.0.0", codes, DEFAULT, model)
        Index(folder / "index").activate("1.0.0")
        write_archive(Index(folder / "index"), "0.0.1", folder / "store")
        settings = Settings.from_environment()
        requests = {"ping": [None], "code": _code_requests(asked), "image": image_requests()}
        figures = []
        with Service(
            settings, Path("config.properties"), folder / "store", folder / "index", _log(folder)
        ) as running:
            running.wait_until_ready()
            click.echo(f"{rows:,} rows, {settings.workers} workers, {available_cores()} cores")
            click.echo("request  clients  requests/s  median ms  p99 ms")
            for kind, bodies in requests.items():
                for count in clients:
                    _measure(settings.port, bodies, WARM_UP, count)
                    seconds, times = _measure(settings.port, bodies, queries, count)
                    median, p99 = np.percentile(times, [50, 99]) * 1000
                    rate = len(times) / seconds
                    click.echo(f"{kind:7}  {count:7}  {rate:10.0f}  {median:9.2f}  {p99:6.2f}")
                    figures.append(
                        {"request": kind, "clients": count, "rate": rate, "median_ms": median,
                         "p99_ms": p99}
                    )  # fmt: skip
        record.save(out, "service", {"rows": rows, "figures": figures})


def _code_requests(queries: np.ndarray) -> list[bytes]:
    return [json.dumps({"code": query.tobytes().hex()}).encode() for query in queries]


def image_requests() -> list[bytes]:
    """The demo's questions."""
    bodies = []
    for photograph in queries():
        file = io.BytesIO()
        with Image.open(photograph.file) as image:
            image.resize((480, 640)).save(file, "JPEG", quality=85)
        bodies.append(json.dumps({"image": base64.b64encode(file.getvalue()).decode()}).encode())
    return bodies


def _measure(port: int, bodies: list, count: int, clients: int) -> tuple[float, list[float]]:
    """Seconds in all and of every request, so many in all; None for a body asks for the ping."""
    times: list[float] = []

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        for number in range(first, count, clients):
            body = bodies[number % len(bodies)]
            start = time.perf_counter()
            if body is None:
                connection.request("GET", "/ping")
            else:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - start)
            if answer.status != 200:
                raise RuntimeError(f"the service answered {answer.status}")

    threads = [threading.Thread(target=ask, args=[first]) for first in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) < count:
        raise click.ClickException("requests failed; see above")
    return time.perf_counter() - start, times


def _log(folder: Path):
    return open(folder / "service.log", "w")


if __name__ == "__main__":
    os.environ.setdefault("EFISS_PORT", "6900")
    service()
