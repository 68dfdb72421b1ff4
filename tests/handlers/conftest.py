"""A real service, started once: a drawn catalogue, its version, the archive, TorchServe."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from efiss.demo_catalogue import write_catalogue
from tests.handlers.ranking import IMPORTED, IMPORTED_CATALOGUE, clustered_catalogue
from tests.running import IMAGES, ODD_NAMES, ROOT, efiss, serving


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
