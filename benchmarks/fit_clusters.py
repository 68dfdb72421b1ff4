"""Whether RelaHash on the clusters of a catalogue makes better codes than the closed form of `efiss
fit`, by labels that neither sees.  A few minutes; run it from the root of the repository."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import faiss
import numpy as np
import torch
from torch import nn

from hashing.codes import CODE_BITS
from hashing.engine import normalised
from trainer import relahash
from trainer.checkpoint import first_network
from trainer.fit.closed_form import fit_layers, read_prior
from trainer.fit.helps import precision, read_labels
from trainer.fit.run import GENERAL, HERE, RANK_WEIGHT, recipe_of
from trainer.fit.seen import FEWEST, sampled
from trainer.network import BothCodes

SIZES = (50, 20, 8)
"""Pictures of a cluster, on average."""
CENTROIDS = ("far", "own")
RATES = (0.001, 0.003)
"""Of Adam at the first step, times the root mean square of the layer's weights; they fall to zero
along a cosine."""
BATCH = 512
AT_ONCE = 16


@click.command()
@click.option("--database", type=click.Path(path_type=Path), required=True, help="The list.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    required=True,
    help="A CSV file with the columns path and label, as of `efiss fit`.",
)
@click.option("--sample", type=click.IntRange(FEWEST), default=2000, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
def clusters(database: Path, labels: Path, sample: int, steps: int) -> None:
    """Fit codes to a catalogue in closed form, train them on by RelaHash on clusters of it, and
    print the precision@10 of both, by distance and by rank fine.

    Clusters are those of k-means on the closed form's 256 outputs, at length 1.

    \b
    Columns:
      cluster    pictures of one, on average
      centroids  far: drawn far from each other, as in any training; own: the signs of the
                 cluster's mean
      rate       of learning, relative to the weights

    \b
    Example:
      python benchmarks/fit_clusters.py --database database_info.txt --labels labels.csv
    """
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    paths, _ = sampled(database, sample)
    known = read_labels(labels, paths)
    layers, embeddings = _seen(paths)
    click.echo("cluster  centroids    rate  distance   fine")
    for words, outputs in ways(layers, embeddings, steps):
        distance, fine = precision(outputs, known), precision(outputs, known, RANK_WEIGHT)
        click.echo(f"{words:24}{distance:10.3f}{fine:7.3f}")


def ways(layers: BothCodes, embeddings: np.ndarray, steps: int) -> Iterator[tuple[str, np.ndarray]]:
    """The closed form, then every setting: its words and the outputs, float32 [n, 320].

    layers: any of the right shape.  embeddings: of the general network, float32 [n, width].
    """
    fit_layers(layers, embeddings, read_prior(HERE / f"prior-{GENERAL}.npz"))
    outputs = _outputs(layers, embeddings)
    yield "closed form", outputs
    for size in SIZES:
        members = cluster(outputs[:, CODE_BITS:], size)
        for kind in CENTROIDS:
            for rate in RATES:
                trained = copy.deepcopy(layers)
                for layer in (trained.code, trained.fine):
                    train_on(layer, embeddings, members, kind, rate, steps)
                yield f"{size:7}  {kind:9}{rate:8}", _outputs(trained, embeddings)


def cluster(rows: np.ndarray, size: int) -> np.ndarray:
    """The cluster of every row of float32 [n, d], of about `size` rows each: int64 [n]."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    count = max(1, len(rows) // size)
    found = faiss.Kmeans(rows.shape[1], count, niter=25, seed=1, min_points_per_centroid=1)
    found.train(rows)
    return found.index.search(rows, 1)[1][:, 0]


def train_on(
    layer: nn.Sequential,
    embeddings: np.ndarray,
    members: np.ndarray,
    kind: str,
    rate: float,
    steps: int,
) -> None:
    """Train the linear layer from where it is, with clusters int [n] for classes.  Its outputs stay
    centred on the pictures.  kind: one of CENTROIDS."""
    linear, norm = cast(nn.Linear, layer[0]), cast(nn.BatchNorm1d, layer[1])
    values = torch.from_numpy(embeddings)
    targets = nn.functional.one_hot(torch.from_numpy(members)).float()
    if kind == "far":
        centroids = relahash.centroids(targets.shape[1], linear.out_features, seed=0)
    else:
        with torch.no_grad():
            centroids = (targets.T @ layer.eval()(values) > 0).float() * 2 - 1
    scale = float(linear.weight.detach().square().mean().sqrt())
    optimizer = torch.optim.Adam([linear.weight], lr=rate * scale)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draw, count = np.random.default_rng(0), min(BATCH, len(values))
    for _ in range(steps):
        rows = torch.from_numpy(draw.choice(len(values), count, replace=False))
        optimizer.zero_grad()
        relahash.loss(linear(values[rows]), targets[rows], centroids).backward()
        optimizer.step()
        falling.step()
    with torch.no_grad():
        norm.get_buffer("running_mean").copy_(linear(values).mean(dim=0))


def _seen(paths: list[str]) -> tuple[BothCodes, np.ndarray]:
    """The layers to fit, and what the general network sees of the pictures: float32 [n, width]."""
    recipe = recipe_of(GENERAL, None)
    network, sidecar = first_network(recipe).eval(), recipe.sidecar()
    seen = []
    for start in range(0, len(paths), AT_ONCE):
        files = [Path(path).read_bytes() for path in paths[start : start + AT_ONCE]]
        pixels = np.stack([sidecar.pixels(data) for data in files])
        inputs = normalised(pixels, sidecar.mean, sidecar.std, torch.device("cpu"))
        with torch.inference_mode():
            seen.append(network.backbone(inputs).numpy())
    return cast(BothCodes, network.hash), np.concatenate(seen)


@torch.inference_mode()
def _outputs(layers: BothCodes, embeddings: np.ndarray) -> np.ndarray:
    return layers.eval()(torch.from_numpy(embeddings)).numpy()


if __name__ == "__main__":
    clusters()
