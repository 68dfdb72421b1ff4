"""`efiss search`."""

from pathlib import Path

import click

from efiss_client import Answer, Client
from machine.errors import Problem
from machine.files import written_whole
from machine.settings import service_here


@click.command()
@click.argument(
    "images",
    metavar="IMAGE...",
    nargs=-1,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--like", metavar="PATH", help="A path of the catalogue to search by, instead of an IMAGE."
)
@click.option(
    "--top_k",
    type=click.IntRange(1, 1000),
    help="Results wanted: 10, or with --max_distance 1000 where this is not given.",
)
@click.option("--offset", type=click.IntRange(0), help="Results to pass over: further pages.")
@click.option("--max_distance", type=click.IntRange(0, 64), help="Only results so near, in bits.")
@click.option("--shop", "shops", multiple=True, help="Only of this shop; may be given repeatedly.")
@click.option("--group_by", type=click.Choice(["product"]), help="One picture a product.")
@click.option("--url", help="The service; by default the one on this machine, at EFISS_PORT.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture of the queries and their results (.png or .jpg).",
)
def search(
    images: tuple[Path, ...],
    like: str | None,
    url: str | None,
    sheet: Path | None,
    **options,
) -> None:
    """Ask a running service for the pictures most similar to each IMAGE.

    The paths are the catalogue's; --sheet looks for relative ones from the current folder.

    \b
    Examples:
      efiss search photo.jpg
      efiss search photo.jpg --top_k 24 --sheet results.png
      efiss search photos/*.jpg --top_k 6 --sheet results.png
      efiss search photo.jpg --shop abc.com --shop xyz.com --group_by product
      efiss search --like data/abc.com/69_abc_com.jpg --max_distance 8
    """
    if bool(images) == bool(like):
        raise click.UsageError("give one IMAGE or more, or --like PATH")
    options["shops"] = options["shops"] or None
    answers = []
    with Client(url or service_here()) as client:
        for image in images or (None,):
            answers.append(client.search(image, like=like, **options))
            if len(images) > 1:
                click.echo(f"\nquery {image}")
            click.echo(table(answers[-1], options["offset"] or 0))
            if answers[-1].results and all(one.match == "far" for one in answers[-1].results):
                click.echo("nothing is near: all of these show something else, most likely")
    if sheet:
        _write_sheet(sheet, images or (Path(str(like)),), answers)


def table(answer: Answer, offset: int = 0) -> str:
    """An answer as lines of rank, similarity where that made the order, distance and path.
    offset: results before the first one."""
    is_fine = answer.rank == "fine" and all(one.similarity is not None for one in answer.results)
    heading = f"index version {answer.version}\nrank  "
    lines = [f"{heading}{'similarity  ' if is_fine else ''}distance  path"]
    for rank, found in enumerate(answer.results, offset + 1):
        similarity = f"{found.similarity:10.2f}  " if is_fine else ""
        lines.append(f"{rank:4}  {similarity}{found.distance:8}  {found.path}")
    # A path whose bytes are not UTF-8 travels as surrogates, which a terminal cannot show.
    return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def _write_sheet(path: Path, images: tuple[Path, ...], answers: list[Answer]) -> None:
    from PIL import Image

    from efiss.sheet import Found, contact_sheet

    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise Problem(f"{path} cannot be written: end its name in .png or .jpg")
    found = [Found(image, answer.results) for image, answer in zip(images, answers, strict=True)]
    with written_whole(path) as file:
        contact_sheet(found).save(file, kind)
    click.echo(f"wrote {path}")
