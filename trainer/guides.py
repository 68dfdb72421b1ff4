"""Layers that guide the training of a network and are thrown away after it: a linear classifier of
every label, and a projection in which the two views of a picture are to find each other."""

import torch
from torch import nn

PROJECTED = 128
DROPOUT = 0.2


class Guides(nn.Module):
    """float [n, width] -> logits of every label, float [n, classes], and projections [n, 128]."""

    def __init__(self, width: int, classes: list[int]):
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        self.classifiers = nn.ModuleList(nn.Linear(width, count) for count in classes)
        self.projection = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, PROJECTED),
        )

    def forward(self, embeddings: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        logits = [classifier(self.dropout(embeddings)) for classifier in self.classifiers]
        return logits, self.projection(embeddings)
