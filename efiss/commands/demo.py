"""`efiss demo`: the whole way once, from nothing to an answer."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from efiss.commands.options import settings_in_help, warn_of_unknown_settings
from efiss.commands.search import table
from efiss.stopping import Stopped, stopping_on_signals
from efiss_client import PATH, Answer, Client
from machine import shipped
from machine.errors import Problem
from machine.processes import end_with_parent
from machine.settings import ADMIN, SEARCH, SERVE, check, unknown
from photographs import DATALAKE, Photograph, is_written, queries, remove_drawn, write_datalake
from searcher.index import Index

if TYPE_CHECKING:
    from serving.settings import Settings

DATABASE, INDEX, MODEL_STORE = Path("database_info.txt"), Path("index"), Path("model_store")
LISTED = Path("demo/database_info.txt")
"""Where the page lists the demo's catalogue: DATABASE may be one's own by then."""
CONFIG, LOG = Path("config.properties"), Path("demo/torchserve.log")
VERSION = "1.0.0"


@click.command()
@settings_in_help(*SERVE, *SEARCH, *ADMIN)
def demo() -> None:
    """Index a demo catalogue, pack it, serve it with its page and ask it one question.

    The catalogue is photographs of clothes, shoes and caps, which come with the program. Everything
    is made in the current folder: demo/, database_info.txt, index/ and model_store/.
    What is already there is kept. The service runs until Ctrl-C or SIGTERM; its log is
    demo/torchserve.log.

    \b
    Environment:
      {settings}

    \b
    Example:
      EFISS_PORT=6000 efiss demo
    """
    from serving.service import Service

    warn_of_unknown_settings()
    steps = Steps()
    try:
        with stopping_on_signals():
            settings = _checked_settings()
            prepare(steps)
            with (
                LOG.open("w", encoding="utf-8") as log,
                Service(settings, shipped.found(CONFIG), MODEL_STORE, INDEX, log) as service,
                contextlib.ExitStack() as stack,
            ):
                with steps.step("start TorchServe"):
                    service.wait_until_ready()
                with steps.step("first query"):
                    photo, answer = _first_query(service.url)
                with steps.step("start the page"):
                    page = stack.enter_context(_admin(settings.url))
                _show(steps, service.url, page, photo, answer)
                service.wait()
    except Stopped:
        click.echo("stopped")


def _checked_settings() -> "Settings":
    """How to run the service.  A value that it or the admin service cannot use is said here, before
    the work, as is a port that is taken."""
    from admin.settings import Settings as AdminSettings
    from searcher import milvus
    from serving.service import check_ports
    from serving.settings import Settings

    check(SERVE)
    milvus.place()
    AdminSettings.from_environment(INDEX, CONFIG)
    settings = Settings.from_environment()
    check_ports(settings)
    return settings


@contextlib.contextmanager
def _admin(service_url: str) -> Iterator[str]:
    """A running `efiss admin` over the live catalogue, in a process of its own; its address."""
    told = unknown()  # by this process already
    given = {name: value for name, value in os.environ.items() if name not in told}
    environment = {"EFISS_SERVICE_URL": service_url} | given | _listed_by_the_page()
    process = subprocess.Popen(
        [sys.executable, "-m", "efiss", "admin", "--index_root", str(INDEX)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which ends that one
        preexec_fn=end_with_parent,
    )
    try:
        assert process.stdout  # a pipe, as was asked for
        ready = process.stdout.readline()
        if not ready.startswith("ready: "):
            raise Problem("the admin service did not start; it said why above")
        yield ready.removeprefix("ready: ").strip()
    finally:
        process.terminate()
        process.communicate()


def _listed_by_the_page() -> dict[str, str]:
    """The demo's photographs where they are live, unless another folder is to be listed.  A list of
    one's own is taken as it is."""
    from searcher import open_version

    live = open_version(INDEX / str(Index(INDEX).live()))
    if os.environ.get("EFISS_DATALAKE") or not Path(live.path(0)).is_relative_to(DATALAKE):
        return {}
    database = os.environ.get("EFISS_DATABASE") or str(LISTED)
    return {"EFISS_DATALAKE": str(DATALAKE), "EFISS_DATABASE": database}


class Steps:
    """How long each step took."""

    def __init__(self):
        self.seconds: list[tuple[str, float | None]] = []

    @contextlib.contextmanager
    def step(self, name: str):
        click.echo(f"{name} …")
        start = time.monotonic()
        yield
        self.seconds.append((name, time.monotonic() - start))

    def skip(self, name: str) -> None:
        """The step's result is already there."""
        self.seconds.append((name, None))


def prepare(steps: Steps) -> None:
    """Catalogue, list, version and archive, each unless it is there."""
    from efiss.commands.index import index
    from indexer.reindex import extract
    from serving.archive import write_archive

    def unless(there: object, name: str, make) -> None:
        if there:
            return steps.skip(name)
        with steps.step(name):
            make()

    unless(is_written(DATALAKE), "copy the photographs", _copy_photographs)
    unless(_is_listed(), "extract the datalake", lambda: extract(DATALAKE, DATABASE))
    version = _version()
    unless(
        version in Index(INDEX).versions(),
        "index the catalogue",
        lambda: index.main(
            ["--database", str(DATABASE), "--new_index_database_version", version],
            standalone_mode=False,
        ),
    )
    unless(
        version == Index(INDEX).live(),
        "activate the version",
        lambda: Index(INDEX).activate(version),
    )
    unless(
        _archive_is_fresh(version),
        "pack the archive",
        lambda: write_archive(Index(INDEX), version, MODEL_STORE),
    )


def _copy_photographs() -> None:
    remove_drawn(DATALAKE)
    write_datalake(DATALAKE)


def _is_listed() -> bool:
    """Whether there is a list, of the demo's photographs or of other pictures."""
    if not DATABASE.is_file():
        return False
    with DATABASE.open(encoding="utf-8", errors="surrogateescape") as lines:
        return not _is_gone(lines.readline().rstrip("\n"))


def _version() -> str:
    """The version to serve: the live one, unless it is of the drawn catalogue of an earlier
    release; then one that is still to be built."""
    from searcher import open_version

    version = Index(INDEX).live() or VERSION
    if version not in Index(INDEX).versions():
        return version
    return Index(INDEX).next_minor() if _is_gone(open_version(INDEX / version).path(0)) else version


def _is_gone(path: str) -> bool:
    """Whether it is of a demo's catalogue that is not there any more."""
    return Path(path).is_relative_to(DATALAKE) and not Path(path).exists()


def _shown(path: Path) -> str:
    """The path as a shell in this folder finds it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _archive_is_fresh(live: str) -> bool:
    """Whether the archive is younger than the live version and than the program packed with it."""
    from serving.archive import archive_of, program_files

    archive = archive_of(MODEL_STORE)
    if not archive.is_file():
        return False
    sources = [Index(INDEX).folder(live), *program_files()]
    return archive.stat().st_mtime > max(path.stat().st_mtime for path in sources)


def _first_query(url: str) -> tuple[Photograph, Answer]:
    photo = next(one for one in queries() if one.label == "Shoes")  # judged at a glance
    with Client(url) as client:
        return photo, client.search(photo.file, top_k=5)


def _show(steps: Steps, url: str, page: str, photo: Photograph, answer: Answer) -> None:
    click.echo(f"\nquery {_shown(photo.file)} ({photo.caption})\n{table(answer)}\n")
    for name, seconds in steps.seconds:
        click.echo(f"  {name:26}" + ("already there" if seconds is None else f"{seconds:6.1f} s"))
    click.echo(f"\nready: {url}{PATH}\npage:  {page}")
    click.echo("\nAsk it yourself, from another shell in this folder:\n")
    click.echo(
        '  (printf \'{"top_k": 5, "debug": true, "image": "\'; '
        f"base64 < {shlex.quote(_shown(photo.file))} | tr -d '\\n'; printf '\"}}') |\n"
        "    curl -s -H 'Content-Type: application/json' --data-binary @- "
        f"{url}{PATH}\n"
    )
    program = _shown(Path(sys.executable).with_name("efiss"))
    click.echo(f"  {program} search PHOTO --sheet results.png\n")
    click.echo("Ctrl-C stops the service.")
