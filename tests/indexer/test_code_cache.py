"""The code cache: codes by content, a model's apart from another's."""

import hashlib

import numpy as np

from indexer.code_cache import CodeCache


def digest(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def code(i: int) -> bytes:
    return i.to_bytes(8, "big")


def fill(root, numbers, model="one") -> CodeCache:
    cache = CodeCache(root, model)
    for i in numbers:
        cache.add(digest(i), code(i))
    cache.flush()
    return cache


def test_keeps_codes(tmp_path):
    fill(tmp_path, range(5))
    cache = CodeCache(tmp_path, "one")
    assert [cache.get(digest(i)) for i in range(6)] == [*map(code, range(5)), None]
    keys = np.frombuffer(b"".join(map(digest, [7, 4, 0])), np.uint8).reshape(3, 32)
    found, codes = cache.find(keys)
    assert found.tolist() == [False, True, True]
    assert (codes.dtype, codes.shape) == (np.uint8, (3, 8))
    assert [row.tobytes() for row in codes[1:]] == [code(4), code(0)]


def test_nothing_is_found_in_an_empty_one(tmp_path):
    found, codes = CodeCache(tmp_path, "one").find(np.zeros((3, 32), np.uint8))
    assert (found.tolist(), codes.shape) == ([False] * 3, (3, 8))


def test_models_do_not_share_codes(tmp_path):
    fill(tmp_path, [1])
    assert CodeCache(tmp_path, "other").get(digest(1)) is None


def test_what_is_known_is_not_written_again(tmp_path):
    fill(tmp_path, [1, 2])
    fill(tmp_path, [2, 1])
    assert [part.name for part in (tmp_path / ".codes/one").iterdir()] == ["00000001.npy"]
