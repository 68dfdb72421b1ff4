"""What of one version is found again in another, part by part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer import changes
from indexer.changes import Changes, common
from searcher import open_version

keys = st.lists(st.integers(0, 40), max_size=60)


def in_pieces(numbers: list[int]):
    """The keys of such numbers, three a piece."""
    random = changes._mixed(np.array(numbers, np.uint64)[:, None])
    return (random[start : start + 3] for start in range(0, len(numbers), 3))


@pytest.fixture(scope="module", params=[4, changes.AT_ONCE], ids=["in parts", "at once"])
def at_once(request):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(changes, "AT_ONCE", request.param)
        patched.setattr(changes, "ROWS_AT_ONCE", 3)
        yield


@given(ours=keys, theirs=keys)
def test_keys_are_found_as_by_sets(ours, theirs, at_once, tmp_path_factory):
    most = max(len(ours), len(theirs))
    found = common(in_pieces(ours), in_pieces(theirs), most, tmp_path_factory.getbasetemp())
    assert found == (
        sum(number in set(theirs) for number in ours),
        sum(number in set(ours) for number in theirs),
    )


@pytest.fixture
def publish(publish_version, tmp_path):
    """publish("1.0.0", paths, codes, digests): an opened version without a model."""

    def publish(version, paths, codes, digests=None, **more):
        codes = np.array(codes, np.uint64)[:, None].view(np.uint8)
        digests = None if digests is None else np.array(digests, np.uint64)
        more = {"model": False} | more
        publish_version(tmp_path, version, codes=codes, paths=[*paths], digests=digests, **more)
        return open_version(tmp_path / version)

    return publish


@pytest.mark.parametrize(
    ("paths", "contents", "expected"),
    [
        ("abcde", [1, 2, 3, 4, 5], Changes(0, 0, 0, 0)),
        ("edcba", [5, 4, 3, 2, 1], Changes(0, 0, 0, 0)),
        ("abcdefg", [1, 2, 3, 4, 5, 6, 7], Changes(2, 0, 0, 0)),
        ("cde", [3, 4, 5], Changes(0, 2, 0, 2)),
        ("abcde", [1, 2, 3, 8, 9], Changes(0, 0, 2, 2)),
        ("abcde", [5, 1, 2, 3, 4], Changes(0, 0, 5, 0)),  # each name for another picture
        ("vwxyz", [1, 2, 3, 4, 5], Changes(5, 5, 0, 0)),  # moved
        ("vwxyz", [6, 7, 8, 9, 10], Changes(5, 5, 0, 5)),
        ("abcde", [6, 7, 8, 9, 10], Changes(0, 0, 5, 5)),
        ("a", [1], Changes(0, 4, 0, 4)),
        ("abcdx", [1, 2, 3, 3, 3], Changes(1, 1, 1, 2)),
    ],
)
@pytest.mark.parametrize("known_by", ["digests", "codes"])
def test_contents_are_known_by_digests_or_codes(
    publish, tmp_path, at_once, paths, contents, expected, known_by
):
    by_digests = known_by == "digests"
    live = publish("1.0.0", "abcde", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5] if by_digests else None)
    # Where there are digests the codes may all be others, as those of another model are.
    codes = [77] * len(contents) if by_digests else contents
    new = publish("1.1.0", paths, codes, contents if by_digests else None)
    assert changes.changes(new, live, tmp_path) == expected


def test_longer_codes_tell_apart_what_has_the_same_code(publish, tmp_path, at_once):
    fine = np.arange(5 * 32, dtype=np.uint8).reshape(5, 32)
    other = fine.copy()
    other[3:] ^= 1
    live = publish("1.0.0", "abcde", [1] * 5, fine_codes=fine)
    new = publish("1.1.0", "abcde", [1] * 5, fine_codes=other)
    short = publish("1.2.0", "abcde", [1] * 5)
    assert changes.changes(new, live, tmp_path) == Changes(0, 0, 2, 2)
    assert changes.changes(short, live, tmp_path) == Changes(0, 0, 0, 0)


def test_codes_of_two_models_tell_nothing_and_paths_count(publish, tmp_path, tiny_models):
    live = publish("1.0.0", "abcde", [1, 2, 3, 4, 5], model=tiny_models[0])
    new = publish("1.1.0", "abcxy", [6, 7, 8, 9, 10], model=tiny_models[1])
    assert changes.changes(new, live, tmp_path) == Changes(2, 2, 0, 2)


def test_equal_codes_are_counted_and_others_are_not_mixed_up(publish, tmp_path, at_once):
    codes = [*range(1000), *(1 << bit for bit in range(10, 64)), 5, 5, 1 << 63]
    opened = publish("1.0.0", map(str, range(len(codes))), codes)
    counts = np.concatenate([*changes.counts_of_codes(opened, tmp_path)])
    assert sorted(counts.tolist()) == [*[1] * 1052, 2, 3]
    parts = changes._divided(changes._contents(opened, changes.CODES), len(codes), tmp_path)
    if changes.AT_ONCE == 4:  # also by their highest bits
        assert len(parts) == 512 and max(map(len, parts)) < 12


def test_files_are_gone_at_the_end(publish, tmp_path):
    live = publish("1.0.0", "abcde", [1, 2, 3, 4, 5])
    before = sorted(path.name for path in tmp_path.iterdir())
    assert changes.changes(live, live, tmp_path) == Changes(0, 0, 0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
