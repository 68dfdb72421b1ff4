"""Fitting as a whole: catalogue -> sample -> codes in closed form -> exported model -> figures."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch

from hashing.codes import CODE_BITS, FINE_BITS, fine_similarity, hamming, pack, split
from hashing.model import Model, Sidecar, find_model, read_sidecar
from hashing.nearness import Nearness, Scale
from machine import progress, shipped
from machine.container import available_cores
from machine.files import write_whole
from trainer.checkpoint import first_network
from trainer.evaluation.nearness import Asked, nearness
from trainer.export import export
from trainer.fit.closed_form import fit_layers, read_prior
from trainer.fit.helps import Helps, helps, read_labels
from trainer.fit.seen import Seen, look, sampled
from trainer.network import BothCodes, HashNetwork
from trainer.recipe import Recipe

HERE = Path(__file__).parent
GENERAL, FASHION = "general", "fashion"
BACKBONES = (GENERAL, FASHION)
RANK_WEIGHT = Sidecar.rank_weight
MATCHED = 200
"""Pictures that are compared with others to tell what is near."""
GALLERY = 2000
"""Pictures of the sample that the figures are of, at most."""
ALIKE_PERCENT = 1
"""Of the pairs of pictures so many are told to be alike: nothing is known of their types."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was done."""

    listed: int
    """Pictures of the catalogue."""
    seen: Seen
    ours: Helps
    theirs: Helps


def fit(
    database: Path,
    out: Path,
    other: Path,
    backbone: str = GENERAL,
    input_size: int | None = None,
    sample: int = 5000,
    labels: Path | None = None,
    tell: progress.Tell = progress.nobody,
) -> Fitted:
    """Fit a model to the pictures of a list and write it to `out`, its sidecar beside it.

    other: the .pt file of the model to compare with.  backbone: one of BACKBONES.  input_size: its
    own where it is None.  sample: how many pictures are looked at, at most.  labels: a CSV file,
    see `helps.read_labels`; figures only.  For torch set to one thread.
    Raises Problem, with nothing written.
    """
    paths, listed = sampled(database, sample)
    recipe = recipe_of(backbone, input_size)
    network = first_network(recipe).eval()
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.pt"
        export(network, bare, recipe)
        new, old = (Model.load(path, threads=available_cores()) for path in (bare, other))
        seen = look(paths, new, old, tell)
        known = None if labels is None else read_labels(labels, seen.paths)
        tell("fitting", 0, 1)
        layers = cast(BothCodes, network.hash)
        fit_layers(layers, seen.embeddings, read_prior(HERE / f"prior-{backbone}.npz"))
        tell("fitting", 1, 1)
        words = f"{recipe.data_in_words}; codes fitted without labels to {len(seen.paths)} pictures"
        recipe = dataclasses.replace(recipe, data_in_words=f"{words} of a catalogue")
        made = Path(folder) / out.name
        sidecar = export(network, made, recipe)
        outputs = _outputs(network, seen.embeddings[:GALLERY])
        changed = _outputs(network, seen.changed_embeddings)
        sidecar = dataclasses.replace(sidecar, match=match_of(outputs, changed))
        made.with_suffix(".json").write_text(sidecar.to_json(), encoding="utf-8")
        some = None if known is None else known[:GALLERY]
        theirs, changed_theirs = seen.outputs[:GALLERY], seen.changed_outputs
        fitted = Fitted(
            listed,
            seen,
            helps(Model.load(made), outputs, changed, some),
            helps(Model.load(other), theirs, changed_theirs, some),
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, made.read_bytes())
        write_whole(out.with_suffix(".json"), sidecar.to_json().encode())
    return fitted


def recipe_of(backbone: str, input_size: int | None) -> Recipe:
    """How the network is made and what it is shown.  Raises RecipeError."""
    if backbone == GENERAL:
        return Recipe(
            weights=str(HERE / "efficientnet-lite0.pt"),
            input_size=input_size or 224,
            framing="letter",
            fine_bits=FINE_BITS,
            data_in_words="EfficientNet-Lite0 as Google trained it on ImageNet (Apache 2.0)",
        )
    model = find_model(shipped.MODEL)
    sidecar = read_sidecar(model)
    return Recipe(
        start=str(model),
        input_size=input_size or sidecar.input_size,
        framing=sidecar.framing,
        resampling=sidecar.resampling,
        mean=sidecar.mean,
        std=sidecar.std,
        fine_bits=FINE_BITS,
        data_in_words=f"the features of {sidecar.name}: {sidecar.training_data}",
    )


def match_of(outputs: np.ndarray, changed: np.ndarray) -> Nearness:
    """What is near, as far as that can be told without labels: `same` by changed pictures that find
    their own, `alike` by how near few pairs of different pictures are.

    outputs: float32 [n, 320].  changed: of the first q, float32 [q, c, 320].
    """
    half, packed = len(outputs) // 2, pack(outputs)
    own = np.repeat(np.arange(len(changed)).astype(str), changed.shape[1])
    asked = changed.reshape(len(own), -1)
    products = Asked(asked, packed, own, np.arange(len(outputs)).astype(str))
    # Their own picture is not there: whatever they find is wrong.
    some = outputs[half : half + MATCHED]
    strangers = Asked(some, packed[:half], np.full(len(some), "?"), np.full(half, ""))
    found = nearness([strangers], [products], RANK_WEIGHT)
    codes, fine = split(packed[:half])
    bits = np.concatenate([hamming(one, codes) for one in pack(some[:, :CODE_BITS])])
    similarity = fine_similarity(some, codes, fine, RANK_WEIGHT)
    return Nearness(
        _with_alike(found.distance, float(np.floor(np.percentile(bits, ALIKE_PERCENT))), max),
        found.similarity
        and _with_alike(
            found.similarity, float(np.percentile(similarity, 100 - ALIKE_PERCENT)), min
        ),
    )


def _with_alike(scale: Scale, alike: float, farther: Callable[[float, float], float]) -> Scale:
    return Scale(scale.same, round(farther(scale.same, alike), 3))


@torch.inference_mode()
def _outputs(network: HashNetwork, embeddings: np.ndarray) -> np.ndarray:
    """float32 [..., width] -> [..., 320]."""
    flat = torch.from_numpy(embeddings.reshape(-1, embeddings.shape[-1]))
    outputs = network.hash.eval()(flat).numpy()
    return outputs.reshape(*embeddings.shape[:-1], -1)
