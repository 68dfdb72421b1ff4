"""Hubs."""

import numpy as np

from searcher.hubs import hub_share


def test_hubs_are_the_five_rows_that_most_queries_find_first():
    # Of 20 queries: three rows four times each, two rows twice, four rows once.
    firsts = np.array([7] * 4 + [8] * 4 + [9] * 4 + [1] * 2 + [2] * 2 + [3, 4, 5, 6])
    assert hub_share(firsts) == 16 / 20
    assert hub_share(np.array([1, 1, 2])) == 1
