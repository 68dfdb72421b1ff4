"""What runs a model's program: TorchScript itself, or on CPUs OpenVINO, which reads the TorchScript
program, takes less than half the time and gives the same outputs but for float noise.

The file format is TorchScript, and so are the reference and the fallback.
"""

import contextlib
import ctypes
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import torch

from machine.container import available_cores
from machine.errors import Problem
from machine.settings import ENGINE

NOISE = 1e-4
"""By how much outputs of two engines may differ: of the largest output, or of 1 where that is
larger.  Sums are added up in another order."""

GROUPS = (4, 1)
"""Pictures that OpenVINO takes at once.  Compiled for a fixed number, it takes two thirds of the
time that a free one would; four at once take three quarters of the time of four alone, and more
gain nothing."""

Colour = tuple[float, float, float]
"""A value per channel: red, green, blue."""

log = logging.getLogger(__name__)


class EngineError(Problem):
    """The engine that was asked for cannot run the model; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What an engine runs."""

    parts: tuple[torch.jit.ScriptModule, ...]
    """Applied one after the other, float32 [n, 3, size, size] going in: one, or two of a model that
    shows its embeddings."""
    size: int
    """Side of the pictures."""
    mean: Colour
    """Of pixels scaled to 0-1: the first part sees (pixel - mean) / std."""
    std: Colour


class Engine(Protocol):
    """Safe to call from several threads."""

    name: str

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """uint8 [n, size, size, 3] -> what each part gives, float32 [n, …]."""


def normalised(batch: np.ndarray, mean: Colour, std: Colour, device: torch.device) -> torch.Tensor:
    """What the first part takes: uint8 [n, size, size, 3] -> float32 [n, 3, size, size] on the
    device, (pixel - mean) / std of pixels scaled to 0-1."""
    inputs = torch.from_numpy(np.array(batch)).to(device)
    inputs = inputs.permute(0, 3, 1, 2).float()  # NHWC in memory is channels_last
    middle, spread = (
        torch.tensor(one, device=device).view(1, 3, 1, 1) * 255 for one in (mean, std)
    )
    return (inputs - middle) * (1 / spread)


class TorchScript:
    """The program as it is, on any device.  Raises RuntimeError where torch cannot prepare it."""

    name = "TorchScript"

    def __init__(self, program: Program, device: torch.device):
        # channels_last after freezing: 8 ms instead of 11 ms a picture on one CPU core.
        self._parts = [
            torch.jit.freeze(part).to(device, memory_format=torch.channels_last)
            for part in program.parts
        ]
        self._inputs = functools.partial(
            normalised, mean=program.mean, std=program.std, device=device
        )

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """As `Engine` says."""
        with torch.inference_mode():
            values, seen = self._inputs(batch), []
            for part in self._parts:
                values = part(values)
                seen.append(values)
            return [values.float().cpu().numpy() for values in seen]


class OpenVINO:
    """The program as OpenVINO compiles it for this machine's CPU, in float32.

    threads: how many may call it at the same time, one core each; more of them wait for one
    another.  With one it computes in the calling thread; with more it has threads of its own, and
    a process that is forked later cannot use it.
    Raises ImportError, and what its converter raises.
    """

    def __init__(self, program: Program, threads: int):
        ov = _openvino()
        threads = min(threads, available_cores())
        self._home = os.getpid() if threads > 1 else None
        self.name = f"OpenVINO {ov.__version__.partition('-')[0]}"
        graph = _graph(ov, program.parts)
        self._idle = {
            count: _requests(ov, _on_bytes(ov, graph, program, count), threads) for count in GROUPS
        }

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        """As `Engine` says."""
        if not len(batch):
            return [part[:0] for part in self(np.zeros((1, *batch.shape[1:]), np.uint8))]
        batch, start = np.ascontiguousarray(batch), 0
        groups = []
        while start < len(batch):
            count = next(count for count in GROUPS if count <= len(batch) - start)
            groups.append(self._run(batch[start : start + count]))
            start += count
        return [np.concatenate(part) for part in zip(*groups, strict=True)]

    def _run(self, group: np.ndarray) -> list[np.ndarray]:
        if self._home not in (None, os.getpid()):
            raise RuntimeError(
                "a model for several threads cannot be used in a fork: load it there"
            )
        idle = self._idle[len(group)]
        request = idle.get()
        try:
            request.infer([group])  # lets go of the interpreter lock
            return [np.array(tensor.data, np.float32) for tensor in request.output_tensors]
        finally:
            idle.put(request)


def engine_of(program: Program, script: TorchScript, threads: int) -> Engine:
    """What runs a program on this machine's CPU, as EFISS_ENGINE has it.

    script: the same program, which OpenVINO is compared with.  Where that is absent, cannot read it
    or gives other outputs, this is `script`, and the log says so.  threads: as of `OpenVINO`.
    Raises EngineError where OpenVINO was asked for by name.
    """
    wanted = ENGINE.value()
    if wanted == "torchscript":
        return script
    try:
        engine = OpenVINO(program, threads)
        _check_alike(engine, script, program.size)
        return engine
    except ImportError as error:
        reason = f"OpenVINO is not there ({error}); `pip install openvino` makes it twice as fast"
    except Exception as error:  # a converter of arbitrary programs raises nearly anything
        reason = f"OpenVINO cannot run it ({_in_a_line(error)})"
    if wanted == "openvino":
        raise EngineError(f"EFISS_ENGINE is openvino, but {reason}; set it to auto or torchscript")
    _say_once(f"TorchScript runs the model: {reason}")
    return script


def _check_alike(engine: Engine, script: Engine, size: int) -> None:
    """Raise ValueError unless both say the same of pictures of noise, in groups of each size."""
    probe = np.random.default_rng(0).integers(0, 256, (sum(GROUPS), size, size, 3), np.uint8)
    for ours, wanted in zip(engine(probe), script(probe), strict=True):
        if ours.shape != wanted.shape:
            raise ValueError(f"its outputs are {list(ours.shape)}, not {list(wanted.shape)}")
        away = np.abs(ours - wanted).max()
        if not away <= NOISE * max(1.0, np.abs(wanted).max()):
            raise ValueError(f"its outputs are up to {away:.2g} away from TorchScript's")


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)


def _in_a_line(error: Exception) -> str:
    what, *_ = str(error).split("\n\nAt:\n")  # OpenVINO appends a traceback
    return " ".join(what.split())[:300] or type(error).__name__


# -- OpenVINO ------------------------------------------------------------------------------------


def _openvino() -> Any:
    """The module.  Raises ImportError."""
    # Its tools report every import to Google Analytics, unasked; they are not needed here.
    sys.modules.setdefault("openvino.tools", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class _SignalStack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _keeping_signal_stack() -> Iterator[None]:
    """Leave the stack on which this thread handles signals as it was: OpenVINO sets one of its own
    when it compiles, and a signal that comes after the model is gone would end the process by
    SIGSEGV."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


class _Both(torch.nn.Module):
    """Two programs one after the other; gives what each gives."""

    def __init__(self, first: torch.nn.Module, second: torch.nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.first(inputs)
        return seen, self.second(seen)


def _graph(ov: Any, parts: tuple[torch.jit.ScriptModule, ...]) -> Any:
    """The parts as one openvino.Model, for any number and size of pictures."""
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    whole = parts[0] if len(parts) == 1 else torch.jit.script(_Both(*parts).eval())
    reader = ov.frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(torch.jit.freeze(whole))  # lives until the graph is made
    return reader.convert(reader.load(decoder))


def _on_bytes(ov: Any, graph: Any, program: Program, count: int) -> Any:
    """The same for uint8 [count, size, size, 3]: normalising is part of the graph."""
    graph, size = graph.clone(), program.size
    (inputs,) = graph.get_parameters()
    inputs.set_element_type(ov.Type.f32)
    inputs.set_partial_shape(ov.PartialShape([count, 3, size, size]))
    graph.validate_nodes_and_infer_types()
    steps = ov.preprocess.PrePostProcessor(graph)
    pictures = steps.input(0)
    pictures.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    pictures.model().set_layout(ov.Layout("NCHW"))
    normal = pictures.preprocess().convert_element_type(ov.Type.f32)
    normal.mean([255 * one for one in program.mean]).scale([255 * one for one in program.std])
    return steps.build()


def _requests(ov: Any, graph: Any, threads: int) -> SimpleQueue:
    """Compiled, as so many requests as may run at once."""
    options = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # else two processes share one core, and others idle
    }
    with _keeping_signal_stack():
        compiled = ov.Core().compile_model(graph, "CPU", options)
    idle: SimpleQueue = SimpleQueue()
    for _ in range(threads):
        idle.put(compiled.create_infer_request())
    return idle
