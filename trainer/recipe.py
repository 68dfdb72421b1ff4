"""Recipes: everything that a training run depends on, read from a TOML file.

The shipped ones stand in `trainer/recipes/`; docs/training.md explains every key.
"""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path

from hashing.codes import CODE_BITS
from hashing.picture import RESAMPLINGS
from machine.errors import Problem
from trainer.data import Source, source_of

SHIPPED = Path(__file__).parent / "recipes"


class RecipeError(Problem):
    """The recipe cannot be used; the message names the key and says what it may be."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training run depends on; kept in its checkpoints.

    labels: label -> weight of its centroids in a picture's target.  minimum_count: pictures that a
    value of a label needs to become a class.  leave_out: label -> values that training never sees,
    to measure what is not known.  data: what is read below --data; empty means that --data itself
    is a folder of class folders, a CSV or a parquet file.

    weights: file of a state dict that the pretrained backbone starts from; empty: the weights that
    the backbone brings.

    start: checkpoint of another run, or exported model, whose network this one goes on with, but
    for a hash layer of another shape; empty: none.

    hidden: width of a layer of the hash layer before its last; 0: it is a single one.

    frozen: how many of the backbone's parts, from the first, keep the weights they start with: what
    they see of edges and colours is general, and a step costs a third less.

    fixed_views: 0, or how many views of every picture are looked at before the training, which is
    then of the hash layer alone, on the float embeddings of these views: batches may be large.

    neighbours: 0, or how many pictures that lie next to each other in the float embedding the
    instance term tells apart at a time, in batches of its own; the first fixed view is then the
    picture as it is, and the instance term compares it with the second, a mild one.

    training_sizes: sides in pixels of what the network sees while it trains, the epochs divided
    evenly among them.  input_size: the side it is used with.

    The losses: `scale` and `margin` of RelaHash; the weights of the terms `instance` (two views of
    one picture get one code) and `embedding` (codes are as similar as the float embeddings they are
    made from), 0 without.

    own_bits: the last bits of a code, which RelaHash does not see and the instance term sees alone:
    for what the labels do not say.
    """

    backbone: str = "efficientnet-lite0"
    pretrained: bool = True
    weights: str = ""
    start: str = ""
    hidden: int = 0
    labels: dict[str, float] = dataclasses.field(default_factory=dict)
    minimum_count: int = 1
    leave_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    data: tuple[Source, ...] = ()
    data_in_words: str = ""
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    backbone_learning_rate: float = 5e-4
    frozen: int = 0
    fixed_views: int = 0
    neighbours: int = 0
    weight_decay: float = 0.05
    averaging: float = 0.998
    sampling_power: float = 0.5
    training_sizes: tuple[int, ...] = (96,)
    input_size: int = 128
    augmentation: str = "phone"
    margin: float = 0.2
    scale: float = 16.0
    instance: float = 0.5
    embedding: float = 0.5
    own_bits: int = 0
    resampling: str = "bilinear"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    seed: int = 0

    bits: typing.ClassVar[int] = CODE_BITS

    def __post_init__(self):
        """Raises RecipeError for a value that cannot be used."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _fits(value, field.type):
                raise RecipeError(f"{field.name} must be {_words(field.type)}, not {value!r}")
        for source in self.data:
            for field in dataclasses.fields(source):
                value = getattr(source, field.name)
                if not _fits(value, field.type):
                    raise RecipeError(
                        f"data: {field.name} must be {_words(field.type)}, not {value!r}"
                    )
            if min(source.queries_per_class, source.training_per_class) < 0:
                raise RecipeError(
                    "data: queries_per_class and training_per_class must not be negative"
                )
        for name, (lowest, highest) in _BOUNDS.items():
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                if not lowest <= one <= highest:
                    raise RecipeError(f"{name} must be from {lowest} to {highest}, not {one}")
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise RecipeError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        if not self.training_sizes:
            raise RecipeError("training_sizes must name at least one size")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise RecipeError("mean and std must be three numbers each, those of std not 0")
        if self.weights and not self.pretrained:
            raise RecipeError("weights are of a pretrained backbone; set pretrained = true")
        if self.fixed_views == 1 and self.instance:
            raise RecipeError("fixed_views must be 2 or more for the instance term, or 0")
        if self.neighbours and not (self.fixed_views > 2 and self.instance):
            raise RecipeError("for neighbours set fixed_views to 3 or more, and instance above 0")
        if self.neighbours == 1 or self.neighbours > self.batch_size:
            raise RecipeError("neighbours must be from 2 to batch_size, or 0")
        if not all(0 < weight < 1e6 for weight in self.labels.values()):
            raise RecipeError("the weights in labels must be greater than 0")


_BOUNDS = {
    "epochs": (1, 10_000),
    "batch_size": (2, 65_536),
    "learning_rate": (1e-9, 10),
    "backbone_learning_rate": (0, 10),
    "hidden": (0, 65_536),
    "frozen": (0, 1000),
    "fixed_views": (0, 100),
    "neighbours": (0, 65_536),
    "weight_decay": (0, 10),
    "averaging": (0, 0.99999),
    "sampling_power": (0, 1),
    "minimum_count": (1, 10**9),
    "training_sizes": (16, 1024),
    "input_size": (16, 1024),
    "margin": (0, 10),
    "scale": (1e-3, 1000),
    "instance": (0, 100),
    "embedding": (0, 100),
    "own_bits": (0, CODE_BITS - 1),
    "seed": (0, 2**31),
}
_CHOICES = {"augmentation": ("none", "mild", "phone"), "resampling": tuple(RESAMPLINGS)}


def read_recipe(name: str, changes: dict | None = None) -> Recipe:
    """The shipped recipe `name`, or that of the file `name` (.toml), some values changed.
    Raises RecipeError."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {name}; give one of {shipped}, or a file that ends in .toml"
        ) from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    try:
        return recipe_from({**values, **(changes or {})})
    except RecipeError as error:
        raise RecipeError(f"recipe {name}: {error}") from None


def recipe_for(data: Path, name: str | None, changes: dict | None = None) -> Recipe:
    """The recipe `name`; without a name the shipped one whose files lie in the folder `data`, and
    else the defaults on the plain layout that `data` is (`trainer.data.source_of`).
    Raises RecipeError, DataError."""
    if name is None:
        for path in sorted(SHIPPED.glob("*.toml")):
            sources = read_recipe(path.stem).data
            if sources and all(any(data.glob(source.files)) for source in sources):
                name = path.stem
    recipe = read_recipe(name, changes) if name else recipe_from(changes or {})
    return recipe if recipe.data else dataclasses.replace(recipe, data=(source_of(data),))


def recipe_from(values: dict) -> Recipe:
    """A recipe from plain values, as TOML or `dataclasses.asdict` gives them.  Raises RecipeError
    for unknown keys and values that cannot be used."""
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    if unknown := values.keys() - known.keys():
        raise RecipeError(f"unknown key {min(unknown)}; the keys are {', '.join(known)}")
    values = {
        name: tuple(value) if known[name].type.__class__ is types.GenericAlias
        and typing.get_origin(known[name].type) is tuple and isinstance(value, list) else value
        for name, value in values.items()
    }  # fmt: skip
    try:
        sources = tuple(
            source if isinstance(source, Source) else Source(**source)
            for source in values.get("data", ())
        )
    except TypeError as error:
        raise RecipeError(f"data: {str(error).removeprefix('Source.__init__() ')}") from None
    return Recipe(**{**values, "data": sources})


def _fits(value, wanted) -> bool:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is list:
        return isinstance(value, list) and all(_fits(one, arguments[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in value.items()
        )
    if wanted is float:
        return type(value) in (int, float)
    return type(value) is wanted


def _words(wanted) -> str:
    return {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
    }.get(wanted) or {
        tuple: "a list",
        list: "a list",
        dict: "a table",
    }[typing.get_origin(wanted)]
