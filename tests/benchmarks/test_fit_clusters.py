"""The benchmark of codes trained on clusters, small."""

import csv

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import fit_clusters
from tests.training import drawn
from trainer.network import HashNetwork

PICTURES = 50

pytestmark = pytest.mark.slow("trains codes, and looks at pictures with the general network")


def test_clusters_are_what_lies_together():
    centres = np.random.default_rng(0).standard_normal((2, 16))
    rows = np.repeat(centres, 10, axis=0) + 0.01 * np.random.default_rng(1).random((20, 16))
    found = fit_clusters.cluster(rows.astype(np.float32), 10).reshape(2, 10)
    assert (found == found[:, :1]).all() and len(set(found[:, 0])) == 2


@pytest.mark.parametrize("kind", fit_clusters.CENTROIDS)
def test_training_brings_a_cluster_to_one_code_and_keeps_outputs_centred(kind):
    torch.manual_seed(0)
    layer = HashNetwork(nn.Identity(), 32, 64).hash.eval()
    random = np.random.default_rng(0)
    members = np.arange(80) % 4
    centres = random.standard_normal((4, 32))
    embeddings = (centres[members] + random.standard_normal((80, 32))).astype(np.float32)

    def bits_apart() -> float:
        signs = layer(torch.from_numpy(embeddings)).detach().numpy() > 0
        return np.mean([np.var(signs[members == one], axis=0).mean() for one in range(4)])

    before = bits_apart()
    fit_clusters.train_on(layer, embeddings, members, kind, 0.1, 200)
    assert bits_apart() < 0.75 * before
    outputs = layer(torch.from_numpy(embeddings)).detach().numpy()
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-4)


def test_prints_the_precision_of_the_closed_form_and_of_every_setting(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(PICTURES)]
    for number, path in enumerate(paths):
        path.write_bytes(drawn(number)[0])
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = [(path, drawn(number)[1]) for number, path in enumerate(paths)]
        csv.writer(file).writerows([("path", "label"), *rows])
    done = CliRunner().invoke(
        fit_clusters.clusters,
        ["--database", tmp_path / "list.txt", "--labels", tmp_path / "labels.csv", "--steps", "2"],
    )
    assert done.exit_code == 0, done.output
    heading, first, *others = done.output.splitlines()
    assert heading.split() == ["cluster", "centroids", "rate", "distance", "fine"]
    assert first.startswith("closed form")
    assert [line.split()[:3] for line in others] == [
        [size, kind, rate]
        for size in ("50", "20", "8") for kind in ("far", "own") for rate in ("0.001", "0.003")
    ]  # fmt: skip
    for line in (first, *others):
        assert all(0 < float(value) <= 1 for value in line.split()[-2:])
