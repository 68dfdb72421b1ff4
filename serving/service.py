"""The search service: the front, TorchServe behind it, and a watch on both."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TextIO

from efiss_client import Client, ServiceError
from serving import probe
from serving.archive import archive_of
from serving.front import Front
from serving.log import Log
from serving.settings import Settings, StartError
from serving.torchserve import TorchServe
from serving.watch import Watch

START_SECONDS = 120
DRAIN_SECONDS = 5
WORKER_DEATHS_BEFORE_GIVING_UP = 3
LONGEST_SOCKET_PATH = 107


class Service:
    """A running service.  Use as a context manager: leaving it stops everything it started."""

    def __init__(
        self, chosen: Settings, config: Path, model_store: Path, index_root: Path, log: TextIO
    ):
        """config: a TorchServe config.properties.  model_store: holds the archive.  index_root: the
        index folder whose live version is followed.  log: where the lines of the log go."""
        self._settings = chosen
        _check_files(config, model_store)
        check_ports(chosen)
        # Its own folder for sockets, pid file and unpacked archive: TorchServe gives them fixed
        # names in the temporary folder, so that two instances would take each other's.
        with contextlib.ExitStack() as undo:
            self._log = Log(log)
            undo.callback(self._log.close)
            folder = _own_folder()
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            _check_temporary(folder)
            self._torchserve = TorchServe(
                chosen, config, model_store, index_root, folder, self._log
            )
            self._front = Front(chosen.host, chosen.port, chosen.limits(config), self._log)
            undo.callback(self._front.close)
            self._torchserve.start()
            undo.callback(self._torchserve.end)
            self._front.start(self._torchserve.search, self._torchserve.metrics)
            self._started = undo.pop_all()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return self._settings.url

    def wait_until_ready(self) -> str:
        """Return when a real query is answered, with the index version that answered.

        Raises StartError when that cannot be expected any more: TorchServe ended, its workers keep
        dying, or the time is over.
        """
        deadline = time.monotonic() + START_SECONDS
        torchserve = self._torchserve
        with Client(self.url, timeout=5, retries=0) as client:
            while True:
                if torchserve.ended() is not None:
                    raise torchserve.failed("TorchServe ended while it started")
                if torchserve.worker_deaths >= WORKER_DEATHS_BEFORE_GIVING_UP:
                    raise torchserve.failed("the workers of TorchServe die at start")
                if time.monotonic() > deadline:
                    raise torchserve.failed(f"no query was answered within {START_SECONDS} s")
                try:
                    if torchserve.listens:
                        return probe.ask(client).version
                except ServiceError as error:
                    if error.status == 404:  # it listens, so it has read the model store
                        raise torchserve.failed(
                            "TorchServe cannot load the archive; make it again with `efiss archive`"
                        ) from None
                time.sleep(0.1)

    def wait(self) -> None:
        """Block while the service runs, and start TorchServe again when it does not answer.  Raises
        StartError when that does not help."""
        Watch(self._front, self._torchserve, self._log, self.wait_until_ready).go_on()

    def stop(self) -> None:
        """Let the requests under way finish, then end Java and its workers; under 10 s in all."""
        if self._torchserve.ended() is None:
            self._front.drain(DRAIN_SECONDS)
        self._started.close()


def _check_files(config: Path, model_store: Path) -> None:
    if not config.is_file():
        raise StartError(f"{config} is missing; run this in the project's folder or give --config")
    archive = archive_of(model_store)
    if not archive.is_file():
        raise StartError(f"{archive} is missing; run `efiss archive --index_version V` first")


def check_ports(chosen: Settings) -> None:
    """Raise StartError unless the ports are free."""
    for port in (chosen.port, chosen.port + 5):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((chosen.host, port))
            except OSError as error:
                raise StartError(
                    f"port {port} on {chosen.host} cannot be used ({error.strerror}); stop what "
                    f"holds it, or set EFISS_PORT (now {chosen.port}) to another block of six ports"
                ) from None


def _own_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="efiss-"))
    except FileNotFoundError:
        raise StartError(
            "there is no temporary folder that can be written; set TMPDIR to one (a read-only "
            "container needs docker run --tmpfs /tmp:exec)"
        ) from None


def _check_temporary(folder: Path) -> None:
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise StartError(
            f"the temporary folder {folder.parent} is mounted noexec, and TorchServe loads "
            "libraries from there; mount it with exec (docker run --tmpfs /tmp:exec), or set "
            "TMPDIR to another folder"
        )
    longest = folder / "tmp" / ".ts.sock.9000"
    if len(os.fsencode(longest)) > LONGEST_SOCKET_PATH:
        raise StartError(
            f"the temporary folder {folder.parent} has too long a name for Unix sockets; "
            "set TMPDIR to one of at most 70 letters"
        )
