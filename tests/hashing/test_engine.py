"""Engines: OpenVINO's outputs are TorchScript's but for float noise, and what it cannot run falls
back on that."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing.connection import Connection

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import photographs
from hashing import engine
from hashing.codes import pack
from hashing.engine import NOISE, EngineError, OpenVINO, TorchScript
from hashing.model import Model
from indexer.pipeline import Order, index_catalogue
from searcher import open_version
from tests import real_data
from tests.hashing.test_model import Halves, Hashing, save_model
from tests.running import ROOT

if find_spec("openvino") is None:  # not by importing it, which would tell Google Analytics
    pytest.skip("NO ENGINE IS TESTED: OpenVINO is not installed", allow_module_level=True)


class Gamma(torch.nn.Module):
    """OpenVINO has no such function."""

    def forward(self, x):
        return x.flatten(1)[:, :64].lgamma()


class Restless(torch.nn.Module):
    """Gives something else each time."""

    def forward(self, x):
        return x.flatten(1)[:, :64] + torch.rand(1)


@pytest.fixture(autouse=True)
def nothing_was_said():
    engine._say_once.cache_clear()


@pytest.fixture(scope="module")
def by_torchscript(model_path) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFISS_ENGINE", "torchscript")
        model = Model.load(model_path)
    assert isinstance(model.engine, TorchScript)
    return model


def noise(model: Model, count: int) -> np.ndarray:
    size = model.sidecar.input_size
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


# The same outputs


def assert_alike(pictures: list[bytes], model: Model, reference: Model, record) -> None:
    """Counts the bits that differ; only where an output is within float noise of zero may one."""
    batches = [
        np.stack([model.pixels(data) for data in pictures[i : i + 32]])
        for i in range(0, len(pictures), 32)
    ]
    ours, wanted = (
        np.concatenate([one.outputs(batch) for batch in batches]) for one in (model, reference)
    )
    flipped = (ours > 0) != (wanted > 0)
    away = float(np.abs(ours - wanted).max())
    record("flipped_bits", int(flipped.sum()))
    print(
        f"{len(pictures)} pictures: {flipped.sum()} of {flipped.size} bits, outputs {away:.1e} away"
    )
    assert away < NOISE
    assert (np.abs(wanted[flipped]) < NOISE).all()
    assert flipped.sum() <= 1e-5 * flipped.size


@pytest.mark.slow("hashes every photograph of the demo twice")
def test_codes_of_the_demo_are_those_of_torchscript(model, by_torchscript, record_property):
    assert isinstance(model.engine, OpenVINO)
    own = [one.jpeg() for one in photographs.catalogue()]
    asked = [one.file.read_bytes() for one in photographs.queries()]
    assert_alike([*own, *asked], model, by_torchscript, record_property)


@real_data.needed
@pytest.mark.slow("hashes 1,000 real photographs twice")
def test_codes_of_real_photographs_are_those_of_torchscript(model, by_torchscript, record_property):
    pictures = []
    for file in ("fashion_products-0.parquet", "clothing_photos.parquet"):
        parts = pq.ParquetFile(real_data.FOLDER / file).iter_batches(500, columns=["jpeg"])
        pictures += next(parts)["jpeg"].to_pylist()
    assert len(pictures) == 1000
    assert_alike(pictures, model, by_torchscript, record_property)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 11])
def test_any_number_of_pictures_is_taken_at_once(model, by_torchscript, count):
    outputs = model.outputs(noise(model, count))
    wanted = by_torchscript.outputs(noise(model, count))
    assert outputs.shape == wanted.shape == (count, 320)
    assert outputs.dtype == np.float32 and np.abs(outputs - wanted).max(initial=0) < NOISE


def test_embeddings_are_those_of_torchscript(tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = save_model(tmp_path, Hashing().eval(), mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])
    ours = Model.load(path)
    monkeypatch.setenv("EFISS_ENGINE", "torchscript")
    wanted = Model.load(path)
    assert ours.shows_embeddings and wanted.shows_embeddings
    for one, other in zip(
        ours.embeddings_and_outputs(noise(ours, 5)),
        wanted.embeddings_and_outputs(noise(ours, 5)),
        strict=True,
    ):
        assert one.shape == other.shape and np.abs(one - other).max() < NOISE


@pytest.mark.slow("indexes 24 photographs with each engine")
def test_an_index_of_one_engine_answers_queries_of_the_other(
    tmp_path, monkeypatch, model_path, model, by_torchscript
):
    files = [one.photograph.file for one in photographs.catalogue() if not one.is_detail][:24]
    database = tmp_path / "database_info.txt"
    database.write_text("".join(f"{file}\n" for file in files))
    for name, other in (("torchscript", model), ("openvino", by_torchscript)):
        monkeypatch.setenv("EFISS_ENGINE", name)
        order = Order(
            database, model_path, "cpu", "1.0.0", tmp_path / name, 2, 8, max_pixels=64_000_000
        )
        index_catalogue(order)
        index = open_version(tmp_path / name / "1.0.0")
        codes = other.codes(np.stack([other.pixels(file.read_bytes()) for file in files]))[:, :8]
        rows, distances = index.search(codes, 1)
        assert [index.path(int(row)) for row in rows[:, 0]] == [str(file) for file in files]
        assert not distances.any()


def test_codes_that_one_engine_computed_are_known_to_the_other(tmp_path, monkeypatch, tiny_models):
    file = photographs.queries()[0].file
    (tmp_path / "database_info.txt").write_text(f"{file}\n")
    computed = []
    for number, name in enumerate(("torchscript", "openvino")):
        monkeypatch.setenv("EFISS_ENGINE", name)
        order = Order(
            tmp_path / "database_info.txt",
            tiny_models[0],
            "cpu",
            f"1.{number}.0",
            tmp_path / "index",
            workers=1,
            batch_size=8,
            max_pixels=64_000_000,
        )
        computed.append(index_catalogue(order).computed)
    assert computed == [1, 0]


# How it runs


def test_it_computes_in_float32_on_threads_that_are_pinned_to_no_core(model_path):
    runs = Model.load(model_path, threads=2).engine
    assert isinstance(runs, OpenVINO) and runs.name.startswith("OpenVINO 20")
    for count, idle in runs._idle.items():
        assert idle.qsize() == 2
        compiled = idle.get().get_compiled_model()
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert compiled.get_property("ENABLE_CPU_PINNING") is False
        assert compiled.input(0).get_shape() == [count, 112, 112, 3]


@pytest.mark.parametrize("threads", [1, 2])
def test_more_threads_than_it_was_made_for_wait_for_one_another(model_path, threads):
    shared = Model.load(model_path, threads=threads)
    batches = [noise(shared, count) for count in range(1, 13)]
    wanted = [shared.outputs(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for one, other in zip(pool.map(shared.outputs, batches), wanted, strict=True):
            assert np.array_equal(one, other)


def test_it_goes_on_where_a_call_failed(model):
    with pytest.raises(RuntimeError):
        model.outputs(np.zeros((1, 5, 5, 3), np.uint8))
    assert model.outputs(noise(model, 1)).shape == (1, 320)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_are_started_later_compute_the_same(model_path, method):
    """In a program of its own: this one has threads of many libraries when it forks."""
    code = f"""
import multiprocessing, numpy as np, torch
from hashing.model import Model
from tests.hashing.test_engine import answer, noise
if __name__ == "__main__":
    torch.set_num_threads(1)
    model = Model.load({str(model_path)!r})
    before = model.outputs(noise(model, 5))
    context = multiprocessing.get_context({method!r})
    end, other = context.Pipe()
    given = model if {method!r} == "fork" else {str(model_path)!r}
    process = context.Process(target=answer, args=(other, given), daemon=True)
    process.start()
    assert end.poll(60), "no answer"
    assert np.array_equal(end.recv(), before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_fork_of_what_has_threads_of_its_own_is_refused_and_does_not_hang(
    model_path, monkeypatch
):
    shared, home = Model.load(model_path, threads=2), os.getpid()
    assert shared.outputs(noise(shared, 1)).shape == (1, 320)
    monkeypatch.setattr(os, "getpid", lambda: home + 1)
    with pytest.raises(RuntimeError, match="load it there"):
        shared.outputs(noise(shared, 1))


def answer(end: Connection, model: Model | str) -> None:
    model = model if isinstance(model, Model) else Model.load(model)
    end.send(model.outputs(noise(model, 5)))


def test_nobody_is_told_that_it_runs(tmp_path, model_path):
    """OpenVINO's tools would report to Google Analytics, and leave files in the home folder."""
    code = f"""
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork"):
        print("REACHED", event, arguments, flush=True)
sys.addaudithook(watch)
from hashing.model import Model
print(Model.load({str(model_path)!r}).engine.name)
assert "openvino_telemetry" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OpenVINO 20") and "REACHED" not in done.stdout
    assert not list(tmp_path.iterdir())


# What falls back


def said(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.name == "hashing.engine"]


@pytest.mark.parametrize(
    ("module", "reason"), [(Gamma, "aten::lgamma"), (Restless, "away from TorchScript's")]
)
def test_what_it_cannot_run_falls_back_with_one_line(tmp_path, caplog, module, reason):
    with caplog.at_level(logging.WARNING):
        model = Model.load(save_model(tmp_path, module()))
    assert isinstance(model.engine, TorchScript)
    (line,) = said(caplog)
    assert line.startswith("TorchScript runs the model: OpenVINO cannot run it") and reason in line
    assert "\n" not in line and len(line) < 400


def test_without_it_the_log_says_once_what_to_install(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = save_model(tmp_path)
    with caplog.at_level(logging.WARNING):
        models = [Model.load(path) for _ in range(2)]
    assert all(isinstance(model.engine, TorchScript) for model in models)
    (line,) = said(caplog)
    assert "pip install openvino" in line


def test_who_asks_for_it_by_name_gets_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("EFISS_ENGINE", "openvino")
    assert isinstance(Model.load(save_model(tmp_path, Halves())).engine, OpenVINO)
    with pytest.raises(EngineError, match=r"aten::lgamma.*set it to auto or torchscript"):
        Model.load(save_model(tmp_path, Gamma()))


def test_codes_of_both_are_packed_alike(tmp_path, monkeypatch):
    path = save_model(tmp_path)
    batch = np.full((1, 8, 8, 3), 128, np.uint8)  # 128/255 is above 32/64, and far from 33/64
    ours = Model.load(path).codes(batch)
    monkeypatch.setenv("EFISS_ENGINE", "torchscript")
    assert np.array_equal(ours, Model.load(path).codes(batch))
    assert np.array_equal(ours, pack(Model.load(path).outputs(batch)))


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from hashing.model import Model
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
model = Model.load(Path(sys.argv[1]))
del model
os.kill(os.getpid(), signal.SIGTERM)
from hashing.engine import _SignalStack
import ctypes
stack = _SignalStack()
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
print(stack.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the stack as on Linux")
def test_a_signal_after_the_model_is_gone_is_handled(tiny_models):
    """On the stack that this thread had before, which here is none of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, tiny_models[0]], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "0"]), done.stderr
