"""The loss, against values worked out by other means."""

import math

import numpy as np
import pytest
import torch

from trainer.relahash import MARGIN, SCALE, centroids, loss, relative_position


def test_relative_position_of_two_rows_by_hand():
    # Mean (2, 0); centred (-1, 0) and (1, 0); Frobenius norm sqrt(2), times sqrt(2) rows: length 1.
    position = relative_position(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    assert torch.allclose(position, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_relative_position_does_not_see_shift_or_scale_and_has_length_1_on_average():
    outputs = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    position = relative_position(outputs)
    assert torch.allclose(relative_position(7 * outputs + 3), position, atol=1e-5)
    assert torch.allclose(position.mean(dim=0), torch.zeros(64), atol=1e-6)
    assert position.square().sum(dim=1).mean().item() == pytest.approx(1)


def test_a_batch_of_equal_outputs_has_no_position_and_no_nan():
    assert torch.equal(relative_position(torch.ones(4, 8)), torch.zeros(4, 8))


def independent_loss(outputs, targets, signs) -> float:
    """The formula row by row, in plain Python floats."""
    n = len(outputs)
    mean = [sum(row[j] for row in outputs) / n for j in range(len(outputs[0]))]
    centred = [[value - m for value, m in zip(row, mean, strict=True)] for row in outputs]
    norm = math.sqrt(sum(value**2 for row in centred for value in row))
    total = 0.0
    for row, target in zip(centred, targets, strict=True):
        position = [value / norm * math.sqrt(n) for value in row]
        logits = []
        for weight, centroid in zip(target, signs, strict=True):
            cosine = sum(p * c for p, c in zip(position, centroid, strict=True))
            cosine /= math.sqrt(len(centroid))
            logits.append(SCALE * (cosine - (MARGIN if weight > 0 else 0)))
        highest = max(logits)
        log_sum = highest + math.log(sum(math.exp(value - highest) for value in logits))
        total -= sum(w * (value - log_sum) for w, value in zip(target, logits, strict=True))
    return total / n


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_equals_the_formula_for_one_label_and_for_several(several):
    random = np.random.default_rng(0)
    outputs, signs = random.normal(size=(6, 16)), random.choice([-1.0, 1.0], (5, 16))
    targets = np.eye(5)[random.integers(0, 5, 6)]
    if several:
        targets = 0.75 * targets + 0.25 * np.eye(5)[random.integers(0, 5, 6)]
    got = loss(torch.tensor(outputs), torch.tensor(targets).float(), torch.tensor(signs).float())
    assert got.item() == pytest.approx(independent_loss(outputs, targets, signs), rel=1e-5)


def test_outputs_at_their_centroids_cost_less_than_elsewhere():
    signs = centroids(4, 64, seed=0)
    targets = torch.eye(4).repeat(4, 1)
    at_home = loss(signs.repeat(4, 1), targets, signs)
    abroad = loss(signs.roll(1, dims=0).repeat(4, 1), targets, signs)
    assert at_home < 0.1 < abroad


def test_centroids_are_signs_far_apart_and_the_same_for_a_seed():
    chosen = centroids(100, 64, seed=3)
    assert chosen.shape == (100, 64) and set(chosen.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(chosen, centroids(100, 64, seed=3))
    distances = (64 - chosen @ chosen.T) / 2 + 64 * torch.eye(100)
    drawn = torch.randint(0, 2, (100, 64), generator=torch.Generator().manual_seed(3)) * 2.0 - 1
    blind = (64 - drawn @ drawn.T) / 2 + 64 * torch.eye(100)
    assert distances.min() > blind.min()


def test_the_loss_learns_separable_codes():
    random = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(64, 8, generator=random), torch.arange(64) % 2
    inputs[:, 0] += 4.0 * labels
    layer = torch.nn.Linear(8, 64, bias=False)
    signs, targets = centroids(2, 64, seed=0), torch.eye(2)[labels]
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        loss(layer(inputs), targets, signs).backward()
        optimizer.step()
    bits = relative_position(layer(inputs)) > 0
    distances = (bits[:, None] != bits[None]).sum(dim=2).float()
    same = labels[:, None] == labels[None]
    assert distances[same].mean() + 20 < distances[~same].mean()
