"""A network, a recipe and labelled pictures that are small enough to train in a test."""

import functools
import itertools

import numpy as np
import torch
from torch import nn

from tests.drawing import draw, labels
from tests.pictures import encoded
from trainer.data import Pictures, is_held_out
from trainer.examples import TrainingSet, training_set
from trainer.recipe import Recipe


class Tiny(nn.Sequential):
    """A backbone without batch norm: float [n, 3, size, size] -> [n, 16]."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


RECIPE = Recipe(
    backbone="tests.training:Tiny", pretrained=False, epochs=4, batch_size=8, input_size=32,
    training_sizes=(24, 32),
)  # fmt: skip


@functools.cache
def drawn(index: int) -> tuple[bytes, str, str]:
    """JPEG, article type and colour of a drawn picture."""
    what = labels(7, index)
    return encoded(draw(7, index).resize((60, 80))), what.article_type, what.colour


def groups(count: int, held_out: bool = False) -> list[str]:
    """Names of groups that are held out, or that are not."""
    names = (str(number) for number in itertools.count())
    return list(itertools.islice((n for n in names if is_held_out(n) == held_out), count))


def pictures(count: int, start: int = 0, name: str = "drawn", **changes) -> Pictures:
    """Some drawn pictures, each a group by itself, none of them held out unless changed."""
    jpegs, types, colours = zip(*map(drawn, range(start, start + count)), strict=True)
    values = {
        "labels": {"article_type": np.array(types), "colour": np.array(colours)},
        "groups": np.array(groups(count)),
    }
    return Pictures(name, encoded=jpegs.__getitem__, **values | changes)


def examples_of(*parts: Pictures, recipe: Recipe = RECIPE) -> TrainingSet:
    """Some pictures, decoded and in memory."""
    return training_set(list(parts), recipe)


def equal(one: dict, other: dict) -> bool:
    """Whether two states of networks are bitwise the same."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )
