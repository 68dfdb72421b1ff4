"""`efiss hash`."""

import io
import os
from pathlib import Path

import click

from efiss.commands.options import DEVICE, MODEL_PATH, NUM_WORKERS
from efiss.progress import PictureBar
from indexer.catalogue import read_catalogue
from machine.errors import Problem
from machine.files import write_whole
from machine.settings import BATCH_SIZE, max_pixels


@click.command("hash")
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--database", type=click.Path(path_type=Path), help="A list: one image path a line.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The .npy file to write; the kept paths go to a .paths.txt beside it.",
)
@MODEL_PATH
@DEVICE
@NUM_WORKERS
def hash_pictures(
    files: tuple[str, ...],
    database: Path | None,
    out: Path,
    model_path: Path,
    device: str,
    num_workers: int,
) -> None:
    """Hash pictures: codes as uint8 [n, 8], one row a picture.

    Bit j of a code (the highest bit of the first byte first) is 1 where the model's output j is
    positive. A picture that cannot be read is named on stderr and has no row; the kept paths, row
    by row, are written beside the codes.

    \b
    Examples:
      efiss hash photo.jpg another.png --out codes.npy
      efiss hash --database database_info.txt --out codes.npy
    """
    if bool(files) == bool(database):
        raise click.UsageError("give either FILES or --database")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out: the folder {out.parent} does not exist; make it first")
    import torch

    from hashing.files import hash_files
    from hashing.model import Model

    torch.set_num_threads(1)  # the workers are the parallelism
    paths = read_catalogue(database).lines if database else list(files)
    model = Model.load(model_path, device)
    done = []
    with PictureBar("hashing") as bar:
        for hashed in hash_files(
            paths, model, workers=num_workers, batch_size=BATCH_SIZE, max_pixels=max_pixels()
        ):
            done.append(hashed)
            bar.show(len(done), len(paths))
    kept = [hashed for hashed in done if hashed.code is not None]
    for hashed in done:
        if hashed.code is None:
            click.echo(f"{hashed.path}: {hashed.reason}", err=True)
    if not kept:
        raise Problem("no picture could be read; nothing was written")
    _write(out, kept)
    click.echo(f"{out}: {len(kept)} codes, {len(done) - len(kept)} pictures left out")


def _write(out: Path, kept: list) -> None:
    import numpy as np

    codes = np.frombuffer(b"".join(hashed.code for hashed in kept), np.uint8).reshape(-1, 8)
    paths = b"".join(os.fsencode(hashed.path) + b"\n" for hashed in kept)
    data = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
    np.save(data, codes)
    write_whole(out.with_name(out.stem + ".paths.txt"), paths)
    write_whole(out, data.getvalue())
