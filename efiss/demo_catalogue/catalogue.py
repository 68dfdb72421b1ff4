"""Writes the demo catalogue as a datalake: `<shop>/<id>_<shop>.jpg` and `labels.csv`.

A run that was stopped can be started again: pictures that are there are kept. Every file is
written beside its place and then moved, so a file that exists is whole.
"""

import csv
import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from PIL import Image, UnidentifiedImageError

from efiss.demo_catalogue.picture import draw
from efiss.demo_catalogue.products import label
from machine.errors import Problem

NAMES = (
    "north",
    "linden",
    "harbour",
    "atlas",
    "juniper",
    "maple",
    "corner",
    "meadow",
    "summit",
    "willow",
    "market",
    "lantern",
)
COLUMNS = ("path", "shop", "product", "article_type", "colour", "pattern")
QUALITY = 88
WORTH_PROCESSES = 24  # starting processes takes about as long as drawing this many pictures


class CatalogueError(Problem):
    """The catalogue cannot be written; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Summary:
    """What the folder now holds, how many pictures this run drew, and its seconds."""

    images: int
    drawn: int
    shops: int
    article_types: int
    seconds: float


def shop_name(number: int) -> str:
    """The name of shop 0, 1, 2, ...; there is no last one."""
    round_, place = divmod(number, len(NAMES))
    return f"{NAMES[place]}{round_ + 1 if round_ else ''}.example"


def picture_path(index: int, shops: int) -> Path:
    """Where picture `index` lies in the datalake; the pictures go round the shops in turn."""
    shop = shop_name(index % shops)
    return Path(shop) / f"{index // shops + 1}_{shop.replace('.', '_')}.jpg"


def write_catalogue(
    folder: Path,
    images: int,
    shops: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda count: None,
    processes: int | None = None,
) -> Summary:
    """Draws those of the first `images` pictures that the folder lacks, and writes the labels.

    progress is called with a number of pictures whenever so many more are there. processes is how
    many to draw with: one for each processor when None. The pictures are the same bytes however
    many there are. labels.csv is written last and names every picture of the folder, those of a
    larger earlier run too.

    CatalogueError: the folder cannot be written, or holds pictures of another seed or number of
    shops. ValueError: fewer than one picture or shop, or a negative seed.
    """
    if images < 1 or shops < 1 or seed < 0:
        raise ValueError(f"need images >= 1, shops >= 1, seed >= 0; got {images}, {shops}, {seed}")
    start = time.monotonic()
    folder = Path(folder)
    with clear_errors(folder):
        make_folders(folder, min(images, shops))
        held = held_pictures(folder, shops, seed)
        missing = [index for index in range(images) if index not in held]
        progress(images - len(missing))
        for _ in drawn(folder, missing, shops, seed, processes or os.cpu_count() or 1):
            progress(1)
        indices = sorted(held.union(missing))
        kinds = write_labels(folder, indices, shops, seed)
    used = min(shops, len(indices))
    return Summary(len(indices), len(missing), used, kinds, time.monotonic() - start)


@contextmanager
def clear_errors(folder: Path):
    """Says what to do about a folder that cannot be used."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        path = Path(error.filename or folder)
        taken = next((place for place in (path, *path.parents) if place.is_file()), path)
        raise CatalogueError(f"{taken} is a file: choose a folder for the catalogue") from error
    except BrokenProcessPool as error:
        raise CatalogueError(
            "a drawing process was ended from outside, perhaps for want of memory: "
            "give the command again to draw the rest"
        ) from error
    except OSError as error:
        raise CatalogueError(
            f"cannot write to {error.filename or folder} ({error.strerror or error}): "
            "choose a folder you may write to, on a disk with room"
        ) from error


def make_folders(folder: Path, shops: int) -> None:
    for number in range(shops):
        (folder / shop_name(number)).mkdir(parents=True, exist_ok=True)


def signature(seed: int, index: int) -> bytes:
    """The comment inside a picture's file, by which a later run knows it for its own."""
    return f"efiss demo catalogue, seed {seed}, picture {index}".encode()


def held_pictures(folder: Path, shops: int, seed: int) -> set[int]:
    """Which pictures the folder holds; CatalogueError when one is not of this seed and shops."""
    held = set()
    for number in range(shops):
        shop = shop_name(number)
        name = re.compile(rf"([1-9]\d*)_{re.escape(shop.replace('.', '_'))}\.jpg")
        if not (folder / shop).is_dir():
            continue
        for path in (folder / shop).iterdir():
            found = name.fullmatch(path.name)
            if not found:
                continue
            index = (int(found[1]) - 1) * shops + number
            if comment(path) != signature(seed, index):
                raise CatalogueError(
                    f"{path} is not of a catalogue with seed {seed} and {shops} shops: choose an "
                    "empty folder, or the seed and the number of shops it was drawn with"
                )
            held.add(index)
    return held


def comment(path: Path) -> bytes | None:
    try:
        with Image.open(path) as picture:
            return picture.info.get("comment")
    except UnidentifiedImageError:
        return None


def drawn(
    folder: Path, indices: list[int], shops: int, seed: int, processes: int
) -> Iterable[None]:
    """Draws the pictures, and yields once for each that is in its place."""
    one = partial(write_picture, folder, shops, seed)
    if processes == 1 or len(indices) < WORTH_PROCESSES:
        yield from map(one, indices)
        return
    pool = ProcessPoolExecutor(min(processes, len(indices)), get_context("spawn"), begin)
    try:
        yield from pool.map(one, indices, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def begin() -> None:
    """Makes a drawing process leave Ctrl-C to the one that started it, and end with that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()


def write_picture(folder: Path, shops: int, seed: int, index: int) -> None:
    picture, _ = draw(seed, index)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, comment=signature(seed, index))
    replace(folder / picture_path(index, shops), file.getvalue())


def write_labels(folder: Path, indices: list[int], shops: int, seed: int) -> int:
    """Writes labels.csv; gives the number of article types in it."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    kinds = set()
    for index in indices:
        path, what = picture_path(index, shops), label(seed, index)
        kinds.add(what.article_type)
        table.writerow(
            (
                path.as_posix(),
                path.parent.name,
                what.product,
                what.article_type,
                what.colour,
                what.pattern,
            )
        )
    replace(folder / "labels.csv", text.getvalue().encode())
    return len(kinds)


def replace(path: Path, content: bytes) -> None:
    """Puts a whole file in its place, or leaves what was there."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
