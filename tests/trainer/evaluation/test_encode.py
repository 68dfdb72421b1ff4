"""One pass over pictures."""

import numpy as np
import pytest
from PIL import Image

from hashing import picture
from tests.pictures import encoded
from trainer.data import DataError, Pictures
from trainer.evaluation.encode import encode, thumbnails


def pictures(count: int) -> Pictures:
    files = [encoded(Image.new("RGB", (20, 20), (row,) * 3), "PNG") for row in range(count)]
    return Pictures("some", {}, np.arange(count).astype(str), files.__getitem__)


class Brightness:
    """What `encode` needs of a model: outputs and embedding are the brightness."""

    def __init__(self, shows_embeddings: bool):
        self.shows_embeddings = shows_embeddings
        self.seen: list[int] = []

    def pixels(self, data: bytes) -> np.ndarray:
        return picture.pixels(picture.decode(data, 8), 8, "bilinear")

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        self.seen += batch[:, 0, 0, 0].tolist()
        return np.repeat(batch[:, 0, 0, :1].astype(np.float32), 64, axis=1)

    def embeddings_and_outputs(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = self.outputs(batch)
        return outputs[:, :1], outputs


def test_rows_keep_their_order_over_batches():
    got = encode(pictures(150), Brightness(True))
    assert got.outputs.shape == (150, 64) and got.outputs[:, 5].tolist() == list(range(150))
    assert got.embedding[:, 0].tolist() == list(range(150))
    assert got.thumbnails[:, 7] * 255 == pytest.approx(np.arange(150), abs=1e-3)


@pytest.mark.parametrize("shows_embeddings", [True, False])
def test_every_picture_passes_the_model_once(shows_embeddings):
    model, told = Brightness(shows_embeddings), []
    got = encode(pictures(100), model, lambda *step: told.append(step))
    assert (got.embedding is not None) == shows_embeddings
    assert sorted(model.seen) == list(range(100))
    assert told == [("hashing some", done, 2) for done in range(3)]


def test_a_damaged_picture_is_said():
    broken = Pictures("some", {}, np.array(["a", "b"]), lambda row: b"no picture")
    with pytest.raises(DataError, match="some, row 0"):
        encode(broken, Brightness(True))


def test_thumbnails_average_areas_whatever_the_size():
    pixels = np.zeros((2, 96, 96, 3), np.uint8)
    pixels[1, :6, :8] = 255  # the first of 16x12 areas
    pixels[1, 6:9, 8:16] = 102  # the upper half of the one at row 1, column 1
    small = thumbnails(pixels).reshape(2, 16, 12, 3)
    assert small[0].max() == 0 and (small[1, 0, 0] == 1).all()
    assert small[1, 1, 1] == pytest.approx(0.2)
    assert small[1].sum() == pytest.approx(3 * 1.2)


def test_thumbnails_of_pictures_smaller_than_them():
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, 4:, :4] = 255
    small = thumbnails(pixels).reshape(16, 12, 3)
    assert (small[8:, :6] == 1).all() and small.sum() == 8 * 6 * 3
