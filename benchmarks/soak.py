"""Whether strangers can make the service slow, large or absent: thousands of hostile requests, and
good clients beside them.  A quarter of an hour; run it from the root of the repository."""

import asyncio
import base64
import contextlib
import functools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import httpx
import record
from soak_pictures import formats, large_photograph, photograph
from soak_report import Storm, budgets, figures, show
from soak_requests import Hostile, draw
from soak_sending import Outcome, Place, Question, answer_of, ask_on, send, send_all
from soak_watch import Reading, Watch

from efiss_client import Client, ServiceError
from machine import settings
from photographs import queries
from serving.archive import write_archive

ROOT = Path(__file__).resolve().parents[1]
GOOD_CLIENTS = 4
QUIET_SECONDS = 8
"""How long good clients are alone, for what a question of theirs costs."""
REST_SECONDS, SETTLE_SECONDS = 45, 25
"""Until a service at rest does nothing more, at most; and until it has given memory back."""
ORDINARY_ROUNDS, LARGE_BODY = 8, 24_000_000


@click.command()
@click.option("--requests", type=click.IntRange(1), default=10_000, show_default=True)
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=15,
    show_default=True,
    help="After so long no more are sent.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other requests.")
@click.option(
    "--replay",
    type=click.IntRange(0),
    metavar="N",
    help="Send request N of the seed alone, and say what it cost.",
)
@click.option(
    "--within",
    type=click.FloatRange(0.1),
    default=3,
    show_default=True,
    help="Seconds that a good client may wait.",
)
@click.option("--admin", is_flag=True, help="Send to an `efiss admin` as well.")
@click.option(
    "--url", help="Of a service that runs; else one is started with the demo's catalogue."
)
@click.option(
    "--pid", type=int, help="The process of that service; those below it are watched too."
)
@record.OUT
def soak(
    requests: int,
    minutes: float,
    seed: int,
    replay: int | None,
    within: float,
    admin: bool,
    url: str | None,
    pid: int | None,
    out: Path,
) -> None:
    """Send hostile requests to `efiss serve`, with good clients beside, and hold it to budgets.

    The requests are drawn from pictures of every format, changed or made to cost much, from JSON,
    forms, compressed and raw bodies, and connections that are slow, cut off, silent or odd. The
    same seed draws the same ones.

    Every good question has to be answered as before the storm, in time; no process may be lost; no
    Python process may take over 1 GB, and Java no more than its heap, direct buffers and 400 MB;
    all together may hold a tenth and 40 MB more afterwards than before, when they had done every
    ordinary thing. A budget that is broken is named with the requests that were under way;
    the exit code is 1, and their bytes lie in the folder of the results. Linux only.

    \b
    Examples:
      python benchmarks/soak.py
      python benchmarks/soak.py --requests 500 --minutes 1 --admin
      python benchmarks/soak.py --replay 1234
    """
    if (url is None) != (pid is None):
        raise click.UsageError("give --url and --pid together, or neither")
    if url and admin:
        raise click.UsageError("--admin starts services of its own; leave out --url and --pid")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))  # for connections
    drawn = functools.partial(draw, seed, with_admin=admin)
    with contextlib.ExitStack() as stack:
        if url and pid:
            place, roots = Place(url, None), [pid]
        else:
            place, roots = stack.enter_context(_started(admin))
        watch = stack.enter_context(Watch(roots))
        questions = _questions(place)
        _do_ordinary_things(place, questions)
        before = _at_rest(watch)
        if replay is not None:
            return _replay(place, watch, drawn(replay), out)
        watch.have_to_stay()
        storm = _weathered(place, watch, drawn, requests, minutes * 60, questions, out)
        storm.held = before, _at_rest(watch)
        storm.java_bound_mb = watch.java_bound_mb()
        storm.peaks, storm.lost = list(watch.peaks.values()), list(watch.lost.values())
    found = budgets(storm, within)
    show(storm, found)
    if "heif" not in formats():
        click.echo("\nno HEIC was drawn but noise: pip install pillow-heif writes it")
    drawn_from = {"seed": seed, "admin": admin, "formats": formats()}
    path = record.save(out, "soak", drawn_from | figures(storm, found))
    if broken := [one.name for one in found if not one.is_kept]:
        raise click.ClickException(
            f"over budget: {', '.join(broken)}; {path} has the figures, and "
            f"--seed {seed} --replay N sends request N alone"
        )


# -- the service under test ----------------------------------------------------------------------


@contextlib.contextmanager
def _started(with_admin: bool) -> Iterator[tuple[Place, list[int]]]:
    """`efiss serve`, and `efiss admin`, over the demo's catalogue in a folder of their own; and
    their processes."""
    with tempfile.TemporaryDirectory(prefix="efiss-soak-") as name:
        folder = Path(name)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "EFISS_ADMIN_TOKEN": os.urandom(16).hex(),
        }
        _index_demo(folder, environment)
        commands = [["serve", "--config", str(ROOT / "config.properties")]]
        commands += [["admin"]] if with_admin else []
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(_running(command, folder, environment)) for command in commands
            ]
            admin = settings.url_of("127.0.0.1", settings.ADMIN_PORT.value())
            place = Place(settings.service_here(), admin if with_admin else None)
            yield place, [process.pid for process in processes]


def _index_demo(folder: Path, environment: dict[str, str]) -> None:
    from photographs import DATALAKE, write_datalake
    from searcher.index import Index

    write_datalake(folder / DATALAKE)
    extract = ["bash", str(ROOT / "indexer" / "extract_datalake.sh"), str(DATALAKE)]
    index = [
        sys.executable,
        "-m",
        "efiss",
        "index",
        "--model_path",
        str(ROOT / "torchscripts_models"),
        "--new_index_database_version",
        "1.0.0",
    ]
    for command in (extract, index):
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    Index(folder / "index").activate("1.0.0")
    write_archive(Index(folder / "index"), "1.0.0", folder / "model_store")


@contextlib.contextmanager
def _running(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen]:
    """An `efiss` command that is ready; its log goes to a file of the folder."""
    log = folder / f"{command[0]}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "efiss", *command],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            while "ready: " not in log.read_text(errors="replace"):
                if process.poll() is not None:
                    raise click.ClickException(f"it did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)


def _questions(place: Place) -> list[Question]:
    """What good clients ask, with the answers now."""
    photos = [one.file.read_bytes() for one in queries()[:4]]
    fields: list[dict] = [{"image": photo, "top_k": 20} for photo in photos]
    fields += [{"code": "0123456789abcdef", "top_k": 100}, {"image": photos[0], "rank": "distance"}]
    with Client(place.url) as client:
        return [Question(one, answer_of(client, one)) for one in fields]


def _do_ordinary_things(place: Place, questions: list[Question]) -> None:
    """Have every process do each of them some times, in batches as well: what is loaded and
    compiled at its first use has come then, and Java has compiled what it often runs."""
    large = large_photograph(8000, progressive=False)
    photos = [large, large.ljust(LARGE_BODY, b"\0"), *map(photograph, formats())]
    fields = [one.fields for one in questions] + [{"image": photo} for photo in photos]
    with Client(place.url) as client, ThreadPoolExecutor(8) as pool:

        def ask(fields: dict) -> None:
            with contextlib.suppress(ServiceError):  # a format that the service does not read
                client.search(**fields)

        list(pool.map(ask, ORDINARY_ROUNDS * fields))
    if place.admin_url:
        paths = ("/", "/metrics", "/docs", "/health/ready", "/api/versions", "/api/catalogue")
        with httpx.Client(base_url=place.admin_url, timeout=60) as admin:
            for photo in 4 * photos:
                image = base64.b64encode(photo).decode()
                admin.post("/api/search", json={"image": image})
                for path in paths:
                    admin.get(path)


# -- the storm -----------------------------------------------------------------------------------


def _weathered(
    place: Place,
    watch: Watch,
    drawn: Callable[[int], Hostile],
    count: int,
    seconds: float,
    questions: list[Question],
    out: Path,
) -> Storm:
    """The hostile requests sent, with good clients beside."""
    storm = Storm()
    with _asking(place, questions) as (over, answers):
        cpu = watch.cpu_seconds()
        time.sleep(QUIET_SECONDS)
        over()
        storm.quiet = answers()
        cpu_of_one = (watch.cpu_seconds() - cpu) / max(1, len(storm.quiet))
    under_way: dict[int, Hostile] = {}
    with (
        _asking(place, questions) as (over, answers),
        click.progressbar(length=count, label="hostile requests", show_pos=True) as bar,
    ):
        os.nice(10)  # to draw requests is work too, and no one's answer waits for it
        start, cpu = time.monotonic(), watch.cpu_seconds()

        def done(outcome: Outcome) -> None:
            storm.outcomes.append(outcome)
            bar.update(1)

        async def sending() -> None:
            keeping = asyncio.create_task(_keep_suspects(watch, under_way, out))
            await send_all(place, drawn, count, start + seconds, done, under_way)
            keeping.cancel()

        asyncio.run(sending())
        storm.seconds = time.monotonic() - start
        over()
        storm.asked = answers()
        taken = watch.cpu_seconds() - cpu
    storm.cpu_seconds = max(0.0, taken - cpu_of_one * len(storm.asked))
    return storm


@contextlib.contextmanager
def _asking(place: Place, questions: list[Question]):
    """Good clients, in a process of their own; gives what ends them, and what takes their
    answers."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=ask_on, args=(place, questions, GOOD_CLIENTS, other))
    process.start()
    try:
        yield lambda: pipe.send("over"), pipe.recv
    finally:
        process.join(60)
        process.kill()


async def _keep_suspects(watch: Watch, under_way: dict[int, Hostile], out: Path) -> None:
    """When a process is lost, keep the bytes of what was being sent."""
    kept = 0
    while True:
        await asyncio.sleep(0.1)
        if len(watch.lost) > kept:
            kept = len(watch.lost)
            for hostile in list(under_way.values()):
                _keep(hostile, out)


def _keep(hostile: Hostile, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"soak-{hostile.number}-{hostile.kind}.request"
    path.write_bytes(hostile.content)
    return path


def _replay(place: Place, watch: Watch, hostile: Hostile, out: Path) -> None:
    """Send one alone, and say what it cost."""
    watch.have_to_stay()
    path = _keep(hostile, out)
    click.echo(f"request {hostile.number}, {hostile.kind}, {len(hostile.content):,} bytes: {path}")
    peaks, cpu = {one.pid: one.peak_mb for one in watch.read()}, watch.cpu_seconds()
    start = time.monotonic()
    outcome = asyncio.run(send(place, hostile))
    seconds = time.monotonic() - start
    watch.rest(REST_SECONDS)
    click.echo(f"answered {' '.join(map(str, outcome.statuses)) or 'nothing'} in {seconds:.2f} s")
    click.echo(f"{watch.cpu_seconds() - cpu:.2f} s of processors")
    for one in watch.read():
        click.echo(
            f"{one.role} {one.pid}: {one.resident_mb:.0f} MB now, at most {one.peak_mb:.0f} MB, "
            f"{one.peak_mb - peaks.get(one.pid, 0):.0f} MB more than before"
        )
    for pid, (_, role) in watch.lost.items():
        click.echo(f"LOST: {role} {pid}")
    if watch.lost:
        raise SystemExit(1)


def _at_rest(watch: Watch) -> list[Reading]:
    """The processes when they rest."""
    watch.rest(REST_SECONDS)
    time.sleep(SETTLE_SECONDS)
    return watch.read()


if __name__ == "__main__":
    os.environ.setdefault("EFISS_PORT", "6900")
    soak()
