"""`efiss demo-catalogue`."""

from collections.abc import Callable
from pathlib import Path

import click

from efiss.demo_catalogue import write_catalogue


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds, for a click option."""

    def read(value) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise click.BadParameter(f"give a whole number from {low} to {high}, not {value!r}.")
        return number

    return read


@click.command("demo-catalogue")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=whole(1, 100_000),
    metavar="N",
    default=600,
    show_default=True,
    help="How many pictures, 1 to 100000.",
)
@click.option(
    "--shops",
    type=whole(1, 1000),
    metavar="N",
    default=4,
    show_default=True,
    help="How many shops share the pictures, 1 to 1000.",
)
@click.option(
    "--seed",
    type=whole(0, 2**32 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="Another number draws another catalogue; the same draws the same, byte for byte.",
)
def demo_catalogue(folder: Path, images: int, shops: int, seed: int) -> None:
    """Draw a made-up catalogue of garments and accessories into DIR.

    The pictures need no download and no rights: code draws them. Try the whole service on them
    before you have pictures of your own.

    \b
    Example:
      efiss demo-catalogue datalake --images 600 --shops 4

    \b
    Afterwards DIR holds:
      north.example/1_north_example.jpg    one product, 480 x 640
      linden.example/1_linden_example.jpg
      ...
      labels.csv    path, shop, product, article_type, colour, pattern

    If the command is stopped, give it again: it keeps the pictures that are there and draws the
    rest. A larger --images adds to the catalogue.
    """
    with click.progressbar(length=images, label="Drawing", show_pos=True) as bar:
        made = write_catalogue(folder, images, shops, seed, bar.update)
    click.echo(
        f"{folder}: {count(made.images, 'picture')} ({made.drawn} new) in "
        f"{count(made.shops, 'shop')}, {count(made.article_types, 'article type')}, "
        f"{made.seconds:.1f} seconds"
    )


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
