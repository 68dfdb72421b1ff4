"""The served path with large photos: requests a second of the running service beside what its
handler reaches without HTTP, the original's steps and settings, and other commits or settings.
Minutes; run it from the root of the repository."""

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
import record
import served_load
import served_plot
from in_process import requests_a_second
from PIL import Image
from soak_watch import Watch

from efiss.commands.options import MODEL_PATH
from efiss_client import PATH
from hashing.model import find_model
from machine.container import available_cores
from machine.processes import end_with_parent
from photographs import catalogue, queries
from searcher.version import FAISS_INDEX
from serving.java import find_java

PHOTOS, SIDE, QUALITY = 64, 1600, 88
START_SECONDS = 180
PAUSE_SECONDS = 0.2
THIS, IN_PROCESS, ORIGINAL = "this", "in process", "original"
VERSION = "1.0.0"


@click.command()
@MODEL_PATH
@click.option("--clients", type=click.IntRange(1), multiple=True, default=(1, 8, 32),
              show_default=True)  # fmt: skip
@click.option("--form", "forms", type=click.Choice(["json", "bytes"]), multiple=True,
              default=("json", "bytes"), show_default=True)  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=4.0, show_default=True,
              help="Of one server's turn.")  # fmt: skip
@click.option("--warm-up", type=click.FloatRange(0.1), default=10.0, show_default=True,
              help="Seconds in which every server is asked before, in each form.")  # fmt: skip
@click.option("--without", type=click.Choice([IN_PROCESS, ORIGINAL]), multiple=True)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A checkout of another commit, to be served beside this one.",
)
@click.option(
    "--settings",
    multiple=True,
    metavar="'NAME=VALUE …'",
    help="Serve this checkout with these environment variables as well.",
)
@record.OUT
def served(
    model_path: Path,
    clients: tuple[int, ...],
    forms: tuple[str, ...],
    rounds: int,
    seconds: float,
    warm_up: float,
    without: tuple[str, ...],
    against: tuple[Path, ...],
    settings: tuple[str, ...],
    out: Path,
) -> None:
    """Serve a small index and ask with 64 photos of 1600 pixels.

    \b
    All servers run at once and take turns, so that what else the machine does meets them alike:
      this        this checkout as `efiss serve` runs it
      in process  its handler without HTTP, a process a core: what can be reached
      original    photos decoded whole, TorchScript, one worker, batches of 4 within 100 ms
    Columns: requests a second, milliseconds a request at the median and the 99th percentile, and
    the time of cores that the server's processes took for one. Medians over the rounds.

    \b
    Examples:
      python benchmarks/served.py
      git worktree add ../before COMMIT && python benchmarks/served.py --against ../before
      python benchmarks/served.py --clients 8 --settings "EFISS_BATCH_SIZE=4 EFISS_WORKERS=3"
    """
    model = find_model(model_path).resolve()
    photos = _photos()
    json_bodies = [
        json.dumps({"image": base64.b64encode(photo).decode(), "top_k": 10}).encode()
        for photo in photos
    ]
    bodies = {
        "json": ("application/json", json_bodies),
        "bytes": ("application/octet-stream", photos),
    }
    here = Path.cwd()
    sides: dict[str, tuple[Path, dict[str, str]]] = {THIS: (here, {})}
    sides |= {one: (here, dict(pair.split("=", 1) for pair in one.split())) for one in settings}
    sides |= {one.name: (one.resolve(), {}) for one in against}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="efiss-")))
        load = running.enter_context(served_load.process(bodies))
        servers: dict[str, tuple[int, Watch]] = {}
        for number, (name, (checkout, environment)) in enumerate(sides.items()):
            own = folder / str(number)
            _prepare(own, checkout, model)
            servers[name] = running.enter_context(_served(own, checkout, environment))
        if ORIGINAL not in without:
            servers[ORIGINAL] = running.enter_context(_original(folder, model))
        taken = {
            name: [form for form in forms if _takes(port, *bodies[form])]
            for name, (port, _) in servers.items()
        }
        for name, (port, _) in servers.items():  # Java compiles what it runs often
            for form in taken[name]:
                load.submit(served_load.times, port, form, 8, warm_up).result()
        turns = []
        for number in range(rounds):
            for form in forms:
                for count in clients:
                    turns += [
                        _turn(load, name, server, form, count, seconds)
                        for name, server in servers.items()
                        if form in taken[name]
                    ]
                if IN_PROCESS not in without:
                    turns.append(_turn_without(folder / "0" / "index", form, bodies, seconds))
            click.echo(f"round {number + 1} of {rounds}", err=True)
    figures = _medians(turns)
    _show(figures)
    values = {
        "photos": len(photos),
        "json_kb": round(sum(map(len, json_bodies)) / len(photos) / 1000),
        "rounds": rounds,
        "seconds": seconds,
        "figures": figures,
        "turns": turns,
    }
    click.echo(f"written: {record.save(out, 'served', values)}")
    served_plot.plot(figures, out / "served.png")


def _photos() -> list[bytes]:
    """JPEG files of the demo's photographs, the longer side 1600 pixels, about 180 KB each."""
    photos = []
    for picture in [one for one in catalogue() if not one.is_detail][:PHOTOS]:
        file = io.BytesIO()
        with Image.open(picture.photograph.file) as image:
            k = SIDE / max(image.size)
            large = image.resize((round(k * image.width), round(k * image.height)))
        large.save(file, "JPEG", quality=QUALITY)
        photos.append(file.getvalue())
    return photos


# -- servers -------------------------------------------------------------------------------------


def _prepare(folder: Path, checkout: Path, model: Path) -> None:
    """Index the demo's questions there and pack the archive, by the checkout's program."""
    folder.mkdir()
    paths = [one.file.resolve() for one in queries()]
    (folder / "database_info.txt").write_text("".join(f"{path}\n" for path in paths))
    for command in (
        ["index", "--new_index_database_version", VERSION, "--model_path", model],
        ["activate", VERSION],
        ["archive", "--index_version", VERSION],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "efiss", *command],
            cwd=folder, env=_environment(checkout), text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            raise click.ClickException(f"{checkout}: {done.stderr}")


@contextlib.contextmanager
def _served(
    folder: Path, checkout: Path, environment: dict[str, str]
) -> Iterator[tuple[int, Watch]]:
    """The port of `efiss serve`, and its processes."""
    port = _free_port()
    own = {"EFISS_PORT": str(port), "EFISS_HOST": "127.0.0.1", **environment}
    command = [sys.executable, "-m", "efiss", "serve", "--config", checkout / "config.properties"]
    with _process(command, folder, _environment(checkout) | own) as watch:
        _wait_for(f"http://127.0.0.1:{port}{PATH}", folder)
        yield port, watch


@contextlib.contextmanager
def _original(folder: Path, model: Path) -> Iterator[tuple[int, Watch]]:
    """TorchServe as it is started without us, with the original's steps and settings."""
    own = folder / "original"
    own.mkdir()
    port = _free_port()
    shutil.copyfile(model, own / "original.pt")
    shutil.copyfile(model.with_suffix(".json"), own / "original.json")
    shutil.copyfile(folder / "0" / "index" / VERSION / FAISS_INDEX, own / "original.bin")
    subprocess.run(
        [sys.executable, "-m", "model_archiver.model_packaging",
         "--model-name", "image-retrieval-v1.0", "--version", "1.0",
         "--handler", Path(__file__).with_name("served_original.py"),
         "--extra-files", f"{own}/original.pt,{own}/original.json,{own}/original.bin",
         "--export-path", own],
        check=True, capture_output=True, env=os.environ | {"TMPDIR": str(own)},
    )  # fmt: skip
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 4, "maxBatchDelay": 100,
                "defaultVersion": True, "marName": "image-retrieval-v1.0.mar"}  # fmt: skip
    properties = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{port + 1}",
        "metrics_address": f"http://127.0.0.1:{port + 2}",
        "grpc_inference_port": port + 3,
        "grpc_management_port": port + 4,
        "disable_token_authorization": "true",
        "model_store": own,
        "load_models": "image-retrieval-v1.0.mar",
        "models": json.dumps({"image-retrieval-v1.0": {"1.0": settings}}),
    }
    config = own / "config.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs",
               "--ts-config", config]  # fmt: skip
    environment = os.environ | {
        "JAVA_HOME": str(find_java().resolve().parents[1]),
        "TMPDIR": str(own),
        "TEMP": str(own),
        "LOG_LOCATION": str(own),
        "METRICS_LOCATION": str(own),
    }
    environment.pop("OMP_NUM_THREADS", None)
    with _process(command, own, environment) as watch:
        _wait_for(f"http://127.0.0.1:{port}/ping", own)
        yield port, watch


@contextlib.contextmanager
def _process(command: list, folder: Path, environment: dict[str, str]) -> Iterator[Watch]:
    """A process in a session of its own, which ends with it."""
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, start_new_session=True,
            preexec_fn=end_with_parent, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield Watch([process.pid])
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(checkout: Path) -> dict[str, str]:
    """Without settings of ours."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("EFISS_")}
    own.pop("OMP_NUM_THREADS", None)
    return own | {"PYTHONPATH": str(checkout)}


def _wait_for(url: str, folder: Path) -> None:
    """Until a search or a ping is answered."""
    body = b'{"code": "0000000000000000"}' if url.endswith(PATH) else None
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):
            return
        time.sleep(0.2)
    raise click.ClickException(f"it did not start:\n{(folder / 'log').read_text()[-2000:]}")


def _free_port() -> int:
    """The first of six that are free."""
    for first in range(16000, 30000, 10):
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_ones:
            for port in range(first, first + 6):
                open_ones.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise click.ClickException("no six ports in a row are free")


# -- figures -------------------------------------------------------------------------------------


def _takes(port: int, content_type: str, bodies: list[bytes]) -> bool:
    """Whether the server answers bodies of this form; the original and some commits take no photo
    as it is."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{PATH}", bodies[0], {"Content-Type": content_type}
    )
    try:
        with urllib.request.urlopen(request, timeout=60):
            return True
    except urllib.error.HTTPError:
        return False


def _turn(
    load: ProcessPoolExecutor,
    name: str,
    server: tuple[int, Watch],
    form: str,
    clients: int,
    seconds: float,
) -> dict:
    port, watch = server
    time.sleep(PAUSE_SECONDS)
    cpu = watch.cpu_seconds()
    taken, times = load.submit(served_load.times, port, form, clients, seconds).result()
    cpu = watch.cpu_seconds() - cpu
    median, p99 = np.percentile(times, [50, 99]) * 1000
    return {
        "server": name,
        "form": form,
        "clients": clients,
        "rate": round(len(times) / taken, 2),
        "median_ms": round(median, 2),
        "p99_ms": round(p99, 2),
        "cpu_ms": round(1e3 * cpu / len(times), 2),
    }


def _turn_without(
    index_root: Path, form: str, bodies: dict[str, tuple[str, list[bytes]]], seconds: float
) -> dict:
    """Without HTTP."""
    processes = available_cores()
    rate, cpu = requests_a_second(index_root, bodies[form][1], processes, seconds)
    return {
        "server": IN_PROCESS,
        "form": form,
        "clients": processes,
        "rate": round(rate, 2),
        "cpu_ms": round(1e3 * cpu, 2),
    }


def _medians(turns: list[dict]) -> list[dict]:
    """A figure for every server, form and number of clients."""
    groups: dict[tuple, list[dict]] = {}
    for turn in turns:
        groups.setdefault((turn["form"], turn["clients"], turn["server"]), []).append(turn)
    return [
        {
            name: value if name in ("server", "form", "clients")
            else round(statistics.median(turn[name] for turn in own), 2)
            for name, value in own[0].items()
        }
        for _, own in sorted(groups.items(), key=lambda one: one[0][:2])
    ]  # fmt: skip


def _show(figures: list[dict]) -> None:
    click.echo("form   clients  server                requests/s  median ms   p99 ms   CPU ms")
    for one in figures:
        times = "".join(
            f"{one[of]:9.1f}" if of in one else 9 * " " for of in ("median_ms", "p99_ms", "cpu_ms")
        )
        click.echo(
            f"{one['form']:5}  {one['clients']:7}  {one['server'][-20:]:20}  {one['rate']:10.1f}"
            f"  {times}"
        )


if __name__ == "__main__":
    served()
