"""Recipes: everything that a training run depends on, read from a TOML file.

The shipped ones stand in `trainer/recipes/`; docs/training.md explains every key.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hashing import picture
from hashing.codes import CODE_BITS, FINE_BITS
from hashing.model import Sidecar
from machine.errors import Problem
from trainer.data import Source
from trainer.layouts import source_of

SHIPPED = Path(__file__).parent / "recipes"


class RecipeError(Problem):
    """The recipe cannot be used; the message names the key and says what it may be."""


def _from(lowest: float, highest: float, default: Any) -> Any:
    """A field whose number, or whose every number, lies within these bounds."""
    return dataclasses.field(default=default, metadata={"bounds": (lowest, highest)})


def _one_of(choices: Iterable[str], default: str) -> Any:
    """A field that is one of these."""
    return dataclasses.field(default=default, metadata={"choices": tuple(choices)})


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights of what is asked of a code beside the labels; see `Recipe`."""

    instance: float = 0.0
    embedding: float = 0.0
    across: float = 0.0
    spread: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training run depends on; kept in its checkpoints."""

    backbone: str = "efficientnet-lite0"
    """A name that `trainer.backbone.make_backbone` knows."""
    pretrained: bool = True
    weights: str = ""
    """File of a state dict that the pretrained backbone starts from; empty: the weights that the
    backbone brings."""
    start: str = ""
    """Checkpoint of another run, or exported model, whose network this one goes on with, but for a
    hash layer of another shape; empty: none."""
    hidden: int = _from(0, 65_536, 0)
    """Width of a layer of the hash layer before its last; 0: it is a single one."""
    fine_bits: int = 0
    """Of the longer code, that orders what the code found: 0 or 256."""
    labels: dict[str, float] = dataclasses.field(default_factory=dict)
    """Label -> weight of its centroids in a picture's target."""
    minimum_count: int = _from(1, 10**9, 1)
    """Pictures that a value of a label needs to become a class."""
    leave_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """Label -> values that training never sees, to measure what is not known."""
    data: tuple[Source, ...] = ()
    """What is read below --data; empty: --data itself is a folder of class folders, a CSV or a
    parquet file."""
    data_in_words: str = ""
    epochs: int = _from(1, 10_000, 8)
    batch_size: int = _from(2, 65_536, 64)
    learning_rate: float = _from(1e-9, 10, 3e-3)
    """The highest of the hash layer."""
    backbone_learning_rate: float = _from(0, 10, 5e-4)
    """The highest of what is below it."""
    frozen: int = _from(0, 1000, 0)
    """How many of the backbone's parts, from the first, keep the weights they start with: what they
    see of edges and colours is general, and a step costs a third less."""
    fixed_views: int = _from(0, 100, 0)
    """0, or how many views of every picture are looked at before the training, which is then of the
    hash layer alone, on the float embeddings of these views: batches may be large."""
    neighbours: int = _from(0, 65_536, 0)
    """0, or how many pictures that lie next to each other in the float embedding the instance term
    tells apart at a time, in batches of its own; the first fixed view is then the picture as it is,
    and the instance term compares it with the second, a mild one."""
    weight_decay: float = _from(0, 10, 0.05)
    averaging: float = _from(0, 0.99999, 0.998)
    """Decay of the moving average of the weights; 0: the last weights are used."""
    sampling_power: float = _from(0, 1, 0.5)
    """See `trainer.targets.targets_of`."""
    training_sizes: tuple[int, ...] = _from(16, 1024, (96,))
    """Sides in pixels of what the network sees while it trains, the epochs divided evenly among
    them."""
    input_size: int = _from(16, 1024, 128)
    """The side it is used with."""
    augmentation: str = _one_of(("none", "mild", "phone"), "phone")
    """See `trainer.augment.apply`."""
    margin: float = _from(0, 10, 0.2)
    """Of the RelaHash loss, as `scale`."""
    scale: float = _from(1e-3, 1000, 16.0)
    instance: float = _from(0, 100, 0.5)
    """Weight of the term that gives two views of one picture one code; this and the next three: 0:
    without."""
    embedding: float = _from(0, 100, 0.5)
    """Weight of the term that makes codes as similar as the float embeddings they are made from."""
    across: float = _from(0, 100, 0.0)
    """Weight of the term by which pictures of one source find those of their kind, the first
    label's class, in the others."""
    spread: float = _from(0, 100, 0.0)
    """Weight of the term that keeps few pictures from being what every other source finds."""
    fine: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"instance": 3.0, "embedding": 0.5, "across": 0.4, "spread": 2.0}
    )
    """The same weights for the longer code."""
    classifiers: float = _from(0, 100, 0.0)
    """Weight of linear classifiers of all labels on the embedding, thrown away after training, and
    of the embedding's own term across sources."""
    projection: float = _from(0, 100, 0.0)
    """Weight of the instance term on a projection of the embedding, thrown away after training."""
    drop: float = _from(0, 0.9, 0.0)
    """Share of pictures for which the last block is left out in training; of those before it
    less."""
    own_bits: int = _from(0, CODE_BITS - 1, 0)
    """The last bits of a code, which RelaHash does not see and the instance term sees alone: for
    what the labels do not say."""
    resampling: str = _one_of(picture.RESAMPLINGS, "bilinear")
    framing: str = _one_of(picture.FRAMINGS, "squash")
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    seed: int = _from(0, 2**31, 0)

    bits: typing.ClassVar[int] = CODE_BITS

    @property
    def terms(self) -> "Terms":
        """Of the 64-bit code."""
        return Terms(self.instance, self.embedding, self.across, self.spread)

    @property
    def fine_terms(self) -> "Terms":
        """Of the longer one."""
        return Terms(**self.fine)

    @property
    def has_pairs(self) -> bool:
        """Whether two views of every picture are compared."""
        terms = [self.terms, *([self.fine_terms] if self.fine_bits else [])]
        return any(one.instance for one in terms) or self.projection > 0

    def __post_init__(self) -> None:
        """Raises RecipeError for a value that cannot be used."""
        _check_types(self)
        for source in self.data:
            _check_types(source, "data: ")
            if min(source.queries_per_class, source.training_per_class) < 0:
                raise RecipeError(
                    "data: queries_per_class and training_per_class must not be negative"
                )
        for field in dataclasses.fields(self):
            _check_bounds(field, getattr(self, field.name))
        if self.fine_bits not in (0, FINE_BITS):
            raise RecipeError(f"fine_bits must be 0 or {FINE_BITS}")
        if not self.training_sizes:
            raise RecipeError("training_sizes must name at least one size")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise RecipeError("mean and std must be three numbers each, those of std not 0")
        if self.weights and not self.pretrained:
            raise RecipeError("weights are of a pretrained backbone; set pretrained = true")
        if not self.fine.keys() <= {field.name for field in dataclasses.fields(Terms)}:
            raise RecipeError("fine may have the keys instance, embedding, across and spread")
        if not all(0 <= weight <= 100 for weight in self.fine.values()):
            raise RecipeError("the weights in fine must be from 0 to 100")
        if self.fixed_views == 1 and self.has_pairs:
            raise RecipeError("fixed_views must be 2 or more for the instance term, or 0")
        if self.neighbours and not (self.fixed_views > 2 and self.has_pairs):
            raise RecipeError("for neighbours set fixed_views to 3 or more, and instance above 0")
        if self.neighbours == 1 or self.neighbours > self.batch_size:
            raise RecipeError("neighbours must be from 2 to batch_size, or 0")
        if not all(0 < weight < 1e6 for weight in self.labels.values()):
            raise RecipeError("the weights in labels must be greater than 0")

    def sidecar(self, name: str = "", sha256: str = "") -> Sidecar:
        """What stands beside the exported model; the pictures trained on are read by it too."""
        return Sidecar(
            name=name,
            sha256=sha256,
            bits=self.bits,
            input_size=self.input_size,
            resampling=self.resampling,
            mean=self.mean,
            std=self.std,
            training_data=self.data_in_words,
            framing=self.framing,
            fine_bits=self.fine_bits,
        )


def read_recipe(name: str, changes: dict[str, Any] | None = None) -> Recipe:
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


def recipe_for(data: Path, name: str | None, changes: dict[str, Any] | None = None) -> Recipe:
    """The recipe `name`; without a name the shipped one whose files lie in the folder `data`, and
    else the defaults on the plain layout that `data` is (`trainer.layouts.source_of`).
    Raises RecipeError, DataError."""
    if name is None:
        for path in sorted(SHIPPED.glob("*.toml")):
            sources = read_recipe(path.stem).data
            if sources and all(any(data.glob(source.files)) for source in sources):
                name = path.stem
    recipe = read_recipe(name, changes) if name else recipe_from(changes or {})
    return recipe if recipe.data else dataclasses.replace(recipe, data=(source_of(data),))


def recipe_from(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values, as TOML or `dataclasses.asdict` gives them.  Raises RecipeError
    for unknown keys and values that cannot be used."""
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    if unknown := values.keys() - known.keys():
        raise RecipeError(f"unknown key {min(unknown)}; the keys are {', '.join(known)}")
    values = {
        name: tuple(value)
        if typing.get_origin(known[name].type) is tuple and isinstance(value, list)
        else value
        for name, value in values.items()
    }
    try:
        sources = tuple(
            source if isinstance(source, Source) else Source(**source)
            for source in values.get("data", ())
        )
    except TypeError as error:
        raise RecipeError(f"data: {str(error).removeprefix('Source.__init__() ')}") from None
    return Recipe(**{**values, "data": sources})


def changes_of(texts: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE texts as the values that TOML would give; what is not TOML is a text.
    Raises RecipeError."""
    changes: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--set {text}: write KEY=VALUE")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = value
    return changes


def _check_types(values: "Recipe | Source", where: str = "") -> None:
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if not _fits(value, field.type):
            raise RecipeError(f"{where}{field.name} must be {_words(field.type)}, not {value!r}")


def _check_bounds(field: dataclasses.Field, value: Any) -> None:
    if choices := field.metadata.get("choices"):
        if value not in choices:
            raise RecipeError(f"{field.name} must be one of {', '.join(choices)}, not {value!r}")
    elif bounds := field.metadata.get("bounds"):
        lowest, highest = bounds
        for one in value if isinstance(value, tuple) else (value,):
            if not lowest <= one <= highest:
                raise RecipeError(f"{field.name} must be from {lowest} to {highest}, not {one}")


def _fits(value: Any, wanted: Any) -> bool:
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


def _words(wanted: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    words |= {tuple: "a list", list: "a list", dict: "a table"}
    return words[typing.get_origin(wanted) or wanted]
