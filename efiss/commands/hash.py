"""`efiss hash`."""

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from efiss.commands.options import DEVICE, MODEL_PATH, NUM_WORKERS
from efiss.progress import PictureBar
from hashing.codes import CODE_BYTES
from indexer.catalogue import Lines, filled_lines
from machine.errors import Problem
from machine.files import write_whole, written_whole
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
@click.option(
    "--outputs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .npy file to write what the codes are made of to, the model's outputs.",
)
@MODEL_PATH
@DEVICE
@NUM_WORKERS
def hash_pictures(
    files: tuple[str, ...],
    database: Path | None,
    out: Path,
    outputs: Path | None,
    model_path: Path,
    device: str,
    workers: int,
) -> None:
    """Hash pictures: codes as uint8 [n, 8], one row a picture.

    Bit j of a code (the highest bit of the first byte first) is 1 where the model's output j is
    positive. A picture that cannot be read is named on stderr and has no row; the kept paths, row
    by row, are written beside the codes. Outputs are float32 [n, 64], or [n, 320] of a model with a
    longer code: its bits are the signs of the last 256.

    \b
    Examples:
      efiss hash photo.jpg another.png --out codes.npy
      efiss hash --database database_info.txt --out codes.npy
      efiss hash *.jpg --out codes.npy --outputs outputs.npy
    """
    if bool(files) == bool(database):
        raise click.UsageError("give either FILES or --database")
    for option, file in (("--out", out), ("--outputs", outputs)):
        if file and not file.parent.is_dir():
            raise click.UsageError(
                f"{option}: the folder {file.parent} does not exist; make it first"
            )
    if outputs and outputs.resolve() == out.resolve():
        raise click.UsageError(f"--out and --outputs are both {out}; give each a file of its own")
    import torch

    from hashing.files import hash_files
    from hashing.model import Model

    torch.set_num_threads(1)  # the workers are the parallelism
    paths = _listed(database) if database else list(files)
    model = Model.load(model_path, device, workers)
    done = []
    with PictureBar("hashing") as bar, _rows_of(outputs, model.sidecar.outputs) as add:
        for hashed in hash_files(
            paths, model, workers=workers, batch_size=BATCH_SIZE, max_pixels=max_pixels()
        ):
            if hashed.outputs is not None:
                add(hashed.outputs)
            done.append(dataclasses.replace(hashed, outputs=None))
            bar.show(len(done), len(paths))
        kept = [hashed for hashed in done if hashed.code is not None]
        for hashed in done:
            if hashed.code is None:
                click.echo(f"{hashed.path}: {hashed.reason}", err=True)
        if not kept:
            raise Problem("no picture could be read; nothing was written")
    _write(out, kept)
    click.echo(f"{out}: {len(kept)} codes, {len(done) - len(kept)} pictures left out")


def _listed(database: Path) -> list[str]:
    """The paths of a list, line by line, duplicates and all."""
    return [os.fsdecode(line) for block in filled_lines(Lines(database)) for line in block]


@contextlib.contextmanager
def _rows_of(path: Path | None, width: int) -> Iterator[Callable[[bytes], object]]:
    """What adds a row to a .npy file float32 [n, width]; n is known at the end of the block.
    Without a path, rows are dropped."""
    if path is None:
        yield len
        return
    with written_whole(path) as file:
        start = _begin(file, 0, width)
        yield file.write
        rows = (file.tell() - start) // (4 * width)
        file.seek(0)
        _begin(file, rows, width)  # as long as the first: numpy leaves room for any number


def _begin(file: BinaryIO, rows: int, width: int) -> int:
    """Write the head of a .npy file; returns its length in bytes."""
    from numpy.lib import format as npy

    head = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    npy.write_array_header_1_0(file, head)
    return file.tell()


def _write(out: Path, kept: list) -> None:
    import numpy as np

    codes = b"".join(hashed.code[:CODE_BYTES] for hashed in kept)
    paths = b"".join(os.fsencode(hashed.path) + b"\n" for hashed in kept)
    data = io.BytesIO()  # np.save into a file words a full disk as "n requested and m written"
    np.save(data, np.frombuffer(codes, np.uint8).reshape(-1, CODE_BYTES))
    write_whole(out.with_name(out.stem + ".paths.txt"), paths)
    write_whole(out, data.getvalue())
