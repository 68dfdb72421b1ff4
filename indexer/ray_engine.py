"""Files -> codes on a Ray cluster: what `hashing.files` does on one machine, with the same results.

    paths -> read -> decode -> Hash -> rows in the order of the paths

Readers and decoders are Ray tasks (Ray makes one operator of the two, so that the bytes of files
stay in the process that read them); `Hash` is a pool of actors, each with the model.  A task whose
process is killed is run again, an actor is started again.  Nothing is written here: who calls keeps
the codes, so that the cache and the version are those of every engine.
"""

import contextlib
import hashlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine.errors import Problem

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from ray.exceptions import RayError

from hashing import remote
from hashing.codes import pack
from hashing.files import Hashed, KnownCode, completed, outputs_of
from hashing.model import Model, Sidecar, find_model
from hashing.picture import MAX_PIXELS, PictureError
from hashing.reading import read_files
from machine.settings import BATCH_SIZE

DECODER_CPUS, HASHER_CPUS = 0.25, 0.5
"""Of a task and of an actor.  A CPU has two decoders, which also wait for files, and one hasher.
(Unequal, too, since Ray would make one operator of a task and an actor that ask for the same.)"""

CONNECT_SECONDS = 10
"""For a cluster to answer at its address."""
MOST_BATCHES = 32
"""A task reads so many batches at most: it is what is repeated when its process is killed."""

log = logging.getLogger(__name__)


class EngineError(Problem):
    """Ray cannot do the work; the message says why and what to do."""


def hash_files(
    paths: Sequence[str],
    model: Model,
    *,
    model_path: Path,
    device: str = "cpu",
    address: str | None = None,
    workers: int = 1,
    batch_size: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    known: KnownCode = lambda digest: None,
) -> Iterator[Hashed]:
    """Hash files on a Ray cluster; yields one `Hashed` per path, in the order of `paths`.

    paths: files that all machines of the cluster can read under these paths, or URLs.
    model, model_path: opened here, and its .pt file, whose bytes travel.  device: `cpu`, or `cuda`
    for one GPU an actor.
    address: of a cluster that runs; None starts one in this machine and ends it.  workers: CPUs of
    the one that is started.
    known: the code of a digest, when it was computed before; it must pickle, and what it knows at
    the start is what counts.
    Raises EngineError or remote.RemoteError.
    """
    if not paths:
        return
    check_device(device)
    remote.check(paths)
    sidecar = model.sidecar
    with _connected(address, workers):
        claims = _Claims.remote([ray.put(known)])  # type: ignore[attr-defined]
        # In a list, it is not copied into what Ray sends about each task.
        program = [ray.put(_program(model_path, sidecar))]
        dataset = ray.data.from_arrow(list(_tables(paths, batch_size)))
        arrow = {"batch_size": batch_size, "batch_format": "pyarrow"}
        for step, arguments in (
            (read, {"claims": claims}),
            (decode, {"sidecar": sidecar, "max_pixels": max_pixels}),
        ):
            dataset = dataset.map_batches(step, fn_kwargs=arguments, num_cpus=DECODER_CPUS, **arrow)
        dataset = dataset.map_batches(
            Hash,
            fn_constructor_args=(program, sidecar, device, batch_size),
            compute=ray.data.ActorPoolStrategy(size=_hashers(device)),
            num_cpus=HASHER_CPUS,
            num_gpus=int(device == "cuda"),
            **arrow,
        )
        yield from completed(_results(dataset, paths))


def check_device(device: str) -> None:
    """Raise EngineError unless Ray can be asked for the device."""
    if device not in ("cpu", "cuda"):
        raise EngineError(
            f"--device {device} names one GPU, and with --engine ray it is Ray that hands them "
            "out: use --device cuda or --device cpu"
        )


def _program(model_path: Path, sidecar: Sidecar) -> bytes:
    program = find_model(model_path).read_bytes()
    if hashlib.sha256(program).hexdigest() != sidecar.sha256:
        raise EngineError(
            f"{model_path} was replaced during the run; nothing was published: "
            "run the same command again"
        )
    return program


# -- the cluster ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _connected(address: str | None, workers: int) -> Iterator[None]:
    """Ray, connected to a cluster, or started here and ended with everything that it started."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        try:
            if address:
                host, _, port = address.rpartition(":")
                if host and "/" not in host and port.isdigit():
                    # Ray itself tries for many minutes where nobody answers.
                    socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
                ray.init(address, **quiet)
            else:
                # In /tmp, since TMPDIR may be too long a path for the sockets in it.
                folder = tempfile.TemporaryDirectory(
                    prefix="efiss-ray-", dir="/tmp", ignore_cleanup_errors=True
                )
                ray.init(
                    "local",
                    num_cpus=workers,
                    include_dashboard=False,
                    _temp_dir=stack.enter_context(folder),
                    **quiet,
                )
        except (OSError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {address}" if address else "Ray on this machine"
            raise EngineError(
                f"{where} cannot be used ({_first_line(error)}); nothing was published: "
                "name a cluster that runs by --ray_address, or none to start one here"
            ) from error
        stack.callback(ray.shutdown)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        try:
            yield
        except RayError as error:
            raise EngineError(
                f"Ray gave up ({_first_line(error)}); nothing was published, finished work is "
                "kept: see Ray's logs, and run the same command again"
            ) from error


def _hashers(device: str) -> int:
    """How many actors hash: one for each CPU or GPU of the cluster."""
    kind = "GPU" if device == "cuda" else "CPU"
    count = int(ray.cluster_resources().get(kind, 0))
    if not count:
        raise EngineError(f"the Ray cluster has no {kind}: add a machine that has, or use --device")
    return count


def _first_line(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error  # what a task raised, without Ray's wrapping
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]


# -- the steps -----------------------------------------------------------------------------------


def _tables(paths: Sequence[str], batch_size: int) -> Iterator[pa.Table]:
    """row int64, path binary: what one task reads, some whole batches."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    batches = min(MOST_BATCHES, -(-len(paths) // (8 * cpus * batch_size)))
    size = batches * batch_size
    folder = os.fsencode(os.getcwd())  # relative paths mean files under it; workers have their own
    for start in range(0, len(paths), size):
        some = [
            os.fsencode(path) if remote.is_remote(path) else os.path.join(folder, os.fsencode(path))
            for path in paths[start : start + size]
        ]
        rows = np.arange(start, start + len(some))
        yield pa.table({"row": rows, "path": pa.array(some, pa.binary())})


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class _Claims:
    """Which row hashes which content, asked by all readers: the same bytes are hashed once."""

    def __init__(self, known: list):
        self._known: KnownCode = ray.get(known[0])
        self._rows: dict[bytes, int] = {}

    def take(self, digests: list[bytes], rows: list[int]) -> list[bytes | bool]:
        """For every row its code, if that is known, or else whether the row is to be hashed."""
        # Asked again by a reader that is run again, the answer must be the same: so it goes by row.
        return [
            self._known(digest) or self._rows.setdefault(digest, row) == row
            for digest, row in zip(digests, rows, strict=True)
        ]


def read(batch: pa.Table, claims) -> pa.Table:
    """row, path -> row, digest, code if known, reason if not readable, data if to be hashed."""
    rows = batch["row"].to_pylist()
    files = list(read_files([os.fsdecode(path) for path in batch["path"].to_pylist()]))
    digests = [None if isinstance(file, str) else hashlib.sha256(file).digest() for file in files]
    readable = [place for place, digest in enumerate(digests) if digest]
    answers = [None] * len(rows)
    taken = claims.take.remote([digests[p] for p in readable], [rows[p] for p in readable])
    for place, answer in zip(readable, ray.get(taken), strict=True):
        answers[place] = answer
    return pa.table(
        {
            "row": batch["row"],
            "digest": pa.array(digests, pa.binary()),
            "code": pa.array([a if isinstance(a, bytes) else None for a in answers], pa.binary()),
            "reason": pa.array([f if isinstance(f, str) else None for f in files], pa.string()),
            "data": pa.array(
                [
                    file if answer is True else None
                    for file, answer in zip(files, answers, strict=True)
                ],
                pa.large_binary(),
            ),
        }
    )


def decode(batch: pa.Table, sidecar: Sidecar, max_pixels: int) -> pa.Table:
    """The same, with pixels instead of data (uint8 [input_size, input_size, 3]) and the process."""
    reasons = batch["reason"].to_pylist()
    pixels: list[bytes | None] = [None] * len(batch)
    for place, data in enumerate(batch["data"]):
        if data.is_valid:
            try:
                pixels[place] = sidecar.pixels(data.as_py(), max_pixels).tobytes()
            except PictureError as error:
                reasons[place] = str(error)
    batch = batch.drop_columns(["data", "reason"])
    batch = batch.append_column("reason", pa.array(reasons, pa.string()))
    batch = batch.append_column("pixels", pa.array(pixels, pa.large_binary()))
    return _signed(batch, "decoder")


class Hash:
    """The same, with the codes and without the pixels; an actor with the model."""

    def __init__(self, program: list, sidecar: Sidecar, device: str, batch_size: int):
        torch.set_num_threads(1)  # the parallelism is the actors'
        self._model = Model.from_program(ray.get(program[0]), sidecar, device)
        self._batch_size = batch_size

    def __call__(self, batch: pa.Table) -> pa.Table:
        size = self._model.sidecar.input_size
        computed = np.asarray(batch["pixels"].is_valid())
        pixels = [
            np.frombuffer(one.as_buffer(), np.uint8).reshape(size, size, 3)
            for one in batch["pixels"].filter(pa.array(computed))
        ]
        codes = batch["code"].to_pylist()
        if pixels:
            hashed = pack(outputs_of(pixels, self._model, self._batch_size))
            for place, code in zip(np.flatnonzero(computed), hashed, strict=True):
                codes[place] = code.tobytes()
        batch = batch.drop_columns(["pixels", "code"])
        batch = batch.append_column("code", pa.array(codes, pa.binary()))
        return _signed(batch.append_column("computed", pa.array(computed)), "hasher")


def _signed(batch: pa.Table, role: str) -> pa.Table:
    """With the process that did it, as a column `role`."""
    who = f"{ray.util.get_node_ip_address()} {os.getpid()}"
    return batch.append_column(role, pa.array([who] * len(batch), pa.string()))


# -- what comes back -----------------------------------------------------------------------------


def _results(dataset: ray.data.Dataset, paths: Sequence[str]) -> Iterator[Hashed]:
    """What every row has become, in order; those whose bytes another row hashes not complete."""
    processes: dict[str, set] = {"decoder": set(), "hasher": set()}
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for role, seen in processes.items():
            seen.update(table[role].to_pylist())
        for row in table.select(["row", "digest", "code", "reason", "computed"]).to_pylist():
            yield Hashed(path=paths[row.pop("row")], **row)
    for role, seen in processes.items():
        log.info("%d %s processes: %s", len(seen), role, ", ".join(sorted(seen)))
    log.info("%s", dataset.stats())
