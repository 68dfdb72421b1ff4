"""Hubs: rows that many queries find first, whatever is asked for."""

import numpy as np

HUBS = 5


def hub_share(firsts: np.ndarray) -> float:
    """Share of the queries whose first hit, int [q], is one of the HUBS most frequent ones."""
    _, counts = np.unique(firsts, return_counts=True)
    return float(np.sort(counts)[-HUBS:].sum() / len(firsts))
