"""RelaHash: one loss on the relative position of a batch's codes; and two terms beside it.

Minh et al., "RelaHash: Deep Hashing With Relative Position", IEEE Access 2023,
doi 10.1109/ACCESS.2023.3259104.  Every class has a fixed binary centroid.  What is compared with
the centroids is not an output itself but where it lies relative to the rest of its batch, which
keeps each bit balanced without a loss of its own.

The loss knows only what the labels say.  `instance_term` and `embedding_term` keep what they don't:
which picture it is, and what the network saw before it became bits.
"""

import torch
import torch.nn.functional as F

TERM_SCALE = 10.0
"""Inverse temperature of the two terms' softmax over cosines."""


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


def instance_term(
    outputs: torch.Tensor, groups: torch.Tensor, neighbourhoods: torch.Tensor | None = None
) -> torch.Tensor:
    """How well two views of one picture find each other among all views of the batch, a scalar.

    outputs: float [2 n, bits], row i and row n + i two views of one picture.  groups: int [n];
    pictures of one group are copies, and no row is told from a copy of itself.  neighbourhoods: int
    [n] or None; with it a row is told only from those with the same number.

    The contrastive loss of SimCLR (Chen et al., 2020, equation 1) on `code_similarities`.
    """
    n = len(groups)
    similarities = TERM_SCALE * code_similarities(outputs)
    other_view = torch.arange(2 * n, device=outputs.device).roll(n)
    both = groups.repeat(2)
    left_out = both[:, None] == both[None, :]
    if neighbourhoods is not None:
        both = neighbourhoods.repeat(2)
        left_out |= both[:, None] != both[None, :]
    left_out[torch.arange(2 * n), other_view] = False
    return F.cross_entropy(similarities.masked_fill(left_out, -torch.inf), other_view)


def embedding_term(outputs: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    """How far the similarities of codes are from those of the float embeddings, a scalar.

    outputs: float [n, bits].  embedding: float [n, width] of the same rows; no gradient flows into
    it.  For every row the cosines to all others (embeddings centred on their mean) become a
    distribution by softmax; the term is the mean Kullback-Leibler divergence of the codes' from the
    embeddings' (relational distillation, as in Park et al., 2019, with the softmax of Hinton et
    al., 2015).
    """
    embedding = embedding.detach().float()
    embedding = F.normalize(embedding - embedding.mean(dim=0), dim=1)
    self_pairs = torch.eye(len(outputs), dtype=torch.bool, device=outputs.device)
    wanted, given = (
        (TERM_SCALE * cosines).masked_fill(self_pairs, -1e4)
        for cosines in (embedding @ embedding.T, code_similarities(outputs))
    )
    return F.kl_div(
        given.log_softmax(dim=1), wanted.log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def code_similarities(outputs: torch.Tensor) -> torch.Tensor:
    """Cosines [n, n] of every row's relative position with the signs of every row's: what the
    service ranks by, with a gradient on one side.  outputs: float [n, bits]."""
    positions = F.normalize(relative_position(outputs.float()), dim=1)
    signs = positions.detach().sign() / positions.shape[1] ** 0.5
    return positions @ signs.T
