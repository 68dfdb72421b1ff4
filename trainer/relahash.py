"""RelaHash: one loss on the relative position of a batch's codes.

Minh et al., "RelaHash: Deep Hashing With Relative Position", IEEE Access 2023,
doi 10.1109/ACCESS.2023.3259104.  Every class has a fixed binary centroid.  What is compared with
the centroids is not an output itself but where it lies relative to the rest of its batch, which
keeps each bit balanced without a loss of its own.
"""

import torch
import torch.nn.functional as F

MARGIN = 0.2
SCALE = 16.0


def centroids(classes: int, bits: int, seed: int, tries: int = 200) -> torch.Tensor:
    """Binary centroids far apart from each other: float32 [classes, bits] of -1 and +1.

    Greedy: each next centroid is the one of `tries` random sign vectors whose smallest Hamming
    distance to those before it is largest.
    """
    random = torch.Generator().manual_seed(seed)
    chosen = torch.empty(0, bits)
    for _ in range(classes):
        candidates = torch.randint(0, 2, (tries, bits), generator=random).float() * 2 - 1
        if len(chosen):
            distances = (bits - candidates @ chosen.T) / 2
            best = distances.min(dim=1).values.argmax()
        else:
            best = 0
        chosen = torch.cat([chosen, candidates[best : best + 1]])
    return chosen


def relative_position(outputs: torch.Tensor) -> torch.Tensor:
    """Outputs [n, bits] -> relative positions [n, bits]: centred on the batch mean and divided by
    the root mean square length of the centred rows, so that a row has length 1 on average.

    The published code divides by the Frobenius norm alone; the logits then shrink with the batch.
    """
    centred = outputs - outputs.mean(dim=0)
    return centred / centred.norm().clamp_min(1e-12) * len(outputs) ** 0.5


def loss(outputs: torch.Tensor, targets: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The RelaHash loss of a batch, a scalar.

    outputs: float [n, bits], targets: float [n, classes], each row a distribution over the classes
    (one-hot for a single label; several labels share the row, each with its weight).
    centroids: float [classes, bits] of -1 and +1.
    """
    logits = relative_position(outputs.float()) @ F.normalize(centroids, dim=1).T
    logits = SCALE * (logits - MARGIN * (targets > 0))
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
