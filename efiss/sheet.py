"""A contact sheet: queries and what was found, with distances, for a person to look at."""

import dataclasses
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from efiss_client import Result

CELL, MARGIN, CAPTION, COLUMNS = 180, 12, 40, 6
WIDEST = 25
"""Letters of a line under a picture."""
_GREY, _INK, _BACKGROUND = "#e8e8e8", "#202020", "#ffffff"


@dataclasses.dataclass(frozen=True)
class Found:
    """One query and its results, best first."""

    query: Path
    results: list[Result]

    @property
    def rows(self) -> int:
        return max(1, -(-len(self.results) // COLUMNS))


def contact_sheet(found: list[Found]) -> Image.Image:
    """Every query at the left, its results beside it, COLUMNS a row, each with rank, distance and
    name.  A result whose file is not to be found from here is drawn as an empty frame."""
    step_x, step_y = CELL + MARGIN, CELL + CAPTION + MARGIN
    rows = sum(one.rows for one in found)
    size = (2 * MARGIN + (1 + COLUMNS) * step_x, MARGIN + rows * step_y)
    sheet = Image.new("RGB", size, _BACKGROUND)
    top = MARGIN
    for one in found:
        _draw(sheet, MARGIN, top, one.query, f"query\n{one.query.name}")
        for i, result in enumerate(one.results):
            x = 2 * MARGIN + (1 + i % COLUMNS) * step_x
            y = top + i // COLUMNS * step_y
            path = Path(result.path)
            _draw(sheet, x, y, path, f"{i + 1}.  distance {result.distance}\n{path.name}")
        top += one.rows * step_y
    return sheet


def _draw(sheet: Image.Image, x: int, y: int, path: Path, caption: str) -> None:
    pen = ImageDraw.Draw(sheet)
    try:
        with Image.open(path) as image:
            picture = ImageOps.contain(ImageOps.exif_transpose(image).convert("RGB"), (CELL, CELL))
        sheet.paste(picture, (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2))
    except OSError:
        caption += " (no file)"
    pen.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=_GREY)
    pen.multiline_text(
        (x + 2, y + CELL + 3),
        "\n".join(map(_shortened, caption.split("\n"))),
        fill=_INK,
        font=ImageFont.load_default(13),
        spacing=2,
    )


def _shortened(line: str) -> str:
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"
