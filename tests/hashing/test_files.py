"""Files -> codes, in order, whatever their number and whatever is broken among them."""

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from hashing.files import Hashed, hash_files
from hashing.model import Model
from tests.drawing import draw
from tests.pictures import encoded


@pytest.fixture(scope="module")
def tiny(tiny_models) -> Model:
    return Model.load(tiny_models[0])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(11):
        (folder / f"{index}.jpg").write_bytes(encoded(draw(seed=3, index=index)))
    return [str(folder / f"{index}.jpg") for index in range(11)]


def codes(paths, model, **options) -> list[bytes]:
    return [hashed.code for hashed in hash_files(paths, model, **{"workers": 2} | options)]


def test_a_code_is_that_of_the_file_s_bytes_and_comes_with_their_digest(pictures, tiny):
    for hashed, path in zip(hash_files(pictures, tiny, workers=2), pictures, strict=True):
        data = Path(path).read_bytes()
        code = tiny.codes(tiny.pixels(data)[None]).tobytes()
        assert hashed == Hashed(path, hashlib.sha256(data).digest(), code, computed=True)


@pytest.mark.parametrize("workers", [1, 3, 50])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_order_is_that_of_the_paths(pictures, tiny, workers, batch_size):
    paths = pictures * 3 + pictures[::-1]
    found = list(hash_files(paths, tiny, workers=workers, batch_size=batch_size))
    assert [hashed.path for hashed in found] == paths
    first = dict(zip(pictures, codes(pictures, tiny), strict=True))
    assert [hashed.code for hashed in found] == [first[path] for path in paths]


def test_no_paths_give_nothing(tiny):
    assert list(hash_files([], tiny, workers=2)) == []


def test_the_shipped_model_gives_files_the_codes_it_gives_pictures(pictures, model):
    batch = np.stack([model.pixels(Path(path).read_bytes()) for path in pictures])
    assert codes(pictures, model) == [code.tobytes() for code in model.codes(batch)]


def test_a_file_that_cannot_be_read_has_a_reason_and_the_others_their_codes(
    pictures, tiny, tmp_path
):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "cut.jpg").write_bytes(Path(pictures[0]).read_bytes()[:3000])
    os.mkfifo(tmp_path / "pipe.jpg")  # nobody writes to it: whoever reads it waits for ever
    broken = {
        "absent.jpg": "No such file",
        "empty.jpg": "empty",
        "page.jpg": "not a picture",
        "cut.jpg": "damaged",
        "pipe.jpg": "Not a file",
        "": "Not a file",
        "nul\0.jpg": "null",
    }
    bad = [os.path.join(tmp_path, name) for name in broken]
    mixed = [path for pair in zip(pictures, bad, strict=False) for path in pair]
    found = {hashed.path: hashed for hashed in hash_files(mixed, tiny, workers=2, batch_size=3)}
    for path, reason in zip(bad, broken.values(), strict=True):
        assert found[path].code is None and not found[path].computed
        assert reason in found[path].reason
    good = pictures[: len(bad)]
    assert [found[path].code for path in good] == codes(good, tiny)


def test_a_name_that_is_not_utf_8_is_read(pictures, tiny, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    Path(path).write_bytes(Path(pictures[0]).read_bytes())
    assert codes([path], tiny) == codes(pictures[:1], tiny)


def test_the_limit_of_pixels_is_passed_on(pictures, tiny):
    (hashed,) = hash_files(pictures[:1], tiny, workers=1, max_pixels=100)
    assert "megapixels" in hashed.reason


def test_a_code_that_is_known_is_not_computed_again(pictures, tiny):
    known = {hashlib.sha256(Path(path).read_bytes()).digest(): path for path in pictures[:6]}
    found = list(
        hash_files(pictures, tiny, workers=2, known=lambda digest: digest in known and b"8 bytes.")
    )
    assert [hashed.computed for hashed in found] == [False] * 6 + [True] * 5
    assert {hashed.code for hashed in found[:6]} == {b"8 bytes."}
    assert [hashed.code for hashed in found[6:]] == codes(pictures[6:], tiny)


def test_the_network_sees_batches_of_one_size_whatever_is_left_to_do(pictures, tiny):
    """So that a code does not depend on what else was still to be hashed."""
    seen = []

    class Watched:
        sidecar, pixels = tiny.sidecar, staticmethod(tiny.pixels)

        def outputs(self, batch):
            seen.append(batch.shape)
            return tiny.outputs(batch)

    list(hash_files(["absent.jpg", *pictures[:9]], Watched(), workers=2, batch_size=4))
    assert seen == [(4, 8, 8, 3)] * 3  # 4, 4 and 1


def test_files_are_read_as_their_codes_are_taken_and_not_all_at_once(pictures, tiny):
    looked = []

    def known(digest):
        looked.append(digest)
        return b"8 bytes."

    found = hash_files(pictures * 1000, tiny, workers=2, batch_size=2, known=known)
    next(found)
    assert len(looked) <= 4 * 100 * 2 + 2 * (2 * 2 + 1)
    found.close()


def hashed_rows(model):
    """A model that remembers what it hashed: watched, [pixels of one picture as bytes, …]."""
    rows = []

    class Watched:
        sidecar, pixels = model.sidecar, staticmethod(model.pixels)

        def outputs(self, batch):
            rows.extend(row.tobytes() for row in batch if row.any())
            return model.outputs(batch)

    return Watched(), rows


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_same_bytes_are_hashed_once(pictures, tiny, tmp_path, workers, batch_size):
    """Within a batch, in batches side by side, and again much later, when the caller knows them."""
    copies = [str(tmp_path / f"{i}.jpg") for i in range(len(pictures))]
    for path, copy in zip(pictures, copies, strict=True):
        Path(copy).write_bytes(Path(path).read_bytes())
    paths = pictures + copies[::-1] + pictures * 20 + copies * 20
    model, rows = hashed_rows(tiny)
    known, found = {}, []
    for hashed in hash_files(paths, model, workers=workers, batch_size=batch_size, known=known.get):
        known[hashed.digest] = hashed.code
        found.append(hashed)
    assert len(rows) == len(set(rows)) == len(pictures)
    assert sum(hashed.computed for hashed in found) == len(pictures)
    assert [hashed.path for hashed in found] == paths
    wanted = dict(zip(pictures + copies, codes(pictures, tiny) * 2, strict=True))
    assert [hashed.code for hashed in found] == [wanted[path] for path in paths]


def test_the_same_broken_bytes_have_the_same_reason(pictures, tiny, tmp_path):
    paths = [str(tmp_path / f"{i}.jpg") for i in range(9)]
    for path in paths:
        Path(path).write_bytes(Path(pictures[0]).read_bytes()[:3000])
    found = list(hash_files(paths, tiny, workers=3, batch_size=2))
    assert {hashed.code for hashed in found} == {None}
    assert len({hashed.reason for hashed in found}) == 1
    assert "damaged" in found[0].reason


def test_batches_are_filled_from_far_apart(pictures, tiny):
    """New pictures are few among known ones, and the network is not asked for each alone."""
    known = {hashlib.sha256(Path(pictures[0]).read_bytes()).digest(): b"8 bytes."}
    paths = [path for picture in pictures[1:9] for path in [*pictures[:1] * 30, picture]]
    seen = []

    class Watched:
        sidecar, pixels = tiny.sidecar, staticmethod(tiny.pixels)

        def outputs(self, batch):
            seen.append(sum(row.any() for row in batch))
            return tiny.outputs(batch)

    list(hash_files(paths, Watched(), workers=2, batch_size=4, known=known.get))
    assert seen == [4, 4]


def test_whoever_stops_early_leaves_no_threads_behind(pictures, tiny):
    before = threading.active_count()
    found = hash_files(pictures * 100, tiny, workers=3, batch_size=1)
    next(found)
    found.close()
    assert threading.active_count() == before


def test_an_error_of_the_model_is_not_taken_for_a_broken_file(pictures, tiny):
    class Failing:
        sidecar, pixels = tiny.sidecar, staticmethod(tiny.pixels)

        def outputs(self, batch):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(hash_files(pictures, Failing(), workers=2))
