"""Whether anybody notices that the version changes: clients that ask without pause while versions
are activated, one of them damaged, and rolled back.  Some minutes; run it from the root of the
repository."""

import dataclasses
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np
import psutil
import record
import synthetic
import torch
from service import image_requests

from efiss.commands.options import MODEL_PATH
from efiss_client import PATH
from hashing.model import find_model, read_sidecar
from searcher.index import Index
from searcher.publish import DEFAULT
from serving.archive import write_archive
from serving.service import Service
from serving.settings import Settings

FIRST, DAMAGED, OTHER_MODEL = "1.0.0", "1.3.0", "1.4.0"
STEPS = [
    *(["activate", name] for name in ("1.1.0", "1.2.0", DAMAGED, OTHER_MODEL, "1.5.0")),
    *(["rollback"], ["rollback"]),
]
NAMES = [FIRST, *(step[1] for step in STEPS if len(step) > 1)]
WARM_UP_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer: when it was asked for and when it came (s), its status and its version."""

    asked: float
    came: float
    status: int
    version: str | None


@dataclasses.dataclass(frozen=True)
class Life:
    """A version was live: from when CURRENT named it to when the command returned that replaced
    it, by when every worker answers from the next one (s)."""

    version: str
    start: float
    end: float = float("inf")


@click.command()
@MODEL_PATH
@click.option("--rows", type=click.IntRange(1000), default=200_000, show_default=True)
@click.option("--clients", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(5),
    default=60,
    show_default=True,
    help="Of the calm time, and of the time in which versions change.",
)
@record.OUT
def switching(model_path: Path, rows: int, clients: int, seconds: int, out: Path) -> None:
    """Ask without pause, half by picture and half by code, first in calm and then while five
    versions are activated, one of them damaged and one with another model, and two rolled back.

    \b
    Example:
      python benchmarks/switching.py --rows 10000 --seconds 20
    """
    with tempfile.TemporaryDirectory(prefix="efiss-") as name:
        folder = Path(name)
        _publish_all(folder / "index", rows, find_model(model_path), folder)
        write_archive(Index(folder / "index"), FIRST, folder / "store")
        settings = Settings.from_environment()
        with (
            open(folder / "service.log", "w") as log,
            Service(
                settings, Path("config.properties"), folder / "store", folder / "index", log
            ) as running,
        ):
            running.wait_until_ready()
            crowd = Crowd(settings.port, _requests(), clients)
            time.sleep(min(WARM_UP_SECONDS, seconds))
            crowd.take()
            time.sleep(seconds)
            calm = crowd.take()
            lives, memory = _switch(folder / "index", seconds / len(STEPS))
            busy = crowd.take()
            crowd.stop()
    _report(calm, busy, lives, memory, {"rows": rows, "clients": clients, "seconds": seconds}, out)


def _publish_all(root: Path, rows: int, model: Path, folder: Path) -> None:
    for number, name in enumerate(NAMES):
        codes, _ = synthetic.clustered(number, rows, 1)
        own = _other_model(model, folder) if name == OTHER_MODEL else model
        synthetic.published(root, name, codes, DEFAULT, own)
    with open(root / DAMAGED / "index.bin", "r+b") as file:
        file.seek(1000)
        file.write(b"\0" * 1000)
    Index(root).activate(FIRST)


def _other_model(model: Path, folder: Path) -> Path:
    """The model with other weights."""
    module = torch.jit.load(str(model))
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.01)
    path = folder / "other.pt"
    module.save(str(path))
    sidecar = dataclasses.replace(
        read_sidecar(model), name="other", sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    path.with_suffix(".json").write_text(sidecar.to_json())
    return path


def _requests() -> list[bytes]:
    bodies = image_requests()
    for number in range(len(bodies)):
        code = {"code": f"{number * 0x0123456789ABCDEF % 2**64:016x}"}
        bodies.insert(2 * number + 1, json.dumps(code).encode())
    return bodies


class Crowd:
    """Clients that ask without pause, each over a connection of its own, until they are stopped."""

    def __init__(self, port: int, bodies: list[bytes], clients: int):
        self._port, self._bodies = port, bodies
        self._answers: list[Answer] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=[number]) for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def take(self) -> list[Answer]:
        """The answers since the last call."""
        taken, self._answers = self._answers, []
        return taken

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stopped.is_set():
            number += 1
            body = self._bodies[number % len(self._bodies)]
            asked = time.time()
            status, version = 0, None
            try:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                status, text = answer.status, answer.read()
                version = json.loads(text).get("index_database_version")
            except (OSError, ValueError, http.client.HTTPException):
                connection.close()
            self._answers.append(Answer(asked, time.time(), status, version))


def _switch(root: Path, pause: float) -> tuple[list[Life], dict[str, int]]:
    """Run the steps as an operator does; which version was live when, and the workers' own memory
    (bytes) after the first switch and after the last activation."""
    lives = [Life(FIRST, 0)]
    memory = {}
    for number, step in enumerate(STEPS):
        next_step = time.monotonic() + pause
        done = subprocess.run(
            [sys.executable, "-m", "efiss", *step, "--index_root", root],
            text=True,
            capture_output=True,
        )
        returned = time.time()
        if DAMAGED in step:
            if done.returncode != 1 or "damaged" not in done.stderr:
                raise click.ClickException(f"the damaged version was not refused: {done}")
        elif done.returncode != 0:
            raise click.ClickException(done.stderr)
        else:
            version, since = Index(root).activation()
            lives[-1] = dataclasses.replace(lives[-1], end=returned)
            lives.append(Life(version, since / 1e9))
        click.echo(f"{' '.join(step)}: {done.stdout.strip() or done.stderr.strip()}")
        time.sleep(max(0, next_step - time.monotonic()))
        if number in (0, 4):
            memory["first" if number == 0 else "fifth"] = _memory()
    return lives, memory


def _memory() -> int:
    children = psutil.Process().children(recursive=True)
    workers = [one for one in children if "model_service_worker" in " ".join(one.cmdline())]
    return sum(one.memory_full_info().uss for one in workers)


def _report(calm, busy, lives: list[Life], memory: dict, asked: dict, out: Path) -> None:
    figures = {
        "calm": _figures(calm),
        "switching": _figures(busy),
        "failed": sum(one.status != 200 for one in [*calm, *busy]),
        "wrong_version": sum(not _was_live(one, lives) for one in busy if one.status == 200),
        "answers_by_version": {name: sum(one.version == name for one in busy) for name in NAMES},
        "memory_mb": {name: round(size / 1e6, 1) for name, size in memory.items()},
    }
    figures["slowest_over_calm_ms"] = figures["switching"]["max_ms"] - figures["calm"]["max_ms"]
    figures["memory_growth"] = memory["fifth"] / memory["first"] - 1
    click.echo(json.dumps(figures, indent=1))
    record.save(out, "switching", {**asked, **figures})


def _figures(answers: list[Answer]) -> dict:
    times = [1000 * (one.came - one.asked) for one in answers]
    median, p99 = np.percentile(times, [50, 99])
    return {"answers": len(times), "median_ms": median, "p99_ms": p99, "max_ms": max(times)}


def _was_live(one: Answer, lives: list[Life]) -> bool:
    return any(
        life.version == one.version and life.start <= one.came and one.asked <= life.end
        for life in lives
    )


if __name__ == "__main__":
    os.environ.setdefault("EFISS_PORT", "6900")
    switching()
