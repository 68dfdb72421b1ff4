"""What a catalogue of very many rows costs the commands: time, and memory a row.  Minutes, and at a
hundred million rows an hour and 20 GB of disk; run it from the root of the repository."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import faiss
import numpy as np
import record
import synthetic
from PIL import Image

from efiss.commands.options import MODEL_PATH
from hashing.model import Model
from hashing.picture import limits
from indexer import pipeline
from indexer.known_codes import _FILE, KnownCodes, _code_of, look
from machine.settings import BATCH_SIZE, max_pixels
from searcher import open_version
from searcher.version import MANIFEST, REPORT

PICTURES = 3334
"""Files of a shop's folder; all shops but the new ones are links to one folder."""
SHOPS_AT_ONCE = 900
"""Whose codes are kept at once."""
EFISS = [sys.executable, "-m", "efiss"]
VERSION, ANOTHER = "1.0.0", "1.1.0"


@click.group()
def scale() -> None:
    """Measure commands on catalogues of very many rows, each in a process of its own: seconds on
    the clock and of the processors, and the peak of its memory, mapped files among it."""


FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the catalogue and its versions are made, to stay there.",
)


@scale.command("import")
@click.option("--rows", type=click.IntRange(1000), default=10_000_000, show_default=True)
@click.option("--queries", type=click.IntRange(1), default=1000, show_default=True)
@FOLDER
@record.OUT
def import_(rows: int, queries: int, folder: Path, out: Path) -> None:
    """Codes that are known: import, verify, activate, check beside the live version (a version of
    the same files under another number), open, and queries against brute force.  What an earlier
    run has drawn in the folder is taken.

    Results go to scale_import.json.

    \b
    Example:
      python benchmarks/scale.py import --rows 100000000 --folder build/scale
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes, asked = synthetic.kept(folder, "clustered", rows, queries)
    if not (folder / "list").exists():
        synthetic.write_list(folder / "list", rows)
    index = folder / "index"
    result: dict = {"rows": rows, "steps": {}}

    def step(name: str, *options: object) -> None:
        command = [name, *options, "--index_root", index]
        result["steps"][name] = _measured(command, rows)
        record.save(out, "scale_import", result)  # now already: what follows may take minutes

    codes_and_list = ["--codes", codes.filename, "--database", folder / "list"]
    step("import", *codes_and_list, "--new_index_database_version", VERSION)
    step("verify", VERSION, "--sample", "0")
    step("activate", VERSION)
    _renumber(index / VERSION, index / ANOTHER)
    step("check", ANOTHER)
    start = time.perf_counter()
    opened = open_version(index / VERSION)
    result["open_seconds"] = round(time.perf_counter() - start, 4)
    result["wrong"] = _wrong(opened, codes, asked)
    result["queries"] = queries
    record.save(out, "scale_import", result)
    click.echo(
        f"opened in {result['open_seconds']} s, {result['wrong']} of {queries} queries wrong"
    )


@scale.command()
@click.option("--rows", type=click.IntRange(10_000), default=10_000_000, show_default=True)
@MODEL_PATH
@FOLDER
@record.OUT
def nightly(rows: int, model_path: Path, folder: Path, out: Path) -> None:
    """Pictures that are files: a first version of which all codes are known, one new picture, and a
    night in which 1 % of the catalogue is new and its contents are known, as of files moved.

    Each is `efiss reindex`: index, check beside the live version, and activate.  The shops' folders
    are symbolic links to one folder of pictures, so that a path costs a look at a file and no
    inode; what a cold disk would cost is not in it.  The new ones are files.  Codes are drawn, so
    that the check is told not to expect pictures to find themselves.  A catalogue and a first
    version that are in the folder are taken.  Results go to scale_nightly.json.

    \b
    Example:
      python benchmarks/scale.py nightly --folder build/scale
    """
    folder.mkdir(parents=True, exist_ok=True)
    model_path, out = model_path.resolve(), out.resolve()
    os.chdir(folder)
    shops = rows // PICTURES
    if not Path("list").exists():
        _make(shops, model_path)
    result: dict = {"rows": shops * PICTURES, "steps": {}}
    command = ["reindex", "--database", "list", "--index_root", "index", "--config", "efiss.toml"]
    command += ["--model_path", model_path]
    if not Path("index/CURRENT").exists():
        result["steps"]["all codes known"] = _measured(command, shops * PICTURES)
    _draw(Path("data/one.com"), first=PICTURES, count=1)
    _write_list(shops, "data/one.com")
    result["steps"]["one new picture"] = _measured(command, shops * PICTURES)
    new = max(1, shops // 100)
    for shop in range(new):
        _draw(Path(f"data/new{shop}.com"))
    _write_list(shops, "data/one.com", *(f"data/new{shop}.com" for shop in range(new)))
    result["steps"]["1 % new, codes known"] = _measured(command, shops * PICTURES)
    record.save(out, "scale_nightly", result)


def _measured(command: list, rows: int) -> dict:
    """What one command takes.  Raises ClickException when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([*EFISS, *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"efiss {command[0]} failed")
    taken = {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1e3),
        "peak_bytes_a_row": round(used.ru_maxrss * 1024 / rows, 1),
    }
    click.echo(f"{command[0]}: {taken}")
    return taken


def _wrong(opened, codes: np.ndarray, asked: np.ndarray) -> int:
    """How many answers differ from a look at every row, in distance or in row."""
    flat = faiss.IndexBinaryFlat(64)
    flat.use_heap = False
    flat.add(codes)
    distances, rows = flat.search(asked, 10)
    own_rows, own_distances = opened.search(asked, 10)
    return int(((own_rows != rows) | (own_distances != distances)).any(axis=1).sum())


def _renumber(folder: Path, place: Path) -> None:
    """A version of the same files under another number."""
    place.mkdir()
    for file in folder.iterdir():
        if file.name not in (MANIFEST, REPORT):
            os.link(file, place / file.name)
    manifest = json.loads((folder / MANIFEST).read_bytes()) | {"version": place.name}
    (place / MANIFEST).write_text(json.dumps(manifest))


# -- a catalogue of files --------------------------------------------------------------------------


def _make(shops: int, model_path: Path) -> None:
    """The folders, what is known of their pictures and, at last, the list of them."""
    Path("efiss.toml").write_text("[check]\nleast_self_retrieval = 0\n")
    _draw(Path("shop"))
    Path("data").mkdir()
    for shop in range(shops):
        Path(f"data/{shop}.com").symlink_to("../shop")
    _keep_codes(Path("shop"), model_path, Path("index"))
    _write_list(shops)


def _draw(folder: Path, first: int = 0, count: int = PICTURES) -> None:
    """Pictures of which each is another, the same ones in every folder, changed long ago."""
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        path = folder / f"{number}_shop.jpg"
        Image.fromarray(pixels).resize((64, 64)).save(path)
        os.utime(path, (1e9, 1e9))


def _write_list(shops: int, *folders: str) -> None:
    with open("list", "w") as file:
        for folder in (*(f"data/{shop}.com" for shop in range(shops)), *folders):
            numbers = range(PICTURES, PICTURES + 1) if folder == "data/one.com" else range(PICTURES)
            file.writelines(f"{folder}/{number}_shop.jpg\n" for number in numbers)


def _keep_codes(pictures: Path, model_path: Path, index: Path) -> None:
    """Let the index folder know a code of every path of the list, and of what the pictures hold."""
    model = Model.load(model_path, "cpu")
    most = max_pixels()
    order = pipeline.Order(Path("list"), model_path, "cpu", None, index, 2, BATCH_SIZE, most)
    key, width = pipeline._model_key(model, order), model.sidecar.outputs // 8
    known = KnownCodes(index, key, width, limits(most))
    looks = look([b"data/0.com/%d_shop.jpg" % number for number in range(PICTURES)], 2)
    shops = sum(1 for _ in Path("data").iterdir())
    for first in range(0, shops, SHOPS_AT_ONCE):
        last = min(first + SHOPS_AT_ONCE, shops)
        folders = [f"data/{shop}.com" for shop in range(first, last)]
        paths = [f"{folder}/{number}_shop.jpg" for folder in folders for number in range(PICTURES)]
        files = np.empty(len(paths), _FILE)
        keys = b"".join(known._key(path.encode()) for path in paths)
        files["path"] = np.frombuffer(keys, np.uint8).reshape(-1, 16)
        files["size"], files["stamp"] = np.tile(looks, (last - first, 1)).T
        files["digest"] = np.random.default_rng(first).integers(0, 256, (len(paths), 32), np.uint8)
        known._files.write_part(files)
        known._codes.write_part(_codes(files["digest"], width))
        known = KnownCodes(index, key, width, limits(most))  # which merges them
    digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in pictures.iterdir())
    known._codes.write_part(_codes(np.frombuffer(digests, np.uint8).reshape(-1, 32), width))


def _codes(digests: np.ndarray, width: int) -> np.ndarray:
    codes = np.empty(len(digests), _code_of(width))
    codes["digest"] = digests
    codes["code"] = np.random.default_rng(1).integers(0, 256, (len(digests), width), np.uint8)
    return codes


if __name__ == "__main__":
    scale()
