"""A trained network -> TorchScript and its sidecar, checked against each other."""

import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hashing.codes import pack, unpack
from hashing.model import Model, Sidecar
from machine.errors import Problem
from trainer.recipe import Recipe

PARITY_PICTURES = 64


class ParityError(Problem):
    """The exported program does not compute what the network computes."""


def export(network: nn.Module, path: Path, recipe: Recipe) -> Sidecar:
    """Write `path` (.pt) and the sidecar beside it, and check that both give the network's codes.

    Raises ParityError; nothing is then written.
    """
    network = network.eval()
    sample = torch.zeros(1, 3, recipe.input_size, recipe.input_size)
    with torch.inference_mode(), warnings.catch_warnings():
        # Paddings depend on the picture's size, which is always that of the sidecar.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        program = torch.jit.trace(network, sample)
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    data = buffer.getvalue()
    sidecar = Sidecar(
        name=path.stem,
        sha256=hashlib.sha256(data).hexdigest(),
        bits=recipe.bits,
        input_size=recipe.input_size,
        resampling=recipe.resampling,
        mean=recipe.mean,
        std=recipe.std,
        training_data=recipe.data_in_words,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.stem}.new.pt")
    try:
        staged.write_bytes(data)
        staged.with_suffix(".json").write_text(sidecar.to_json(), encoding="utf-8")
        _check_parity(network, Model.load(staged), recipe)
        os.replace(staged, path)
        os.replace(staged.with_suffix(".json"), path.with_suffix(".json"))
    finally:
        staged.unlink(missing_ok=True)
        staged.with_suffix(".json").unlink(missing_ok=True)
    return sidecar


def _check_parity(network: nn.Module, model: Model, recipe: Recipe) -> None:
    size = recipe.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (PARITY_PICTURES, size, size, 3), np.uint8)
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    inputs = (inputs - torch.tensor(recipe.mean).view(1, 3, 1, 1)) / torch.tensor(recipe.std).view(
        1, 3, 1, 1
    )
    with torch.inference_mode():
        wanted = network(inputs).numpy()
    # Bits of outputs within float noise of zero may differ between two orders of summation.
    clear = np.abs(wanted) >= 1e-4 * np.abs(wanted).max()
    differs = ((unpack(model.codes(pixels)) != unpack(pack(wanted))) & clear).any(axis=1)
    if differs.any():
        raise ParityError(
            f"{int(differs.sum())} of {PARITY_PICTURES} codes of the exported program "
            "differ from the network's; do not use it"
        )
