"""The photographs of the demo: what its shops sell, and others to ask with."""

import csv
import dataclasses
import io
import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from machine.files import write_whole

FOLDER = Path(__file__).parent
DATALAKE = Path("demo/datalake")
"""Where the catalogue is copied to, in the folder that the program runs in."""

SHOPS = ("juniper.example", "quayside.example", "atelier.example")
CHILDREN = "littlefolk.example"
"""The shops that share what is for adults, and the one for children."""

DETAIL_EVERY = 4
"""Of so many products one has a second picture, its middle enlarged."""
LABELS = "labels.csv"
COLUMNS = ("path", "group", "article_type")
"""Pictures of a group show the same thing."""


@dataclasses.dataclass(frozen=True)
class Photograph:
    id: str
    label: str
    """What it shows: T-Shirt, Shoes, …"""
    is_for_children: bool

    @property
    def file(self) -> Path:
        return FOLDER / "photos" / f"{self.id}.jpg"

    @property
    def caption(self) -> str:
        return f"{self.label} for children" if self.is_for_children else self.label


@dataclasses.dataclass(frozen=True)
class CataloguePicture:
    """A picture of the catalogue."""

    path: str
    """Below the datalake."""
    photograph: Photograph
    is_detail: bool
    """Whether it shows the middle of the photograph only."""

    def jpeg(self) -> bytes:
        if not self.is_detail:
            return self.photograph.file.read_bytes()
        with Image.open(self.photograph.file) as image:
            width, height = image.size
            middle = image.crop((width // 5, height // 5, width - width // 5, height - height // 5))
        buffer = io.BytesIO()
        middle.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


def queries() -> list[Photograph]:
    """Photographs to ask with: no model was trained on them, and no shop sells them."""
    return list(_photographs("query"))


def catalogue() -> list[CataloguePicture]:
    """What the shops sell, picture by picture, always the same.  A product's pictures are
    <shop>/<id>_<shop>.jpg and, of some, <shop>/<id>_<shop>_detail.jpg."""
    shops, numbers = itertools.cycle(SHOPS), defaultdict[str, int](int)
    sold = []
    for count, photograph in enumerate(_photographs("catalogue")):
        shop = CHILDREN if photograph.is_for_children else next(shops)
        numbers[shop] += 1
        path = f"{shop}/{numbers[shop]}_{shop.replace('.', '_')}"
        sold.append(CataloguePicture(f"{path}.jpg", photograph, False))
        if count % DETAIL_EVERY == 0:
            sold.append(CataloguePicture(f"{path}_detail.jpg", photograph, True))
    return sold


def write_datalake(folder: Path) -> None:
    """Copy the catalogue to `folder`/<shop>/<id>_<shop>.jpg, beside it labels.csv, which is written
    last.  Raises OSError."""
    for picture in (sold := catalogue()):
        place = folder / picture.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture.jpeg())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((one.path, one.photograph.id, one.photograph.label) for one in sold)
    write_whole(folder / LABELS, text.getvalue().encode())


def is_written(folder: Path) -> bool:
    """Whether `folder` holds what `write_datalake` writes, and not the drawn catalogue of an
    earlier release, whose labels.csv has other columns."""
    return _columns(folder) == list(COLUMNS)


def remove_drawn(folder: Path) -> None:
    """Remove the drawn catalogue of an earlier release, if `folder` holds one: the pictures that
    its labels.csv names, and at last that file.  Raises OSError."""
    if "pattern" not in _columns(folder):
        return
    with open(folder / LABELS, newline="", encoding="utf-8") as file:
        pictures = [folder / row["path"] for row in csv.DictReader(file)]
    for picture in pictures:
        picture.unlink(missing_ok=True)
    for shop in {picture.parent for picture in pictures}:
        if shop.is_dir() and not any(shop.iterdir()):
            shop.rmdir()
    (folder / LABELS).unlink()


def _columns(folder: Path) -> list[str]:
    """The columns of the folder's labels.csv; none without the file."""
    try:
        with open(folder / LABELS, newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        return []


def _photographs(part: str) -> Iterator[Photograph]:
    with open(FOLDER / "photos.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["part"] == part:
                yield Photograph(row["id"], row["label"], row["kids"] == "True")
