"""What a search must find: by looking at every row, with no code of the search; and codes that
make it hard."""

import numpy as np

ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def distances_to(query, codes):
    """Hamming distances of codes uint8 [n, 8] to one: int64 [n]."""
    return ONES[codes ^ query].sum(1, dtype=np.int64)


def ranking(codes, query, k, outputs=None, farthest=64, keep=None, products=None):
    """The first k rows by (distance, -similarity, row), and their distances.

    outputs: the query before it became bits, for the similarity.  keep: bool [n], rows that may be
    answered.  products: only the first row of each is answered.
    """
    distances = distances_to(query, codes)
    rows = np.flatnonzero((distances <= farthest) & (True if keep is None else keep))
    if products is None and k < len(rows):
        rows = rows[distances[rows] <= np.sort(distances[rows])[k - 1]]
    similarity = np.zeros(len(rows))
    if outputs is not None:
        scaled = outputs.astype(np.float64) / max(np.abs(outputs).max(), 1e-300)
        signs = np.unpackbits(codes[rows], axis=1).astype(np.int64) * 2 - 1
        similarity = signs @ np.round(scaled * 1024).astype(np.int64)
    rows = rows[np.lexsort((rows, -similarity, distances[rows]))]
    if products is not None:
        seen = set()
        rows = np.array(
            [r for r in rows if not (products[r] in seen or seen.add(products[r]))], int
        )
    return rows[:k], distances[rows[:k]]


def uniform(rng, n):
    return rng.integers(0, 256, (n, 8), np.uint8)


def clustered(rng, n):
    """Few centres, few flipped bits: most distances are shared by many rows."""
    flips = np.packbits(rng.random((n, 64)) < 0.03, axis=1)
    return uniform(rng, 5)[rng.integers(0, 5, n)] ^ flips


def all_equal(rng, n):
    return np.repeat(uniform(rng, 1), n, axis=0)


def complements(rng, n):
    """Distances of 0 and 64, both ends of the scale."""
    return all_equal(rng, n) ^ rng.choice(np.array([0, 255], np.uint8), (n, 1))


def one_distance(rng, n):
    """All three bits away from code 0."""
    flips = np.zeros((n, 64), np.uint8)
    np.put_along_axis(flips, rng.random((n, 64)).argpartition(3, axis=1)[:, :3], 1, axis=1)
    return np.packbits(flips, axis=1)


def one_bucket(rng, n):
    """The first two and the last two bytes are the same in all: of a table of 21 bits all rows lie
    in few of its values."""
    codes = uniform(rng, n)
    codes[:, [0, 1, 2, 5, 6, 7]] = codes[0, [0, 1, 2, 5, 6, 7]]
    return codes


def spread(rng, n, distance=None):
    """So many bits away from code 0, or 0 to 22, the flips spread evenly over three parts of the
    code of 21 or 22 bits: a part has a third of them, so none of them is nearly equal."""
    codes = np.zeros((n, 64), np.uint8)
    distances = rng.integers(0, 23, n) if distance is None else np.full(n, distance)
    for code, distance in zip(codes, distances, strict=True):
        for part, (start, end) in enumerate(((43, 64), (22, 43), (0, 22))):
            flips = (distance + 2 - part) // 3
            code[rng.permutation(np.arange(start, end))[:flips]] = 1
    # Bits are in reading order, the parts from the lowest of the number that 8 bytes are.
    return np.packbits(codes.reshape(n, 8, 8)[:, ::-1].reshape(n, 64), axis=1)


MAKERS = (uniform, clustered, all_equal, complements, one_distance, one_bucket, spread)


def queries_for(rng, codes, count):
    """A third rows of the index, a third near one, a third anything, the last one code 0."""
    queries = uniform(rng, count)
    queries[::3] = codes[rng.integers(0, len(codes), len(queries[::3]))]
    near = codes[rng.integers(0, len(codes), len(queries[1::3]))]
    queries[1::3] = near ^ np.packbits(rng.random((len(near), 64)) < 0.1, axis=1)
    queries[-1] = 0
    return queries


def assert_exact(index, codes, queries, k, outputs=None):
    """The first k of all rows by (distance, -similarity, row), padded with -1."""
    rows, distances = index.search(queries, k, outputs)
    assert (rows.dtype, rows.shape) == (np.int64, (len(queries), k))
    assert (distances.dtype, distances.shape) == (np.int32, (len(queries), k))
    for i, query in enumerate(queries):
        first, its = ranking(codes, query, k, None if outputs is None else outputs[i])
        missing = (0, k - len(first))
        np.testing.assert_array_equal(distances[i], np.pad(its, missing, constant_values=-1))
        np.testing.assert_array_equal(rows[i], np.pad(first, missing, constant_values=-1))


def fine(rng, shape):
    return np.abs(rng.normal(size=shape)) + 1e-3


def coarse(rng, shape):
    """So few values that many rows are equally similar too."""
    return rng.integers(1, 4, shape)


def wide(rng, shape):
    """Some outputs weigh nothing beside others."""
    return 10.0 ** rng.integers(-30, 30, shape)


def outputs_for(rng, codes, count, magnitudes=fine):
    """Outputs of queries: a third with the signs of a row, a third near one, a third anything."""
    bits = np.unpackbits(uniform(rng, count), axis=1)
    bits[::3] = np.unpackbits(codes[rng.integers(0, len(codes), len(bits[::3]))], axis=1)
    near = np.unpackbits(codes[rng.integers(0, len(codes), len(bits[1::3]))], axis=1)
    bits[1::3] = near ^ (rng.random(near.shape) < 0.05)
    return ((bits * 2.0 - 1) * magnitudes(rng, bits.shape)).astype(np.float32)


def assert_exact_by_similarity(index, codes, outputs, k):
    assert_exact(index, codes, np.packbits(outputs > 0, axis=1), k, outputs)


def by_both_codes(codes, fine_codes, outputs, weight):
    """Similarity of every row by both codes, float64 [n], and by the longer code alone."""

    def cosine(values, packed):
        weights = np.round(values.astype(np.float64) / np.abs(values).max() * 1024)
        signs = np.unpackbits(packed, axis=1) * 2.0 - 1
        return signs @ weights / np.linalg.norm(weights) / np.sqrt(len(values))

    own, fine = cosine(outputs[:64], codes), cosine(outputs[64:], fine_codes)
    return (fine + weight * own) / (1 + weight), fine


def ranking_by_both(
    codes, fine_codes, outputs, weight, k, farthest=64, keep=None, products=None, window=1000
):
    """As `ranking` with a longer code: equal distances by its similarity; with a weight the first
    rows, a window of them, by that of both."""
    distances = distances_to(np.packbits(outputs[:64] > 0), codes)
    similar, fine = by_both_codes(codes, fine_codes, outputs, weight or 0)
    rows = np.flatnonzero((distances <= farthest) & (True if keep is None else keep))
    rows = rows[np.lexsort((rows, -fine[rows].round(9), distances[rows]))]
    if weight is not None:
        first = rows[:window]
        order = np.lexsort((np.arange(len(first)), -similar[first].round(9)))
        rows = np.concatenate([first[order], rows[window:]])
    if products is not None:
        _, firsts = np.unique(products[rows], return_index=True)
        rows = rows[np.sort(firsts)]
    return rows[:k], distances[rows[:k]]
