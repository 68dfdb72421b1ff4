"""`efiss versions`, `efiss verify`."""

from pathlib import Path

import click

from efiss.commands.options import INDEX_ROOT
from machine.errors import Problem
from searcher import report
from searcher.index import Index
from searcher.version import VersionError, model_of, read_manifest

NOISE_BITS = 2
"""Outputs within float noise of zero may flip their bit on another device or in another batch."""


@click.command()
@INDEX_ROOT
def versions(index_root: Path) -> None:
    """List the versions in the index folder; the live one is marked with *, the one that `efiss
    rollback` goes back to with <.

    recall is the share of the ten nearest pictures that a search finds, measured when the version
    was built: 1 in the mode default, which is exact. verified is what `efiss check` said of it.

    \b
    Example:
      efiss versions
    """
    index = Index(index_root)
    names = index.versions()
    if not names:
        click.echo(f"no version in {index_root}; build one with `efiss index`")
        return
    marks = dict.fromkeys(index.before()[-1:], "<") | {index.live(): "*"}
    click.echo(
        f"{'':1} {'version':12} {'rows':>10} {'rejected':>9} {'MB':>9}  {'created':20} "
        f"{'mode':16} {'recall':7} {'verified':8} model"
    )
    for name in names:
        try:
            manifest = read_manifest(index_root / name)
            judged = report.stored(index_root / name)
        except VersionError as error:
            click.echo(f"{marks.get(name, ''):1} {name:12} damaged: {error}")
            continue
        model = manifest.model
        click.echo(
            f"{marks.get(name, ''):1} {name:12} {manifest.rows:>10,} "
            f"{manifest.rejected:>9,} "
            f"{manifest.size / 1e6:>9,.1f}  "
            f"{manifest.created[:19]:20} {manifest.index_mode:16} "
            f"{manifest.search.get('recall', 1):<7.3f} "
            f"{judged.verdict if judged else '–':8} "
            + (f"{model['name']} ({model['sha256'][:8]})" if model else "none")
        )


@click.command()
@click.argument("version")
@INDEX_ROOT
@click.option(
    "--sample",
    type=click.IntRange(0, 1_000_000),
    default=100,
    show_default=True,
    help="Rows to hash again from their files.",
)
def verify(version: str, index_root: Path, sample: int) -> None:
    """Check a version: every checksum, the row counts, and a sample of rows hashed again.

    Relative paths are looked for from the current folder. A version without a model has nothing to
    hash rows with. Exit code 1 when anything is wrong.

    \b
    Example:
      efiss verify 1.0.0 --sample 500
    """
    folder = Index(index_root).verified(version)
    click.echo(f"version {version}: all checksums and row counts are right")
    model = model_of(folder)
    if sample == 0:
        return
    if model is None:
        click.echo("no row was hashed again: the version was imported without a model")
        return
    _check_sample(folder, model, sample)


def _check_sample(folder: Path, model: Path, count: int) -> None:
    import numpy as np
    import torch

    from hashing.codes import CODE_BYTES, hamming
    from indexer.sample import hashed_again, sample
    from searcher import open_version

    torch.set_num_threads(1)  # threads that hash are the parallelism
    index = open_version(folder)
    rows = sample(index, count)
    same, unreadable, different = 0, [], []
    for row, one in zip(rows, hashed_again(index, rows, model), strict=True):
        if one.code is None:
            unreadable.append(f"{one.path} ({one.reason})")
            continue
        code = np.frombuffer(one.code, np.uint8, CODE_BYTES)
        if hamming(code, index.code(row)[None])[0] <= NOISE_BITS:
            same += 1
        else:
            different.append(one.path)
    click.echo(
        f"{len(rows)} rows hashed again: {same} the same, {len(different)} different, "
        f"{len(unreadable)} cannot be read"
    )
    if unreadable:
        click.echo(
            f"  cannot be read: {unreadable[0]}; relative paths need the folder in which "
            "the catalogue was made",
            err=True,
        )
    if different:
        raise Problem(
            f"{different[0]} has another code than in the index: the file was changed after it was "
            "indexed; index the catalogue again, with --trust_content, which reads also files that "
            "kept their size and time"
        )
    if not same:
        raise Problem(
            "no picture could be hashed again; go to the folder in which the catalogue was made, "
            "or leave this check out with --sample 0"
        )
