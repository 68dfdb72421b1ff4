"""The loss and its terms, against values worked out by other means."""

import math

import numpy as np
import pytest
import torch

from trainer.relahash import (
    TERM_SCALE,
    across_term,
    centroids,
    code_similarities,
    cosines,
    embedding_term,
    instance_term,
    loss,
    relative_position,
    spread_term,
)


def test_relative_position_of_two_rows_by_hand():
    # Mean (2, 0); centred (-1, 0) and (1, 0); Frobenius norm sqrt(2), times sqrt(2) rows: length 1.
    position = relative_position(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    assert torch.allclose(position, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("n", [2, 50, 300])
def test_relative_position_does_not_see_shift_or_scale_and_has_length_1_on_average(n):
    outputs = torch.randn(n, 64, generator=torch.Generator().manual_seed(0))
    position = relative_position(outputs)
    assert torch.allclose(relative_position(7 * outputs + 3), position, atol=1e-5)
    assert torch.allclose(position.mean(dim=0), torch.zeros(64), atol=1e-6)
    assert position.square().sum(dim=1).mean().sqrt().item() == pytest.approx(1)


def test_a_batch_of_equal_outputs_has_no_position_and_no_nan():
    assert torch.equal(relative_position(torch.ones(4, 8)), torch.zeros(4, 8))


def independent_position(outputs) -> list[list[float]]:
    """The formula in plain Python floats."""
    n = len(outputs)
    mean = [sum(row[j] for row in outputs) / n for j in range(len(outputs[0]))]
    centred = [[value - m for value, m in zip(row, mean, strict=True)] for row in outputs]
    norm = math.sqrt(sum(value**2 for row in centred for value in row))
    return [[value / norm * math.sqrt(n) for value in row] for row in centred]


def independent_loss(outputs, targets, signs, margin=0.2, scale=16.0) -> float:
    """The formula row by row, in plain Python floats."""
    total = 0.0
    for position, target in zip(independent_position(outputs), targets, strict=True):
        logits = []
        for weight, centroid in zip(target, signs, strict=True):
            cosine = sum(p * c for p, c in zip(position, centroid, strict=True))
            cosine /= math.sqrt(len(centroid))
            logits.append(scale * (cosine - (margin if weight > 0 else 0)))
        highest = max(logits)
        log_sum = highest + math.log(sum(math.exp(value - highest) for value in logits))
        total -= sum(w * (value - log_sum) for w, value in zip(target, logits, strict=True))
    return total / len(outputs)


@pytest.mark.parametrize("options", [{}, {"margin": 0.0, "scale": 4.0}, {"margin": 0.5}])
@pytest.mark.parametrize("several", [False, True])
def test_the_loss_equals_the_formula_for_one_label_and_for_several(several, options):
    random = np.random.default_rng(0)
    outputs, signs = random.normal(size=(6, 16)), random.choice([-1.0, 1.0], (5, 16))
    targets = np.eye(5)[random.integers(0, 5, 6)]
    if several:
        targets = 0.75 * targets + 0.25 * np.eye(5)[random.integers(0, 5, 6)]
    got = loss(
        torch.tensor(outputs), torch.tensor(targets).float(), torch.tensor(signs).float(), **options
    )
    assert got.item() == pytest.approx(independent_loss(outputs, targets, signs, **options), 1e-5)


def test_the_loss_of_two_rows_by_hand():
    # Positions (-1, 0) and (1, 0); centroids (1, 1) and (-1, 1), of length sqrt(2); both rows are
    # of the first class: its logits are -s and s, less the margin, the other class's s and -s.
    outputs, signs = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    s, margin = math.sqrt(0.5), 0.2
    wanted = (math.log(1 + math.exp(2 * s + margin)) + math.log(1 + math.exp(-2 * s + margin))) / 2
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert loss(outputs, targets, signs, margin, scale=1.0).item() == pytest.approx(wanted)


def test_the_margin_is_asked_of_a_rows_own_classes_alone():
    random = torch.Generator().manual_seed(0)
    outputs, signs = torch.randn(6, 16, generator=random), centroids(3, 16, seed=0)
    # Where all classes are a row's own, taking the margin off all of them changes nothing.
    all_own = torch.full((6, 3), 1 / 3)
    assert torch.allclose(loss(outputs, all_own, signs, 0.5), loss(outputs, all_own, signs, 0.0))
    one_own = torch.eye(3).repeat(2, 1)
    assert loss(outputs, one_own, signs, 0.5) > loss(outputs, one_own, signs, 0.0) + 0.5


def test_outputs_at_their_centroids_cost_less_than_elsewhere():
    signs = centroids(4, 64, seed=0)
    targets = torch.eye(4).repeat(4, 1)
    at_home = loss(signs.repeat(4, 1), targets, signs)
    abroad = loss(signs.roll(1, dims=0).repeat(4, 1), targets, signs)
    assert at_home < 0.1 < abroad


def distances_between(signs: torch.Tensor) -> torch.Tensor:
    """Hamming distances of all pairs of different rows."""
    bits = (signs > 0).numpy()
    pairs = np.count_nonzero(bits[:, None] != bits[None, :], axis=2)
    return torch.from_numpy(pairs[np.triu_indices(len(signs), 1)])


@pytest.mark.parametrize(("classes", "least"), [(2, 40), (10, 31), (100, 22), (200, 21)])
def test_centroids_are_signs_far_apart_and_the_same_for_a_seed(classes, least):
    chosen = centroids(classes, 64, seed=3)
    assert chosen.shape == (classes, 64) and set(chosen.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(chosen, centroids(classes, 64, seed=3))
    assert not torch.equal(chosen, centroids(classes, 64, seed=4))
    # Vectors of random signs are 32 bits apart, give or take 4 a standard deviation: of the 19,900
    # pairs among 200 the nearest lies near 32 - 4 * 4 = 16.
    blind = torch.randint(0, 2, (classes, 64), generator=torch.Generator().manual_seed(3)) - 0.5
    assert distances_between(chosen).min() >= least > distances_between(blind).min()


def test_every_centroid_is_the_farthest_of_its_candidates():
    one_try, chosen = centroids(30, 64, seed=0, tries=1), centroids(30, 64, seed=0, tries=1000)
    assert distances_between(chosen).min() >= distances_between(one_try).min() + 5


def independent_similarities(outputs) -> np.ndarray:
    """cos(row's relative position, sign of another's), in float64."""
    positions = np.array(independent_position(outputs))
    lengths = np.sqrt((positions**2).sum(axis=1))
    cosines = np.empty((len(outputs), len(outputs)))
    for i, one in enumerate(positions):
        for j, other in enumerate(positions):
            cosines[i, j] = (one * np.sign(other)).sum() / lengths[i] / np.sqrt(len(other))
    return cosines


def test_code_similarities_are_cosines_with_signs():
    outputs = np.random.default_rng(1).normal(3, 2, (7, 16))
    got = code_similarities(torch.tensor(outputs))
    assert np.allclose(got, independent_similarities(outputs), atol=1e-5)


def test_code_similarities_pass_gradient_to_the_side_that_is_not_a_sign():
    outputs = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    similarities = code_similarities(outputs)
    signs = relative_position(outputs).detach().sign() / 4
    positions = torch.nn.functional.normalize(relative_position(outputs), dim=1)
    (got,) = torch.autograd.grad(similarities[1, 3], outputs, retain_graph=True)
    (wanted,) = torch.autograd.grad(positions[1] @ signs[3], outputs)
    assert got.abs().sum() > 0 and torch.allclose(got, wanted, atol=1e-7)


def independent_instance_term(outputs, groups) -> float:
    """-log of the share that a row's other view has among all rows but itself and its copies."""
    n, similarities = len(groups), independent_similarities(outputs)
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j == partner or groups[j % n] != groups[i % n]]
        powers = {j: math.exp(TERM_SCALE * similarities[i, j]) for j in others}
        total -= math.log(powers[partner] / sum(powers.values()))
    return total / (2 * n)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3], [0, 1, 0, 2], [5, 5, 5, 1]])
def test_the_instance_term_equals_the_formula_and_leaves_copies_out(groups):
    outputs = np.random.default_rng(2).normal(size=(8, 16))
    got = instance_term(code_similarities(torch.tensor(outputs)), torch.tensor(groups))
    assert got.item() == pytest.approx(independent_instance_term(outputs, groups), rel=1e-5)


def test_the_instance_term_is_small_where_views_agree_and_large_where_they_do_not():
    codes = centroids(8, 64, seed=0)
    groups = torch.arange(8)
    agree = instance_term(code_similarities(torch.cat([codes, codes])), groups)
    disagree = instance_term(code_similarities(torch.cat([codes, codes.roll(1, dims=0)])), groups)
    assert agree < 0.01 and disagree > 5


def independent_embedding_term(outputs, embedding) -> float:
    """Mean over rows of sum over other rows of p log(p / q); p: embeddings, q: codes."""

    def distributions(cosines):
        powers = np.exp(TERM_SCALE * cosines)
        np.fill_diagonal(powers, 0)
        return powers / powers.sum(axis=1, keepdims=True)

    centred = embedding - embedding.mean(axis=0)
    centred /= np.sqrt((centred**2).sum(axis=1, keepdims=True))
    p, q = distributions(centred @ centred.T), distributions(independent_similarities(outputs))
    apart = ~np.eye(len(outputs), dtype=bool)
    return (p[apart] * np.log(p[apart] / q[apart])).sum() / len(outputs)


def test_the_embedding_term_equals_the_formula():
    random = np.random.default_rng(3)
    outputs, embedding = random.normal(size=(9, 16)), random.normal(2, 1, (9, 5))
    got = embedding_term(code_similarities(torch.tensor(outputs)), torch.tensor(embedding))
    assert got.item() == pytest.approx(independent_embedding_term(outputs, embedding), rel=1e-4)


def test_the_terms_pull_on_the_outputs_and_never_on_the_embedding():
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(8, 16, generator=random).requires_grad_()
    embedding = torch.randn(8, 5, generator=random).requires_grad_()
    embedding_term(code_similarities(outputs), embedding).backward()
    assert embedding.grad is None and outputs.grad.norm() > 1e-3
    outputs.grad = None
    instance_term(code_similarities(outputs), torch.arange(4)).backward()
    assert outputs.grad.norm() > 1e-3


def test_the_terms_bear_half_precision():
    outputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    for term, other in ((instance_term, torch.arange(4)), (embedding_term, outputs[:, :9])):
        wanted = term(code_similarities(outputs), other).item()
        got = term(code_similarities(outputs.bfloat16()), other).item()
        assert got == pytest.approx(wanted, rel=0.05)


def a_batch() -> tuple[np.ndarray, list[int], list[int]]:
    """Similarities of eight rows, their kinds and their sources: kind 2 is in one source only."""
    similarities = np.random.default_rng(4).uniform(-1, 1, (8, 8))
    return similarities, [0, 0, 1, -1, 0, 1, 1, -1], [0, 0, 0, 0, 1, 1, 2, 2]


def test_the_term_across_sources_equals_the_formula():
    similarities, kinds, sources = a_batch()
    values = []
    for i in range(8):
        others = [j for j in range(8) if sources[j] != sources[i]]
        right = [j for j in others if kinds[j] == kinds[i] >= 0]
        if not right:
            continue
        powers = {j: math.exp(TERM_SCALE * similarities[i, j]) for j in others}
        shares = [powers[j] / sum(powers.values()) for j in right]
        mean = sum(math.log(share) for share in shares) / len(shares)
        values.append(-(math.log(sum(shares)) + mean) / 2)
    got = across_term(torch.tensor(similarities), torch.tensor(kinds), torch.tensor(sources))
    assert len(values) == 6 and got.item() == pytest.approx(np.mean(values), rel=1e-6)


def test_the_term_of_spread_equals_the_formula():
    similarities, kinds, sources = a_batch()
    rows = [j for j in range(8) if sources[j] == 0]
    asking = [i for i in range(8) if sources[i] > 0 and kinds[i] >= 0]
    found = np.zeros(len(rows))
    for i in asking:
        powers = np.exp(2 * TERM_SCALE * similarities[i, rows])
        found += powers / powers.sum() / len(asking)
    # Kind 0 is asked for by one of three rows and there twice, kind 1 by two and there once.
    wanted = np.array([1 / 6, 1 / 6, 2 / 3, 0])
    divergence = sum(w * math.log(w / f) for w, f in zip(wanted, found, strict=True) if w)
    got = spread_term(torch.tensor(similarities), torch.tensor(kinds), torch.tensor(sources))
    assert got.item() == pytest.approx(divergence, rel=1e-4)


@pytest.mark.parametrize("term", [across_term, spread_term])
def test_of_one_source_there_is_nothing_across(term):
    similarities = torch.rand(4, 4, requires_grad=True)
    value = term(similarities, torch.tensor([-1] * 4), torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert value.item() == 0 and similarities.grad.abs().sum() == 0


def test_cosines_are_of_rows_centred_on_their_mean():
    rows = np.random.default_rng(5).normal(3, 1, (6, 4))
    centred = rows - rows.mean(axis=0)
    lengths = np.sqrt((centred**2).sum(axis=1))
    wanted = centred @ centred.T / np.outer(lengths, lengths)
    assert np.allclose(cosines(torch.tensor(rows)), wanted, atol=1e-6)


@pytest.mark.slow("trains")
@pytest.mark.parametrize("term", ["loss", "instance"])
def test_a_layer_learns_by_descending(term):
    """The loss tells two classes apart; the instance term makes noisy views of a picture agree."""
    random = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(32, 24, generator=random), torch.arange(32) % 2
    inputs[:, 0] += 4.0 * labels
    views = inputs.repeat(2, 1)
    views[:, 12:] = torch.randn(64, 12, generator=random)  # noise: in no two views the same
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 64, bias=False)
    signs, targets = centroids(2, 64, seed=0), torch.eye(2)[labels.repeat(2)]
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)

    def apart() -> tuple[float, float]:
        """Mean distance of what belongs together and of what does not."""
        bits = relative_position(layer(views)) > 0
        distances = (bits[:, None] != bits[None]).sum(dim=2).float()
        names = labels.repeat(2) if term == "loss" else torch.arange(32).repeat(2)
        same = names[:, None] == names[None]
        return distances[same].mean(), distances[~same].mean()

    for _ in range(200):
        optimizer.zero_grad()
        outputs = layer(views)
        if term == "loss":
            value = loss(outputs, targets, signs)
        else:
            value = instance_term(code_similarities(outputs), torch.arange(32))
        value.backward()
        optimizer.step()
    same, different = apart()
    assert same + 12 < different
