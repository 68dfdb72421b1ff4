"""`efiss index`, killed after every step that it takes, and started again."""

import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from searcher.index import Index
from tests.indexer import killed

PICTURES, COPIES = 12, 3
BATCH_SIZE = WORKERS = 1
UNDER_WAY = BATCH_SIZE * (2 * WORKERS + 1)
"""Pictures that may be hashed when the ones before them are not yet on disk, besides a part."""

STEPS = {
    "read the list": "indexer.pipeline:read_catalogue",
    "load the model": "hashing.model:Model.load",
    "look at the files": "indexer.known_codes:look",
    "find the known ones": "indexer.known_codes:KnownCodes.look_up",
    "read a file": "hashing.reading:_read_local",
    "decode a picture": "hashing.model:Model.pixels",
    "hash a batch": "hashing.files:outputs_of",
    "keep a code": "indexer.known_codes:KnownCodes.keep",
    "write a part": "indexer.table:Table.write_part",
    "merge the parts": "indexer.table:Table.merge",
    "verify the version": "searcher.publish:verify",
    "publish": "indexer.pipeline:publish",
    # And whatever reaches the disk, in any step.
    "sync a file or folder": "os:fsync",
    "put a file in place": "os:replace",
    "put a folder in place": "os:rename",
    "remove a file": "os:unlink",
    "make a folder": "os:mkdir",
}


@pytest.fixture(scope="module")
def processes():
    """Forks of a process that has imported all that is slow to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.indexer.killed", "indexer.pipeline"])
    return context


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A folder with pictures, some of them twice under different names, and their list."""
    folder = tmp_path_factory.mktemp("shop")
    paths = [folder / f"{i}_shop.jpg" for i in range(PICTURES)]
    for seed, path in enumerate(paths):
        blots = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(blots).resize((48, 40), Image.Resampling.BICUBIC).save(path)
    for i in range(COPIES):
        paths.insert(5 * i, shutil.copy(paths[5 * i], folder / f"{i}_copy.jpg"))
    for path in paths:
        os.utime(path, (1e9, 1e9))
    (folder / "database_info.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder


@pytest.fixture(scope="module")
def index(processes, shop, tiny_models):
    """index(root, step, times) -> exit code of a process that indexes the shop; with calls=path it
    counts its steps there."""

    def run(root: Path, *stop, calls: Path | None = None) -> int:
        options = {
            "--database": shop / "database_info.txt",
            "--model_path": tiny_models[0],
            "--dump_index_path": root,
            "--new_index_database_version": "1.0.0",
            "--batch_size": BATCH_SIZE,
            "--num_workers": WORKERS,
        }
        arguments = [str(word) for option in options.items() for word in option]
        what = (killed.index, arguments, root.with_suffix(".log"), *stop)
        if calls:
            what = (killed.counting, calls, list(STEPS.values()), *what)
        process = processes.Process(target=what[0], args=what[1:])
        process.start()
        process.join()
        return process.exitcode

    return run


def hashed(root: Path) -> int:
    """How many pictures all runs have hashed."""
    log = root.with_suffix(".log")
    return log.read_text().count("\n") if log.exists() else 0


def contents(root: Path) -> dict:
    """The version's files, name -> bytes; of the manifest all but the time of making."""
    folder = root / "1.0.0"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["manifest.json"] = json.loads(files["manifest.json"]) | {"created": None}
    return files


@pytest.fixture(scope="module")
def undisturbed(index, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed") / "index"
    assert index(root, calls=root.with_suffix(".calls")) == 0
    assert hashed(root) == PICTURES
    return root


@pytest.fixture(scope="module")
def wanted(undisturbed) -> dict:
    return contents(undisturbed)


@pytest.fixture(scope="module")
def calls(undisturbed) -> Counter[str]:
    """How often each step is called in a whole run."""
    return killed.read_calls(undisturbed.with_suffix(".calls"))


@pytest.mark.slow("two processes for every moment")
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_killed_after_a_step_and_started_again(step, index, wanted, calls, tmp_path):
    """Takes a process for each moment, and mostly another one that goes on from there."""
    assert calls[step]
    for times in killed.moments(step, calls[step]):
        root = tmp_path / str(times)
        assert index(root, step, times) == -signal.SIGKILL, times
        if not Index(root).versions():
            assert index(root) == 0
        assert contents(root) == wanted, times
        assert hashed(root) - PICTURES <= killed.PART_RECORDS + UNDER_WAY, times
        assert sorted(path.name for path in root.iterdir()) == [".codes", ".lock", "1.0.0"], times
        shutil.rmtree(root)
