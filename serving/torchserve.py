"""TorchServe as a process: started by its Java, told where to listen, ended with its workers.

Java is started directly: TorchServe's own launcher leaves Java behind when it is told to stop.
"""

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import handlers
from handlers import MODEL_NAME, MODEL_VERSION, handed
from machine.processes import end_with_parent
from machine.settings import LEAST_HEAP
from serving.archive import archive_of
from serving.java import find_java
from serving.log import Log
from serving.settings import Settings, StartError

_LOGGING = Path(__file__).with_name("log4j2.xml")
_METRICS = Path(handlers.__file__).with_name("metrics.yaml")
STOP_SECONDS = 3
ORDER_SECONDS = 5
_WORKER_DIED = "Backend worker process died"


class TorchServe:
    """Java and its workers, which listen on Unix sockets alone."""

    def __init__(
        self,
        chosen: Settings,
        config: Path,
        model_store: Path,
        index_root: Path,
        folder: Path,
        log: Log,
    ):
        """folder: of its own, for sockets and temporary files.  Raises StartError, JavaError."""
        self.search, self.metrics = folder / "search.sock", folder / "metrics.sock"
        self._settings, self._config, self._model_store = chosen, config, model_store
        self._index_root, self._folder, self._log = index_root, folder, log
        self._last_lines: collections.deque[str] = collections.deque(maxlen=30)
        self._java, self._package = find_java(), _package()
        self._process: subprocess.Popen
        self._reader: threading.Thread
        self.worker_deaths = 0
        """Since the start."""

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self.worker_deaths = 0
        self._last_lines.clear()
        for left in (self.search, self.metrics, self._management):
            left.unlink(missing_ok=True)
        self._process = self._started()
        self._reader = threading.Thread(target=self._read_log, name="torchserve", daemon=True)
        self._reader.start()

    def end(self, patiently: bool = True) -> None:
        """End Java and its workers.  patiently: let it end by itself, for STOP_SECONDS."""
        try:
            if patiently and self.ended() is None:
                self._process.terminate()
                self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # ended by the signal below
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # Java's session: its workers as well
            self._process.wait()
            self._reader.join(timeout=1)
            self._orders.unlink(missing_ok=True)

    def ended(self, within: float = 0) -> int | None:
        """Its exit code when it ends within so many seconds, else None."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    @property
    def listens(self) -> bool:
        """Whether it takes requests; its workers may not be there yet."""
        return self.search.exists()

    def failed(self, sentence: str) -> StartError:
        """An error that says so, with its last lines."""
        if self.ended() is not None:
            self._reader.join(timeout=1)
        return StartError(f"{sentence}; its last lines:\n{''.join(self._last_lines).rstrip()}")

    def give_memory_back(self) -> None:
        """Have Java collect garbage, which takes it some 50 ms, and give back what is free then: by
        itself it does so only when its heap is full."""
        for order in (b"GC.run", b"System.trim_native_heap"):
            # Where Java has no folder for the socket, it stays as large as it was.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as java:
                java.settimeout(ORDER_SECONDS)
                java.connect(str(self._orders))
                java.sendall(b"1\0jcmd\0" + order + b"\0\0\0")
                java.recv(1)  # it is done

    @property
    def _orders(self) -> Path:
        """The socket that Java takes orders on of its own user: `jcmd` uses it."""
        return Path(f"/tmp/.java_pid{self._process.pid}")

    @property
    def _management(self) -> Path:
        return self._folder / "management.sock"

    def _started(self) -> subprocess.Popen:
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        properties = self._folder / "config.properties"
        config = self._config.read_text(encoding="utf-8")
        properties.write_text(config + self._properties(), encoding="utf-8")
        command: list[str | Path] = [
            self._java,
            f"-Dmodel_server_home={self._package.parent}",
            f"-Djava.io.tmpdir={temporary}",
            f"-Dlog4j2.configurationFile={_LOGGING}",
            f"-Xmx{self._settings.heap}m",
            f"-XX:MaxDirectMemorySize={self._settings.direct}m",
            f"-Dio.netty.maxDirectMemory={self._settings.direct * 2**20}",
            "-XX:+ExitOnOutOfMemoryError",
            # It copies large bodies into few pieces, and returns what they took, down to this.
            "-XX:+UseSerialGC",
            f"-Xms{LEAST_HEAP}m",
            "-XX:MinHeapFreeRatio=10",
            "-XX:MaxHeapFreeRatio=30",
            "-XX:-ShrinkHeapInSteps",
            "-XX:+StartAttachListener",  # for `give_memory_back`
            # Pieces of memory of 1 MB, by itself of 16: the smallest buffer keeps a whole one.
            "-Dio.netty.allocator.maxOrder=7",
            "-cp",
            f"{self._package / 'frontend'}/*",
            "org.pytorch.serve.ModelServer",
            "--python",
            sys.executable,
            "-f",
            properties,
            "-s",
            self._model_store.resolve(),
            "-ncs",
        ]
        environment = os.environ | {
            "TMPDIR": str(temporary),
            "TEMP": str(temporary),
            "LOG_LOCATION": str(self._folder),
            "METRICS_LOCATION": str(self._folder),
            "EFISS_INDEX": str(self._index_root.resolve()),
            "OMP_NUM_THREADS": "1",
            handed.BEHIND_FRONT: "1",
            # The C library learns else to keep up to 64 MB for each of Java's threads.  Workers
            # choose for themselves.
            "MALLOC_MMAP_THRESHOLD_": str(2**20),
            "MALLOC_TRIM_THRESHOLD_": str(2**20),
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

    def _properties(self) -> str:
        archive = archive_of(self._model_store).name
        nowhere = _nowhere()
        model = {
            "defaultVersion": True,
            "marName": archive,
            "minWorkers": self._settings.workers,
            "maxWorkers": self._settings.workers,
            "batchSize": self._settings.batch_size,
            "maxBatchDelay": self._settings.batch_delay,
        }
        values = {
            "inference_address": f"unix:{self.search}",
            "management_address": f"unix:{self._management}",
            "metrics_address": f"unix:{self.metrics}",
            "grpc_inference_address": nowhere,
            "grpc_inference_port": 0,
            "grpc_management_address": nowhere,
            "grpc_management_port": 0,
            "model_store": self._model_store.resolve(),
            "load_models": archive,
            "models": json.dumps({MODEL_NAME: {MODEL_VERSION: model}}),
            "metrics_config": _METRICS,
        }
        return "\n# Added by `efiss serve`\n" + "".join(f"{k}={v}\n" for k, v in values.items())

    def _read_log(self) -> None:
        assert self._process.stdout  # a pipe, as was asked for
        for line in self._process.stdout:
            self._last_lines.append(line)
            self.worker_deaths += _WORKER_DIED in line
            self._log.line(line)


def _nowhere() -> str:
    """An address that TorchServe can open its gRPC ports on, and nobody can reach: it always opens
    them, and that of management takes orders without a credential.

    Linux lets a TCP socket listen on the broadcast address, refuses connections to it, and answers
    none that arrive for it.  Other kernels do not let it listen; loopback it is there.
    """
    with socket.socket() as tried:
        try:
            tried.bind(("255.255.255.255", 0))
            tried.listen()
        except OSError:
            return "127.0.0.1"
    return "255.255.255.255"


def _package() -> Path:
    """The folder of TorchServe's package."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise StartError("TorchServe is not installed; run: pip install torchserve")
    return Path(spec.origin).parent
