"""`efiss import`."""

import time
from pathlib import Path
from typing import Any

import click

from efiss.commands.options import INDEX_MODE, INDEX_ROOT, NEW_VERSION, REPLACE, SHOP_DEPTH


@click.command("import")
@click.option(
    "--codes",
    type=click.Path(path_type=Path),
    required=True,
    help="The codes: a .npy file, uint8 [n, 8], or a .parquet file with 8 bytes in `code`.",
)
@click.option(
    "--fine_codes",
    type=click.Path(path_type=Path),
    help="The longer codes, by which rank `fine` orders: a .npy file, uint8 [n, 32].",
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    required=True,
    help="The pictures' paths, one a line; line i is the picture of code i.",
)
@NEW_VERSION
@click.option(
    "--model_path",
    type=click.Path(path_type=Path),
    help="The model that made the codes. Without it the version answers no image queries, only "
    "`code` and `like`.",
)
@SHOP_DEPTH
@INDEX_MODE
@INDEX_ROOT
@REPLACE
def import_codes(**options: Any) -> None:
    """Make a version of the index from codes that were computed elsewhere.

    A code is the signs of a model's 64 outputs, packed as numpy.packbits packs them: the first
    output is the highest bit of the first byte. A longer code is made so of 256 further outputs.

    \b
    Examples:
      efiss import --codes codes.npy --database paths.txt --new_index_database_version 2.0.0
      efiss import --codes codes.parquet --database paths.txt --new_index_database_version 2.0.0 \\
          --model_path torchscripts_models/relahash-medium-64bits.pt
    """
    from indexer.imported import ImportOrder
    from indexer.imported import import_codes as publish

    start = time.monotonic()
    order = ImportOrder(**options)
    folder = order.index_root / order.version
    click.echo(f"reading {order.codes} and {order.database}, building {folder} …")
    manifest = publish(order)
    click.echo(
        f"version {manifest.version} in {folder}: {manifest.rows:,} rows in "
        f"{time.monotonic() - start:.1f} s; make it live with `efiss activate {manifest.version}`"
    )
    if manifest.search:
        click.echo(f"  approximate search, recall@10 {manifest.search['recall']:.3f}")
