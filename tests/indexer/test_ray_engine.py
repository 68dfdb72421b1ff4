"""`efiss index --engine ray`, on real Ray: one node here, and two nodes that are both here."""

import dataclasses
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from indexer.pipeline import Order, index_catalogue
from searcher import open_version
from searcher.index import Index
from tests.conftest import Busy, write_tiny_model
from tests.running import ROOT, efiss

ray = pytest.importorskip("ray", reason="ray is missing: pip install 'efiss-ai[ray]'")
ray_engine = pytest.importorskip("indexer.ray_engine")

PICTURES, COPIES, BROKEN = 240, 20, 4
WAIT_SECONDS = 600


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> list[str]:
    """Paths relative to the current folder: pictures, copies of some before and behind them, files
    that are no pictures (two of them alike), a missing one, and a name that is not UTF-8."""
    folder = tmp_path_factory.mktemp("shop")
    os.makedirs(folder / "data")
    rng = np.random.default_rng(0)
    names = [f"data/{i}_shop.jpg" for i in range(PICTURES - 1)] + ["data/\udcff_shop.jpg"]
    for name in names:
        blots = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), np.uint8)
        Image.fromarray(blots).resize((60, 48), Image.Resampling.BICUBIC).save(folder / name)
    for i in range(COPIES):
        names.append(f"data/{i}_copy.jpg")
        shutil.copy(folder / names[11 * i], folder / names[-1])
    for i in range(BROKEN):
        names.append(f"data/{i}_broken.jpg")
        (folder / names[-1]).write_bytes(b"<html>%d</html>" % (i // 2))
    names.append("data/missing.jpg")
    random.Random(0).shuffle(names)
    for file in (folder / "data").iterdir():
        os.utime(file, (1e9, 1e9))
    text = "".join(f"{name}\n" for name in names)
    (folder / "database_info.txt").write_bytes(os.fsencode(text))
    home = os.getcwd()
    os.chdir(folder)
    yield names
    os.chdir(home)


@pytest.fixture
def order(shop, model_path, tmp_path) -> Order:
    """With the shipped model, whose codes would show another shape of the batches."""
    return Order(
        database=Path("database_info.txt"),
        model_path=model_path,
        device="cpu",
        version="1.0.0",
        index_root=tmp_path / "index",
        workers=2,
        batch_size=8,
        max_pixels=1_000_000,
        engine="ray",
    )


def contents(root: Path, version: str = "1.0.0") -> dict:
    """The version's files, name -> bytes; of the manifest all but the time of making."""
    folder = root / version
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["manifest.json"] = json.loads(files["manifest.json"]) | {"created": None}
    return files


def counts(summary) -> tuple[int, int, int, int]:
    """Hashed now, unchanged, known by content, duplicates."""
    return summary.computed, summary.unchanged, summary.by_content, summary.duplicates


@pytest.fixture(scope="module")
def wanted(shop, model_path, tmp_path_factory) -> dict:
    """What the other engine makes."""
    root = tmp_path_factory.mktemp("threads") / "index"
    order = Order(Path("database_info.txt"), model_path, "cpu", "1.0.0", root, 2, 8, 1_000_000)
    assert counts(index_catalogue(order)) == (PICTURES, 0, 0, COPIES)
    return contents(root)


def processes(log: str, role: str) -> set[str]:
    """Address and process id of every worker that the log says did something."""
    return set(re.search(rf"\d+ {role} processes: (.*)", log)[1].split(", "))


def operators(log: str) -> list[str]:
    return re.findall(r"Operator \d+ (.*?): \d+ tasks executed", log)


def of_ray() -> dict[int, str]:
    """Process id -> command line, of the processes of Ray that are alive."""
    lines = {p.pid: " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])}
    return {pid: one for pid, one in lines.items() if one.startswith("ray::") or "/ray/" in one}


def test_the_same_version_and_the_work_is_shared(order, wanted, caplog):
    before = of_ray()
    with caplog.at_level(logging.INFO, "indexer.ray_engine"):
        summary = index_catalogue(order)
    assert contents(order.index_root) == wanted
    assert counts(summary) == (PICTURES, 0, 0, COPIES)

    reading, hashing = operators(caplog.text)[-2:]
    assert "decode" in reading and "Hash" not in reading
    assert hashing == "MapBatches(Hash)"
    decoders, hashers = (processes(caplog.text, role) for role in ("decoder", "hasher"))
    assert len(decoders) > 1 and len(hashers) > 1
    assert not decoders & hashers

    deadline = time.monotonic() + WAIT_SECONDS
    while (left := of_ray().keys() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert not list(Path("/tmp").glob(f"efiss-ray-*/session_*_{os.getpid()}"))


def test_longer_codes_and_framing_are_those_of_the_other_engine(order, long_model, tmp_path):
    """Ray is started for it."""
    made = {}
    for engine in ("threads", "ray"):
        root = tmp_path / engine
        index_catalogue(
            dataclasses.replace(order, engine=engine, index_root=root, model_path=long_model)
        )
        made[engine] = contents(root)
    assert made["ray"] == made["threads"]
    assert len(made["ray"]["fine_codes.npy"]) == 128 + 32 * len(contents_paths(tmp_path / "ray"))


def contents_paths(root: Path) -> list[str]:
    index = open_version(root / "1.0.0")
    return index.paths(np.arange(index.manifest.rows))


def test_what_is_known_is_known_to_both_engines(order, wanted, shop, tmp_path):
    """Half of the list by threads, all by Ray; and a touched file is not hashed again."""
    half = tmp_path / "half.txt"
    half.write_bytes(os.fsencode("".join(f"{path}\n" for path in shop[: len(shop) // 2])))
    first = index_catalogue(change(order, database=half, engine="threads"))
    touched = next(path for path in shop[:30] if path.endswith("_shop.jpg"))
    os.utime(touched, (1.1e9, 1.1e9))
    try:
        summary = index_catalogue(change(order, version="1.0.1"))
    finally:
        os.utime(touched, (1e9, 1e9))
    assert summary.computed == PICTURES - first.computed
    assert summary.unchanged == first.manifest.rows - 1
    assert summary.by_content >= 1
    assert sum(counts(summary)) == PICTURES + COPIES
    for name in ("index.bin", "paths.bin"):
        assert contents(order.index_root, "1.0.1")[name] == wanted[name]


def change(order: Order, **fields) -> Order:
    return dataclasses.replace(order, **fields)


# -- a worker that is killed ---------------------------------------------------------------------


def test_a_hashing_process_killed_at_work(order, tmp_path):
    model_path = write_tiny_model(tmp_path, 0, Busy())
    threads = change(
        order, engine="threads", model_path=model_path, index_root=tmp_path / "threads"
    )
    index_catalogue(threads)
    started = {p.pid for p in psutil.process_iter()}
    command = [sys.executable, "-m", "efiss", "index", "--engine", "ray", "--num_workers", "2"]
    command += ["--batch_size", "8", "--new_index_database_version", "1.0.0"]
    command += ["--dump_index_path", str(order.index_root), "--model_path", str(model_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        victim = at_work(process, started)
        os.kill(victim, signal.SIGKILL)
        assert process.poll() is None and not Index(order.index_root).versions()
        replaced = another_at_work(process, started, victim)
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert replaced
    assert f"hashed now {PICTURES}, " in output
    assert contents(order.index_root) == contents(threads.index_root)


def hashers(process, before: set[int]) -> dict[int, str]:
    """pid -> title, of the hashing actors that this run has started."""
    found = {}
    for child in psutil.process_iter(["cmdline"]):
        title = " ".join(child.info["cmdline"] or []).rstrip()  # padded to its first length
        if child.pid not in before and title.startswith("ray::") and "(Hash)" in title:
            found[child.pid] = title
    return found


def at_work(process, before: set[int]) -> int:
    """A hashing process, as soon as it works: Ray then adds the method to its title."""
    deadline = time.monotonic() + WAIT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for pid, title in hashers(process, before).items():
            if title.endswith(".submit"):
                return pid
        time.sleep(0.005)
    process.kill()
    raise AssertionError(process.communicate()[0])


def another_at_work(process, before: set[int], victim: int) -> bool:
    """Whether the killed one is gone and others work on."""
    while process.poll() is None:
        now = hashers(process, before)
        if victim not in now and any(title.endswith(".submit") for title in now.values()):
            return True
        time.sleep(0.005)
    return False


# -- a cluster that runs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Two nodes, both on this machine, with one CPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def test_a_cluster_that_runs(order, wanted, cluster, tmp_path):
    """It goes on running, and the model is where the workers are not told to look for it."""
    for version in ("1.0.0", "1.0.1"):
        root = tmp_path / version
        index_catalogue(
            change(order, index_root=root, version=version, ray_address=cluster.address)
        )
    assert contents(tmp_path / "1.0.0") == wanted
    ray.init(cluster.address, log_to_driver=False)
    try:
        assert [node["Alive"] for node in ray.nodes()] == [True, True]
    finally:
        ray.shutdown()


# -- refused -------------------------------------------------------------------------------------


def test_an_address_where_no_cluster_is(order):
    with socket.socket() as held:  # bound and not listening: nobody can answer there
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        done = efiss(
            "index", "--engine", "ray", "--ray_address", address,
            "--new_index_database_version", "1.0.0", "--dump_index_path", str(order.index_root),
            "--model_path", str(order.model_path),
            folder=Path.cwd(),
        )  # fmt: skip
    assert done.returncode == 1
    assert f"the Ray cluster at {address} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert Index(order.index_root).versions() == []


def test_a_named_gpu(order):
    with pytest.raises(ray_engine.EngineError, match="use --device cuda or --device cpu"):
        index_catalogue(change(order, device="cuda:0"))
    assert not order.index_root.exists()


def test_without_the_extra(order):
    """As where it is not installed: a folder that hides the package."""
    hidden = order.index_root.parent / "hidden"
    hidden.mkdir()
    (hidden / "ray.py").write_text("raise ImportError(\"No module named 'ray'\")\n")
    done = subprocess.run(
        [sys.executable, "-m", "efiss", "index", "--engine", "ray",
         "--new_index_database_version", "1.0.0", "--dump_index_path", str(order.index_root),
         "--model_path", str(order.model_path)],
        env=os.environ | {"PYTHONPATH": f"{hidden}:{ROOT}"}, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'efiss-ai[ray]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not order.index_root.exists()
