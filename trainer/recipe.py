"""The recipe of a training run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training run depends on; kept in its checkpoints."""

    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    bits: int = 64
    input_size: int = 96
    resampling: str = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    seed: int = 0
