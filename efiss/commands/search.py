"""`efiss search`."""

from pathlib import Path

import click

from hashing.settings import SettingError, port
from searcher.client import ServiceError
from searcher.client import search as ask


@click.command()
@click.argument(
    "images",
    metavar="IMAGE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--top_k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Results wanted."
)
@click.option("--url", help="The service; by default the one on this machine, at EFISS_PORT.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture of the queries and their results (.png or .jpg).",
)
def search(images: tuple[Path, ...], top_k: int, url: str | None, sheet: Path | None) -> None:
    """Ask a running service for the pictures most similar to each IMAGE.

    The paths are the catalogue's; --sheet looks for relative ones from the current folder.

    \b
    Examples:
      efiss search photo.jpg
      efiss search photo.jpg --top_k 24 --sheet results.png
      efiss search photos/*.jpg --top_k 6 --sheet results.png
    """
    answers = []
    try:
        url = url or f"http://127.0.0.1:{port()}"
        for image in images:
            answers.append(ask(url, image.read_bytes(), top_k))
            if len(images) > 1:
                click.echo(f"\nquery {image}")
            click.echo(table(answers[-1]))
    except (ServiceError, SettingError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if sheet:
        _write_sheet(sheet, images, answers)


def table(answer: dict) -> str:
    """An answer as lines of rank, distance and path."""
    rows = zip(answer["distances"], answer["relevant"], strict=True)
    lines = [f"{rank:4}  {distance:8}  {path}" for rank, (distance, path) in enumerate(rows, 1)]
    heading = f"index version {answer['index_database_version']}\nrank  distance  path"
    # A path whose bytes are not UTF-8 travels as surrogates, which a terminal cannot show.
    return "\n".join([heading, *lines]).encode("utf-8", "replace").decode("utf-8")


def _write_sheet(path: Path, images: tuple[Path, ...], answers: list[dict]) -> None:
    from efiss.sheet import Found, contact_sheet

    found = [
        Found(image, answer["relevant"], answer["distances"])
        for image, answer in zip(images, answers, strict=True)
    ]
    try:
        contact_sheet(found).save(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
    click.echo(f"wrote {path}")
