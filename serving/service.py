"""Running TorchServe: start it, know when it really answers, drain it, leave nothing behind.

Java is started directly: TorchServe's own launcher leaves Java behind when it is told to stop.
"""

import collections
import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import handlers
from efiss_client import Client, ServiceError
from handlers import MODEL_NAME, MODEL_VERSION
from machine import container, settings
from machine.errors import Problem
from machine.processes import end_with_parent
from serving import probe
from serving.archive import archive_of
from serving.java import find_java

_LOGGING = Path(__file__).with_name("log4j2.xml")
_METRICS = Path(handlers.__file__).with_name("metrics.yaml")
START_SECONDS = 120
DRAIN_SECONDS = 4
ANSWER_SECONDS = 1
STOP_SECONDS = 3
WORKER_DEATHS_BEFORE_GIVING_UP = 3
MOST_WORKERS_BY_DEFAULT, WORKER_MB = 4, 350
MOST_HEAP_BY_DEFAULT = 1024
JAVA_TO_HEAP = 2.4
"""What Java may take as a whole, to its heap."""
SUPERVISOR_MB = 100
"""What this process takes."""
LONGEST_SOCKET_PATH = 107
_WORKER_DIED = "Backend worker process died"


class StartError(Problem):
    """The service did not start; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run the service."""

    host: str
    """IPv4 address to listen on."""
    port: int
    """First of a block of six: +0 predictions, +2 and +3 gRPC, +5 metrics."""
    workers: int
    """Processes that answer."""
    batch_size: int
    """Requests a worker answers at once."""
    batch_delay: int
    """Milliseconds that it waits for that many."""
    heap: int
    """Of Java, in MB."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """What `machine.settings` has for it.  Raises SettingError."""
        heap = settings.HEAP.value() or default_heap()
        return cls(
            host=settings.HOST.value(),
            port=settings.PORT.value(),
            workers=settings.WORKERS.value() or default_workers(heap),
            batch_size=settings.BATCH.value(),
            batch_delay=settings.BATCH_DELAY.value(),
            heap=heap,
        )

    @property
    def url(self) -> str:
        """Where a client on this machine sends its requests."""
        return settings.url_of(self.host, self.port)


def default_heap() -> int:
    """MB of Java's heap: a quarter of what the container allows, so that Java as a whole takes
    little more than half and leaves the rest to the workers."""
    memory = container.memory()
    if memory is None:
        return MOST_HEAP_BY_DEFAULT
    return max(settings.LEAST_HEAP, min(memory // 2**20 // 4, MOST_HEAP_BY_DEFAULT))


def default_workers(heap: int) -> int:
    """As many as there are cores, and no more than the container has memory for beside Java."""
    workers = min(container.available_cores(), MOST_WORKERS_BY_DEFAULT)
    memory = container.memory()
    if memory is None:
        return workers
    left = memory / 2**20 - JAVA_TO_HEAP * heap - SUPERVISOR_MB
    return max(1, min(workers, int(left / WORKER_MB)))


class Service:
    """A running TorchServe.  Use as a context manager: leaving it stops everything it started."""

    def __init__(
        self, chosen: Settings, config: Path, model_store: Path, index_root: Path, log: TextIO
    ):
        """config: a TorchServe config.properties.  model_store: holds the archive.  index_root: the
        index folder whose live version is followed.  log: where TorchServe's lines go."""
        self._settings, self._log = chosen, log
        self._last_lines: collections.deque[str] = collections.deque(maxlen=30)
        self._worker_deaths = 0
        _check_files(config, model_store)
        check_ports(chosen)
        java = find_java()
        # Its own folder for sockets, pid file and unpacked archive: TorchServe gives them fixed
        # names in the temporary folder, so that two instances would take each other's.
        self._folder = _own_folder()
        try:
            _check_temporary(self._folder)
            self._process = self._start(java, config, model_store, index_root)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

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
        with Client(self.url, timeout=5, retries=0) as client:
            while True:
                if self._process.poll() is not None:
                    raise self._failed("TorchServe ended while it started")
                if self._worker_deaths >= WORKER_DEATHS_BEFORE_GIVING_UP:
                    raise self._failed("the workers of TorchServe die at start")
                if time.monotonic() > deadline:
                    raise self._failed(f"no query was answered within {START_SECONDS} s")
                try:
                    return probe.ask(client).version
                except ServiceError as error:
                    if error.status == 404:  # it listens, so it has read the model store
                        raise self._failed(
                            "TorchServe cannot load the archive; make it again with `efiss archive`"
                        ) from None
                    time.sleep(0.1)

    def wait(self) -> None:
        """Block while the service runs.  Raises StartError when it ends by itself."""
        self._process.wait()
        raise self._failed(f"TorchServe ended by itself (exit code {self._process.returncode})")

    def stop(self) -> None:
        """Let the requests under way finish, then end Java and its workers; under 10 s in all."""
        try:
            if self._process.poll() is None:
                self._drain()
                self._process.terminate()
                self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # ended by the signal below
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # Java's session: its workers as well
            self._process.wait()
            self._reader.join(timeout=1)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, java: Path, config: Path, model_store: Path, root: Path) -> subprocess.Popen:
        temporary = self._folder / "tmp"
        temporary.mkdir()
        properties = self._folder / "config.properties"
        properties.write_text(
            config.read_text(encoding="utf-8") + self._properties(model_store), encoding="utf-8"
        )
        package = _torchserve()
        command: list[str | Path] = [
            java,
            f"-Dmodel_server_home={package.parent}",
            f"-Djava.io.tmpdir={temporary}",
            f"-Dlog4j2.configurationFile={_LOGGING}",
            f"-Xmx{self._settings.heap}m",
            "-cp",
            f"{package / 'frontend'}/*",
            "org.pytorch.serve.ModelServer",
            "--python",
            sys.executable,
            "-f",
            properties,
            "-s",
            model_store.resolve(),
            "-ncs",
        ]
        environment = os.environ | {
            "TMPDIR": str(temporary),
            "TEMP": str(temporary),
            "LOG_LOCATION": str(self._folder),
            "METRICS_LOCATION": str(self._folder),
            "EFISS_INDEX": str(root.resolve()),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self._folder,
            start_new_session=True,
            preexec_fn=end_with_parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def _properties(self, model_store: Path) -> str:
        host, port = self._settings.host, self._settings.port
        archive = archive_of(model_store).name
        model = {
            "defaultVersion": True,
            "marName": archive,
            "minWorkers": self._settings.workers,
            "maxWorkers": self._settings.workers,
            "batchSize": self._settings.batch_size,
            "maxBatchDelay": self._settings.batch_delay,
        }
        values = {
            "inference_address": f"http://{host}:{port}",
            "management_address": f"unix:{self._management}",
            "metrics_address": f"http://{host}:{port + 5}",
            "grpc_inference_port": port + 2,
            "grpc_management_port": port + 3,
            "model_store": model_store.resolve(),
            "load_models": archive,
            "models": json.dumps({MODEL_NAME: {MODEL_VERSION: model}}),
            "metrics_config": _METRICS,
        }
        return "\n# Added by `efiss serve`\n" + "".join(f"{k}={v}\n" for k, v in values.items())

    @property
    def _management(self) -> Path:
        return self._folder / "management.sock"

    def _read_log(self) -> None:
        assert self._process.stdout  # a pipe, as was asked for
        for line in self._process.stdout:
            self._last_lines.append(line)
            self._worker_deaths += _WORKER_DIED in line
            with contextlib.suppress(OSError):  # nobody reads it, or the disk is full: serve on
                self._log.write(line)
                self._log.flush()

    def _drain(self) -> None:
        """Wait until no request waits in the queue, and then for those that left it: for a batch
        to fill or for their answer.  TorchServe does not tell how many those are."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if not self._pending_requests():
                time.sleep(self._settings.batch_delay / 1000 + ANSWER_SECONDS)
                return
            time.sleep(0.1)

    def _pending_requests(self) -> int:
        try:
            connection = _UnixConnection(self._management)
            connection.request("GET", f"/models/{MODEL_NAME}")
            status = json.load(connection.getresponse())
            return status[0]["jobQueueStatus"]["pendingRequests"]
        except (OSError, ValueError, LookupError, http.client.HTTPException):
            return 0  # it does not answer any more: nothing to wait for

    def _failed(self, sentence: str) -> StartError:
        self._reader.join(timeout=1)
        return StartError(f"{sentence}; its last lines:\n{''.join(self._last_lines).rstrip()}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path):
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _torchserve() -> Path:
    """The folder of its package."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise StartError("TorchServe is not installed; run: pip install torchserve")
    return Path(spec.origin).parent


def _check_files(config: Path, model_store: Path) -> None:
    if not config.is_file():
        raise StartError(f"{config} is missing; run this in the project's folder or give --config")
    archive = archive_of(model_store)
    if not archive.is_file():
        raise StartError(f"{archive} is missing; run `efiss archive --index_version V` first")


def check_ports(chosen: Settings) -> None:
    """Raise StartError unless the ports are free."""
    for port in (chosen.port, chosen.port + 2, chosen.port + 3, chosen.port + 5):
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
