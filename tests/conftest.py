"""How the tests run, and what those of several packages share."""

import os
import shutil
import tempfile

# Before torch and FAISS are loaded: the parallelism is the tests', more threads would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MEMORY = "/dev/shm"
ROOM = 4 * 2**30
"""Bytes that have to be free in memory for temporary folders to lie there."""


def _memory_is_fit() -> bool:
    """Whether there is a file system in memory with room, and programs in it may be run."""
    try:
        return not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and (
            shutil.disk_usage(MEMORY).free >= ROOM
        )
    except OSError:
        return False


if "TMPDIR" not in os.environ and _memory_is_fit():
    os.environ["TMPDIR"] = tempfile.tempdir = MEMORY  # fsync costs nothing there

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from hashing.model import Model, Sidecar, read_sidecar
from searcher.index import Index
from searcher.publish import Contents, publish
from tests.drawing import write_catalogue
from tests.handlers.ranking import IMPORTED, IMPORTED_CATALOGUE, clustered_catalogue
from tests.running import IMAGES, ODD_NAMES, ROOT, SECOND_OF_PRODUCT_5, efiss_here, serving

SLOW_SECONDS = 5
SHARED_SERVICE = {"deployed", "service", "served"}
"""Fixtures of the running service."""
LONG = {"slow", "server"}
"""Marks."""
SAYS_WHY = "says why it is slow"

# No test fails because the machine is busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(config, items) -> None:
    """Mark what asks a real service or an image; with `-n`, files with tests that take long come
    first, so that no process is left with one when the others have ended."""
    for item in items:
        is_of_images = item.path.parent.name == "images" and "image" in item.fixturenames
        shares_service = not is_of_images and SHARED_SERVICE.intersection(item.fixturenames)
        if is_of_images:
            item.add_marker("images")
        if shares_service:
            item.add_marker("server")
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if LONG.intersection(item.keywords)}
        items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    says_why = item.get_closest_marker("slow") or item.obj.__doc__
    report.user_properties.append((SAYS_WHY, bool(says_why)))
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    """Name the tests that are slow and do not say why."""
    slow = [
        report
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        and report.duration > SLOW_SECONDS
        and (SAYS_WHY, False) in report.user_properties
    ]
    if not slow:
        return
    terminalreporter.section(
        f"over {SLOW_SECONDS} s, and neither a marker nor a docstring says why"
    )
    for report in sorted(slow, key=lambda report: -report.duration):
        terminalreporter.line(f"{report.duration:6.1f} s  {report.nodeid}")


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The shipped model."""
    return Path(__file__).parents[1] / "torchscripts_models" / "relahash-medium-64bits.pt"


@pytest.fixture(scope="session")
def model(model_path) -> Model:
    return Model.load(model_path)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> list[Path]:
    """Two real models that take no time: they differ in weights and name, input 8x8."""
    return [write_tiny_model(tmp_path_factory.mktemp("tiny"), seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def long_model(tmp_path_factory) -> Path:
    """One as small that gives a longer code, and wants its pictures framed."""
    folder = tmp_path_factory.mktemp("long")
    return write_tiny_model(folder, 3, fine_bits=256, framing="letter", rank_weight=0.5)


def write_tiny_model(folder: Path, seed: int, *more_layers: torch.nn.Module, **fields) -> Path:
    """fields: of the sidecar."""
    torch.manual_seed(seed)
    linear = torch.nn.Linear(8 * 8 * 3, 64 + fields.get("fine_bits", 0))
    layers = torch.nn.Sequential(torch.nn.Flatten(), linear, *more_layers)
    path = folder / f"tiny-{seed}.pt"
    torch.jit.script(layers).save(str(path))
    sidecar = Sidecar(
        name=path.stem,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        bits=64,
        input_size=8,
        resampling="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        **fields,
    )
    path.with_suffix(".json").write_text(sidecar.to_json())
    return path


class Busy(torch.nn.Module):
    """Changes nothing, and takes its time for that: with 700, a few tenths of a second."""

    def __init__(self, side: int = 700):
        super().__init__()
        self.side = side

    def forward(self, x):
        square = torch.eye(self.side) * (x[0, 0] * 0 + 1)  # not a constant, which would be folded
        for _ in range(40):
            square = square @ square
        return x * square[0, 0]


@pytest.fixture(scope="session")
def publish_version(tiny_models):
    """publish_version(root, "1.0.0", codes=…, paths=…, model=…, …) -> its folder.

    model: of tiny_models the first; False for a version without one.
    """

    def written(
        root,
        version="1.0.0",
        codes=None,
        paths=None,
        model=None,
        replace=False,
        mode="default",
        fine_codes=None,
        digests=None,
        shops=None,
    ):
        codes = np.arange(24, dtype=np.uint8).reshape(3, 8) if codes is None else codes
        model = tiny_models[0] if model is None else model or None
        sidecar = read_sidecar(model) if model else None
        contents = Contents(
            codes=codes,
            paths=paths or [f"data/abc.com/{i}_abc_com.jpg" for i in range(len(codes))],
            rejected=[("data/abc.com/broken.jpg", "not a picture")],
            model=model,
            model_name=sidecar.name if sidecar else "",
            model_sha256=sidecar.sha256 if sidecar else "",
            catalogue={"database": "database_info.txt", "sha256": "0" * 64, "lines": 4}
            | ({"shops": shops} if shops else {}),
            index_mode=mode,
            fine_codes=fine_codes,
            digests=digests,
        )
        with Index(root).writing():
            publish(Index(root), version, contents, replace)
        return root / version

    return written


# -- a real service: a drawn catalogue, its version, the archive, TorchServe ---------------------


@pytest.fixture(scope="session")
def deployed(model_path):
    """A folder with data/ (drawn pictures in four shops), database_info.txt, two versions of the
    index of which 1.0.0 is live, the archive of 1.0.0, and IMPORTED, a version of codes alone."""
    # Short, since Unix sockets lie below it and their paths may have 107 letters.
    folder = Path(tempfile.mkdtemp(prefix="efiss-test-"))
    try:
        write_catalogue(folder / "data", IMAGES, 4, seed=1)
        for shop, name in zip(sorted((folder / "data").glob("*/")), ODD_NAMES, strict=False):
            first, second, *_ = sorted(shop.iterdir())
            os.rename(first, os.fsencode(shop) + b"/" + name)
            os.rename(second, shop / SECOND_OF_PRODUCT_5)
        script = ROOT / "indexer" / "extract_datalake.sh"
        subprocess.run(["bash", script, "data"], cwd=folder, check=True, capture_output=True)
        for command in (
            ["index", "--model_path", str(model_path), "--new_index_database_version", "1.0.0"],
            ["index", "--model_path", str(model_path), "--new_index_database_version", "1.1.0"],
            ["activate", "1.0.0"],
            ["archive", "--index_version", "1.0.0"],
        ):
            efiss_here(*command, folder=folder)
        _import(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _import(folder: Path) -> None:
    codes, paths = clustered_catalogue(*IMPORTED_CATALOGUE)
    np.save(folder / "codes.npy", codes)
    (folder / "imported.txt").write_text("\n".join(paths) + "\n")
    efiss_here("import", "--codes", "codes.npy", "--database", "imported.txt",
               "--new_index_database_version", IMPORTED, folder=folder)  # fmt: skip


@pytest.fixture(scope="session")
def service(deployed):
    """A running service with two workers that answer in batches, so that requests meet in one."""
    with serving(deployed, EFISS_WORKERS="2", EFISS_BATCH_SIZE="4", EFISS_BATCH_DELAY_MS="20") as s:
        yield s
