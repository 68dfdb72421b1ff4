"""What a network sees of a picture while it is trained: augmented views, made on the device that
trains."""

import numpy as np
import torch

from trainer import augment
from trainer.examples import TrainingSet
from trainer.recipe import Recipe


def strengths(recipe: Recipe) -> list[str]:
    """How strongly the views of a picture are augmented: two where they are to get one code, as it
    is in a catalogue and as a phone sees it."""
    if not recipe.has_pairs:
        return [recipe.augmentation]
    return ["none" if recipe.augmentation == "none" else "mild", recipe.augmentation]


class Views:
    """Makes views of a training set's pictures.  On a GPU all pictures are kept there: a million of
    112x112 pixels are 38 GB."""

    def __init__(self, examples: TrainingSet, recipe: Recipe, device: torch.device):
        self.examples, self.recipe, self.device = examples, recipe, device
        on_device = device.type != "cpu"
        self.stored = torch.from_numpy(examples.pixels[:]).to(device) if on_device else None
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (recipe.mean, recipe.std)
        )

    def __call__(
        self,
        rows: np.ndarray,
        how: list[str],
        size: int,
        draw: np.random.Generator,
        share: slice = slice(None),
    ) -> torch.Tensor:
        """Views of the pictures `rows`, one of each strength `how`, normalised: float [views, n, 3,
        size, size].

        draw: the step's generator.  share: of the rows, those whose views are made; what is drawn
        for them does not depend on it.
        """
        random = torch.Generator(self.device).manual_seed(int(draw.integers(2**62)))
        torch.manual_seed(int(draw.integers(2**62)))  # for layers that draw, such as dropout
        backdrops = self.examples.backdrops
        images, views = self._images(rows[share]), []
        for strength in how:
            drawn = {name: value[share] for name, value in augment.draw(len(rows), random).items()}
            behind = draw.choice(backdrops, len(rows))[share] if len(backdrops) else None
            views.append(
                augment.apply(
                    images,
                    drawn,
                    size,
                    strength,
                    self.recipe.framing,
                    None if behind is None else self._images(behind),
                )
            )
        return torch.stack([(view - self.mean) / self.std for view in views])

    def _images(self, rows: np.ndarray) -> torch.Tensor:
        """float [n, 3, s, s] in 0-1."""
        if self.stored is None:
            pixels = torch.from_numpy(self.examples.pixels[rows])
        else:
            pixels = self.stored[torch.from_numpy(rows).to(self.device)]
        return pixels.permute(0, 3, 1, 2).float() / 255
