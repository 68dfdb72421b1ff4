"""A trained network -> TorchScript and its sidecar, checked against each other."""

import copy
import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hashing.codes import pack, unpack
from hashing.model import Model, Sidecar
from machine.errors import Problem
from machine.files import write_whole
from trainer.backbone import fold
from trainer.recipe import Recipe

PARITY_PICTURES = 64


class ExportError(Problem):
    """The network cannot be exported as asked."""


def export(network: nn.Module, path: Path, recipe: Recipe) -> Sidecar:
    """Write `path` (.pt) and the sidecar beside it, and check that both give the network's codes.

    Raises ExportError; nothing is then written.
    """
    folded = copy.deepcopy(network).eval()
    fold(folded)
    sample = torch.zeros(1, 3, recipe.input_size, recipe.input_size)
    with torch.inference_mode(), warnings.catch_warnings():
        # Paddings depend on the picture's size, which is always that of the sidecar.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        try:
            program = torch.jit.trace(folded, sample)
        except RuntimeError as error:  # torch's own, where the layers do not fit the size
            raise ExportError(
                f"the network does not take pictures of {recipe.input_size} pixels; give another "
                f"--input_size ({str(error).splitlines()[-1]})"
            ) from error
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    data = buffer.getvalue()
    sidecar = recipe.sidecar(path.stem, hashlib.sha256(data).hexdigest())
    _check_parity(network.eval(), Model.from_program(data, sidecar, "cpu", path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    write_whole(path.with_suffix(".json"), sidecar.to_json().encode())
    return sidecar


def _check_parity(network: nn.Module, model: Model) -> None:
    size = model.sidecar.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (PARITY_PICTURES, size, size, 3), np.uint8)
    with torch.inference_mode():
        wanted = network(model.inputs(pixels)).numpy()
    # Bits of outputs within float noise of zero may differ between two orders of summation.
    clear = np.abs(wanted) >= 1e-4 * np.abs(wanted).max()
    differs = ((unpack(model.codes(pixels)) != unpack(pack(wanted))) & clear).any(axis=1)
    if differs.any():
        raise ExportError(
            f"{int(differs.sum())} of {PARITY_PICTURES} codes of the exported program "
            "differ from the network's; do not use it"
        )
