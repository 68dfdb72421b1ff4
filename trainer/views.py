"""What a network sees of a picture while it is trained: augmented views."""

import numpy as np
import torch

from trainer import augment
from trainer.examples import TrainingSet
from trainer.recipe import Recipe


def strengths(recipe: Recipe) -> list[str]:
    """How strongly the views of a picture are augmented: two where they are to get one code, as it
    is in a catalogue and as a phone sees it."""
    if not recipe.instance:
        return [recipe.augmentation]
    return ["none" if recipe.augmentation == "none" else "mild", recipe.augmentation]


def views_of(
    rows: np.ndarray,
    examples: TrainingSet,
    recipe: Recipe,
    how: list[str],
    size: int,
    draw: np.random.Generator,
    share: slice = slice(None),
) -> torch.Tensor:
    """Views of the pictures `rows`, one of each strength `how`, normalised: float [views, n, 3,
    size, size].

    draw: the step's generator.  share: of the rows, those whose views are made; what is drawn for
    them does not depend on it.
    """
    random = torch.Generator().manual_seed(int(draw.integers(2**62)))
    torch.manual_seed(int(draw.integers(2**62)))  # for layers that draw, such as dropout
    drawn = [augment.draw(len(rows), random) for _ in how]
    images = torch.from_numpy(examples.pixels[rows[share]]).permute(0, 3, 1, 2).float() / 255
    views = torch.stack(
        [
            augment.apply(images, {name: value[share] for name, value in one.items()}, size, by)
            for one, by in zip(drawn, how, strict=True)
        ]
    )
    mean, std = (torch.tensor(values).view(1, 1, 3, 1, 1) for values in (recipe.mean, recipe.std))
    return (views - mean) / std
