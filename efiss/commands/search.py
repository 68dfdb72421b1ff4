"""`efiss search`."""

from pathlib import Path

import click

from hashing.settings import SettingError, port
from searcher.client import ServiceError
from searcher.client import search as ask


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--top_k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Results wanted."
)
@click.option("--url", help="The service; by default the one on this machine, at EFISS_PORT.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture of the query and its results (.png or .jpg).",
)
def search(image: Path, top_k: int, url: str | None, sheet: Path | None) -> None:
    """Ask a running service for the pictures most similar to IMAGE.

    The paths are the catalogue's; --sheet looks for relative ones from the current folder.

    \b
    Examples:
      efiss search photo.jpg
      efiss search photo.jpg --top_k 24 --sheet results.png
    """
    try:
        url = url or f"http://127.0.0.1:{port()}"
        answer = ask(url, image.read_bytes(), top_k)
    except (ServiceError, SettingError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(answer))
    if sheet:
        _write_sheet(sheet, image, answer)


def table(answer: dict) -> str:
    """An answer as lines of rank, distance and path."""
    rows = zip(answer["distances"], answer["relevant"], strict=True)
    lines = [f"{rank:4}  {distance:8}  {path}" for rank, (distance, path) in enumerate(rows, 1)]
    heading = f"index version {answer['index_database_version']}\nrank  distance  path"
    # A path whose bytes are not UTF-8 travels as surrogates, which a terminal cannot show.
    return "\n".join([heading, *lines]).encode("utf-8", "replace").decode("utf-8")


def _write_sheet(path: Path, query: Path, answer: dict) -> None:
    from efiss.sheet import contact_sheet

    try:
        contact_sheet(query, answer["relevant"], answer["distances"]).save(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {error}") from error
    click.echo(f"wrote {path}")
