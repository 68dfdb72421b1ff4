"""Memory that importing and indexing take beyond what they load: it grows with the rows, by less
than 100 bytes each, and not with the length of their paths."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROWS = 500_000
FOLDER = "data/" + "x" * 150

MEASURE = """
import resource, sys
from pathlib import Path

import numpy as np

from indexer import catalogue
from machine import arrays
from searcher import paths

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

# What is read at once stays the same, however many rows there are; here it hides nothing.
arrays.PIECE_BYTES, paths.AT_ONCE, catalogue.BLOCK = 1 << 20, 1 << 14, 1 << 18
root, model = map(Path, sys.argv[1:])
"""

IMPORT = """
from indexer.imported import ImportOrder, import_codes

before = peak()
import_codes(ImportOrder(
    codes=root / "codes.npy", fine_codes=root / "fine.npy", database=root / "list", version="1.0.0",
    index_root=root / "index", index_mode="default", model_path=None, replace=False,
))
print(peak() - before)
"""

ORDER = """
from hashing.model import Model
from indexer import known_codes, pipeline, table

table.AT_ONCE, table.MOST_IN_MEMORY, pipeline.LOOKED_UP_AT_ONCE = 1 << 14, 1 << 16, 1 << 15
known_codes.look = lambda paths, workers: np.ones((len(paths), 2), np.int64)  # no file is there
order = pipeline.Order(
    database=root / "list", model_path=model, device="cpu", version="2.0.0",
    index_root=root / "index", workers=1, batch_size=8, max_pixels=10**6,
)
network = Model.load(model)
"""

KEEP = """
codes = np.load(root / "codes.npy")
digests = np.random.default_rng(0).integers(0, 2**64, (len(codes), 4), np.uint64).view(np.uint8)
key = pipeline._model_key(network, order)
known = known_codes.KnownCodes(order.index_root, key, network.sidecar.outputs // 8)
with open(order.database, "rb") as lines:
    keys = b"".join(known._key(line.rstrip(b"\\n")) for line in lines)
files = np.ones(len(codes), known_codes._FILE)
files["path"] = np.frombuffer(keys, np.uint8).reshape(-1, 16)
of = np.empty(len(codes), known_codes._code_of(codes.shape[1]))
of["digest"] = files["digest"] = digests
of["code"] = codes
known._files.write_part(files)
known._codes.write_part(of)
known_codes.KnownCodes(order.index_root, key, network.sidecar.outputs // 8)  # which sorts them
print(peak())
"""

INDEX = """
before = peak()
summary = pipeline.index_catalogue(order)
assert summary.unchanged == summary.manifest.rows == len(np.load(root / "codes.npy", "r"))
print(peak() - before)
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory) -> Path:
    """A folder with a list, its codes and its longer codes."""
    folder = tmp_path_factory.mktemp("catalogue")
    random = np.random.default_rng(0)
    for name, width in (("codes", 8), ("fine", 32)):
        np.save(folder / f"{name}.npy", random.integers(0, 256, (ROWS, width), np.uint8))
    with open(folder / "list", "w") as file:
        file.writelines(f"{FOLDER}/{row // 1000}.com/{row}_{row}_com.jpg\n" for row in range(ROWS))
    return folder


def taken(program: str, *arguments: Path) -> int:
    """Bytes of memory that a process of its own takes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + program, *map(str, arguments)],
        text=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        # What OpenVINO takes, once for a process, does not grow with the rows.
        env=os.environ | {"EFISS_ENGINE": "torchscript"},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


BESIDE = 96_000_000
"""Bytes, whatever the number of rows; where the values of the tables begin takes 33 MB."""


@pytest.mark.slow("a version of half a million rows")
def test_import(catalogue, tiny_models):
    assert taken(IMPORT, catalogue, tiny_models[0]) < 100 * ROWS + BESIDE


@pytest.mark.slow("a version of half a million rows, and their codes kept before")
def test_index(catalogue, tiny_models):
    """With every code known."""
    taken(ORDER + KEEP, catalogue, tiny_models[0])
    assert taken(ORDER + INDEX, catalogue, tiny_models[0]) < 100 * ROWS + BESIDE
