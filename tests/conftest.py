"""What tests of several packages share."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from efiss.demo_catalogue import write_catalogue
from hashing.model import Model, Sidecar, read_sidecar
from searcher import versions
from tests.handlers.ranking import IMPORTED, IMPORTED_CATALOGUE, clustered_catalogue
from tests.running import IMAGES, ODD_NAMES, ROOT, efiss, serving

# No test fails because the machine is busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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


def write_tiny_model(folder: Path, seed: int, *more_layers: torch.nn.Module) -> Path:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8 * 8 * 3, 64), *more_layers)
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
    )
    path.with_suffix(".json").write_text(sidecar.to_json())
    return path


class Busy(torch.nn.Module):
    """Changes nothing, and takes a few tenths of a second for that."""

    def forward(self, x):
        square = torch.eye(700) * (x[0, 0] * 0 + 1)  # not a constant, which would be folded
        for _ in range(40):
            square = square @ square
        return x * square[0, 0]


@pytest.fixture(scope="session")
def publish_version(tiny_models):
    """publish_version(root, "1.0.0", codes=…, paths=…, model=…, replace=…, mode=…) -> its folder.

    model: of tiny_models the first; False for a version without one.
    """

    def publish(
        root, version="1.0.0", codes=None, paths=None, model=None, replace=False, mode="default"
    ):
        codes = np.arange(24, dtype=np.uint8).reshape(3, 8) if codes is None else codes
        model = tiny_models[0] if model is None else model or None
        sidecar = read_sidecar(model) if model else None
        contents = versions.Contents(
            codes=codes,
            paths=paths or [f"data/abc.com/{i}_abc_com.jpg" for i in range(len(codes))],
            rejected=[("data/abc.com/broken.jpg", "not a picture")],
            model=model,
            model_name=sidecar.name if sidecar else "",
            model_sha256=sidecar.sha256 if sidecar else "",
            catalogue={"database": "database_info.txt", "sha256": "0" * 64, "lines": 4},
            index_mode=mode,
        )
        with versions.writing(root):
            versions.publish(root, version, contents, replace)
        return root / version

    return publish


# -- a real service: a drawn catalogue, its version, the archive, TorchServe ---------------------


@pytest.fixture(scope="session")
def catalogue(model_path):
    """A folder with data/ (drawn pictures in four shops), database_info.txt, two versions of the
    index of which 1.0.0 is live, the archive of 1.0.0, and IMPORTED, a version of codes alone."""
    # Short, since Unix sockets lie below it and their paths may have 107 letters.
    folder = Path(tempfile.mkdtemp(prefix="efiss-test-"))
    try:
        write_catalogue(folder / "data", IMAGES, 4, seed=1)
        for shop, name in zip(sorted((folder / "data").glob("*/")), ODD_NAMES, strict=False):
            os.rename(sorted(shop.iterdir())[0], os.fsencode(shop) + b"/" + name)
        script = ROOT / "indexer" / "extract_datalake.sh"
        subprocess.run(["bash", script, "data"], cwd=folder, check=True, capture_output=True)
        for version in ("1.0.0", "1.1.0"):
            done = efiss("index", "--model_path", str(model_path), "--new_index_database_version",
                         version, folder=folder)  # fmt: skip
            assert done.returncode == 0, done.stderr
        for command in (["activate", "1.0.0"], ["archive", "--index_version", "1.0.0"]):
            done = efiss(*command, folder=folder)
            assert done.returncode == 0, done.stderr
        _import(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _import(folder: Path) -> None:
    codes, paths = clustered_catalogue(*IMPORTED_CATALOGUE)
    np.save(folder / "codes.npy", codes)
    (folder / "imported.txt").write_text("\n".join(paths) + "\n")
    done = efiss("import", "--codes", "codes.npy", "--database", "imported.txt",
                 "--new_index_database_version", IMPORTED, folder=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def service(catalogue):
    """A running service with two workers that answer in batches, so that requests meet in one."""
    with serving(
        catalogue, EFISS_WORKERS="2", EFISS_BATCH_SIZE="4", EFISS_BATCH_DELAY_MS="20"
    ) as s:
        yield s
