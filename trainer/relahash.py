"""RelaHash: one loss on the relative position of a batch's codes; and terms beside it.

Minh et al., "RelaHash: Deep Hashing With Relative Position", IEEE Access 2023,
doi 10.1109/ACCESS.2023.3259104.  Every class has a fixed binary centroid.  What is compared with
the centroids is not an output itself but where it lies relative to the rest of its batch, which
keeps each bit balanced without a loss of its own.

The loss knows only what the labels say.  The other terms are of similarities of a batch's rows with
one another: which picture it is, what the network saw before it became bits, what is of one kind in
pictures of different sources.
"""

import torch
import torch.nn.functional as F

TERM_SCALE = 10.0
"""Inverse temperature of the terms' softmax over cosines."""
LEFT_OUT = -1e4
"""Before a softmax, of what does not take part in it."""


def centroids(classes: int, bits: int, seed: int, tries: int = 200) -> torch.Tensor:
    """Binary centroids far apart from each other: float32 [classes, bits] of -1 and +1.

    Greedy: each next centroid is the one of `tries` random sign vectors whose smallest Hamming
    distance to those before it is largest.
    """
    random = torch.Generator().manual_seed(seed)
    chosen = torch.empty(0, bits)
    for _ in range(classes):
        candidates = torch.randint(0, 2, (tries, bits), generator=random).float() * 2 - 1
        best = 0
        if len(chosen):
            distances = (bits - candidates @ chosen.T) / 2
            best = int(distances.min(dim=1).values.argmax())
        chosen = torch.cat([chosen, candidates[best : best + 1]])
    return chosen


def relative_position(outputs: torch.Tensor) -> torch.Tensor:
    """Outputs [n, bits] -> relative positions [n, bits]: centred on the batch mean and divided by
    the root mean square length of the centred rows, so that a row has length 1 on average.

    The published code divides by the Frobenius norm alone; the logits then shrink with the batch.
    """
    centred = outputs - outputs.mean(dim=0)
    return centred / centred.norm().clamp_min(1e-12) * len(outputs) ** 0.5


def loss(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    centroids: torch.Tensor,
    margin: float = 0.2,
    scale: float = 16.0,
) -> torch.Tensor:
    """The RelaHash loss of a batch, a scalar.

    outputs: float [n, bits], targets: float [n, classes], each row a distribution over the classes
    (one-hot for a single label; several labels share the row, each with its weight).
    centroids: float [classes, bits] of -1 and +1.  margin: what a picture's own classes must be
    nearer by.  scale: inverse temperature.
    """
    logits = relative_position(outputs.float()) @ F.normalize(centroids, dim=1).T
    logits = scale * (logits - margin * (targets > 0))
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def instance_term(similarities: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """How well two views of one picture find each other among all views of the batch, a scalar.

    similarities: float [2 n, 2 n], cosines; row i and row n + i are two views of one picture.
    groups: int [n]; pictures of one group are copies, and no row is told from a copy of itself.

    The contrastive loss of SimCLR (Chen et al., 2020, equation 1).
    """
    n = len(groups)
    rows = torch.arange(2 * n, device=similarities.device)
    both = groups.repeat(2)
    left_out = both[:, None] == both[None, :]
    left_out[rows, rows.roll(n)] = False
    return F.cross_entropy(
        (TERM_SCALE * similarities).masked_fill(left_out, -torch.inf), rows.roll(n)
    )


def embedding_term(similarities: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """How far the similarities of codes are from those of the float embeddings, a scalar.

    similarities: float [n, n], cosines.  embedding: float [n, width] of the same rows; no gradient
    flows into it.  For every row the cosines to all others (embeddings centred on their mean)
    become a distribution by softmax; the term is the mean Kullback-Leibler divergence of the codes'
    from the embeddings' (relational distillation, as in Park et al., 2019, with the softmax of
    Hinton et al., 2015).
    """
    wanted_similarities = cosines(embedding.detach())
    self_pairs = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    wanted, given = (
        (TERM_SCALE * one).masked_fill(self_pairs, LEFT_OUT).log_softmax(dim=1)
        for one in (wanted_similarities, similarities)
    )
    return F.kl_div(given, wanted, reduction="batchmean", log_target=True)


def across_term(
    similarities: torch.Tensor, kinds: torch.Tensor, sources: torch.Tensor
) -> torch.Tensor:
    """How well pictures of one source find those of their kind in the others, a scalar.

    similarities: float [n, n], cosines.  kinds: int [n], -1 where the other sources have none of
    the kind.  sources: int [n].  Every row that has right ones is told from all rows of the other
    sources; half of the term is -log of the probability of any right one, half the mean over all
    of them (both forms: Khosla et al., "Supervised Contrastive Learning", 2020).
    """
    others = sources[:, None] != sources[None, :]
    right = others & (kinds[:, None] == kinds[None, :]) & (kinds >= 0)[:, None]
    rows = right.any(dim=1)
    if not rows.any():
        return similarities.sum() * 0
    given = (TERM_SCALE * similarities).masked_fill(~others, LEFT_OUT).log_softmax(dim=1)[rows]
    right = right[rows]
    any_of_them = given.masked_fill(~right, LEFT_OUT).logsumexp(dim=1)
    all_of_them = (given * right).sum(dim=1) / right.sum(dim=1)
    return -(any_of_them + all_of_them).mean() / 2


def spread_term(
    similarities: torch.Tensor, kinds: torch.Tensor, sources: torch.Tensor
) -> torch.Tensor:
    """How far what the later sources' pictures find first in the first source is from all pictures
    of the right kinds alike, a scalar: few rows that are near to everything (hubs) would else be
    what everybody finds.

    Arguments as in `across_term`.  What a row finds is a softmax over the first source's rows; the
    term is the Kullback-Leibler divergence of its mean over the asking rows from the distribution
    that gives every kind its share of them, divided evenly among its rows.
    """
    asking, rows = (sources > 0) & (kinds >= 0), sources == 0
    if not asking.any() or not rows.any():
        return similarities.sum() * 0
    is_kind = F.one_hot(kinds.clamp_min(0), int(kinds.max()) + 1).float()
    there = is_kind[rows] * (kinds[rows] >= 0)[:, None]
    counts = there.sum(dim=0)
    shares = is_kind[asking].mean(dim=0) * (counts > 0)
    shares = shares / shares.sum().clamp_min(1e-9)
    wanted = there @ (shares / counts.clamp_min(1))
    found = (2 * TERM_SCALE * similarities[asking][:, rows]).softmax(dim=1).mean(dim=0)
    return (wanted * (wanted.clamp_min(1e-9).log() - found.clamp_min(1e-9).log())).sum()


def cosines(rows: torch.Tensor) -> torch.Tensor:
    """Cosines [n, n] of float rows [n, d], centred on their mean, with one another."""
    rows = rows.float()
    rows = F.normalize(rows - rows.mean(dim=0), dim=1)
    return rows @ rows.T


def code_similarities(outputs: torch.Tensor) -> torch.Tensor:
    """Cosines [n, n] of every row's relative position with the signs of every row's: what the
    service ranks by, with a gradient on one side.  outputs: float [n, bits]."""
    positions = F.normalize(relative_position(outputs.float()), dim=1)
    signs = positions.detach().sign() / positions.shape[1] ** 0.5
    return positions @ signs.T
