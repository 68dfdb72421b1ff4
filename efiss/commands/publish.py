"""`efiss publish`."""

from pathlib import Path

import click

from efiss.commands.options import BACKEND, INDEX_ROOT, URI
from searcher.index import Index


@click.command()
@click.argument("version")
@BACKEND
@URI
@INDEX_ROOT
@click.option(
    "--force", is_flag=True, help="Replace a collection of this name that holds something else."
)
def publish(
    version: str, backend: str | None, uri: str | None, index_root: Path, force: bool
) -> None:
    """Publish a version as a collection in Milvus, to be searched there.

    A run that was stopped is continued by the same command, and a collection that is complete is
    left as it is. The version is not live before `efiss activate`. The token, where Milvus wants
    one, is read from EFISS_MILVUS_TOKEN.

    \b
    Example:
      efiss publish 1.5.0 --backend milvus --uri http://milvus.example:19530
    """
    from searcher import milvus, milvus_publish

    where = milvus.place(backend, uri)
    if where is None:
        raise click.UsageError("there is nothing to publish to; give --backend milvus")
    with click.progressbar(length=1, label="publishing", show_pos=True) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        sent = milvus_publish.publish(Index(index_root), version, where, force, show)
    name = milvus.collection_of(version)
    click.echo(f"version {version} is complete in the collection {name}; {sent:,} rows sent now")
