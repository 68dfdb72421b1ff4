"""`efiss activate`, `efiss rollback`, `efiss remove`."""

from collections.abc import Callable
from pathlib import Path

import click

from efiss.commands.options import BACKEND, INDEX_ROOT, URI
from searcher import milvus, switch
from searcher.index import Index
from searcher.switch import WAIT_SECONDS, Switch

WAIT = click.option(
    "--wait",
    type=click.FloatRange(1, 3600),
    default=WAIT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long every worker has to answer from the version, before it is taken back.",
)


@click.command()
@click.argument("version")
@click.option(
    "--force", is_flag=True, help="Also a version that `efiss check` refused; that is recorded."
)
@WAIT
@BACKEND
@URI
@INDEX_ROOT
def activate(
    version: str,
    force: bool,
    wait: float,
    backend: str | None,
    uri: str | None,
    index_root: Path,
) -> None:
    """Verify a version, make it the live one and wait until every worker answers from it.

    No restart is needed, and no request waits. A damaged version is refused, and one that `efiss
    check` judged unfit; where a worker cannot open it, the version before is live again and the
    message says why. With --backend milvus it
    must be completely published there, and the alias efiss_live follows.

    \b
    Example:
      efiss activate 1.5.0
    """
    _switch(
        lambda: switch.activate(Index(index_root), version, milvus.place(backend, uri), wait, force)
    )


@click.command()
@WAIT
@BACKEND
@URI
@INDEX_ROOT
def rollback(wait: float, backend: str | None, uri: str | None, index_root: Path) -> None:
    """Make the version live again that was live before; once more, the one before that.

    As `efiss activate`: verified, and followed by every worker or taken back.

    \b
    Example:
      efiss rollback
    """
    _switch(lambda: switch.roll_back(Index(index_root), milvus.place(backend, uri), wait))


def _switch(do: Callable[[], Switch]) -> None:
    done = do()
    before = f" (before: {done.before})" if done.before else ""
    click.echo(f"version {done.version} is live{before}")
    if done.workers:
        click.echo(
            f"  {done.workers} worker{'s answer' if done.workers > 1 else ' answers'} from it"
        )
    else:
        click.echo("  no service follows this folder now; one that is started answers from it")


@click.command()
@click.argument("version_names", nargs=-1, metavar="[VERSION]...")
@click.option(
    "--keep",
    type=click.IntRange(1),
    metavar="N",
    help="Remove all but the N versions of the highest numbers.",
)
@INDEX_ROOT
def remove(version_names: tuple[str, ...], keep: int | None, index_root: Path) -> None:
    """Remove versions that nobody needs.

    Never the live one, the one that `efiss rollback` goes back to, or one that a running service
    holds open for requests that name it: naming such a one is refused, and --keep leaves it.
    Collections in Milvus stay.

    \b
    Examples:
      efiss remove 1.4.0
      efiss remove --keep 3
    """
    if bool(version_names) == bool(keep):
        raise click.UsageError("name the versions to remove, or say how many stay with --keep N")
    if keep:
        removed = switch.prune(Index(index_root), keep)
    else:
        switch.remove(Index(index_root), *version_names)
        removed = list(version_names)
    click.echo("removed " + ", ".join(removed) if removed else "nothing to remove")
