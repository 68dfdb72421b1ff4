"""A contact sheet: the query and what was found, with distances, for a person to look at."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

CELL, MARGIN, CAPTION, COLUMNS = 180, 12, 40, 6
_GREY, _INK, _BACKGROUND = "#e8e8e8", "#202020", "#ffffff"


def contact_sheet(query: Path, paths: list[str], distances: list[int]) -> Image.Image:
    """The query in the first row, the results below in their order, each with rank, distance and
    name.  A result whose file is not to be found from here is drawn as an empty frame."""
    rows = -(-len(paths) // COLUMNS)
    step_x, step_y = CELL + MARGIN, CELL + CAPTION + MARGIN
    sheet = Image.new("RGB", (MARGIN + COLUMNS * step_x, MARGIN + (rows + 1) * step_y), _BACKGROUND)
    _draw(sheet, MARGIN, MARGIN, query, f"query\n{query.name}")
    for i, (path, distance) in enumerate(zip(paths, distances, strict=True)):
        x, y = MARGIN + i % COLUMNS * step_x, MARGIN + (1 + i // COLUMNS) * step_y
        _draw(sheet, x, y, Path(path), f"{i + 1}.  distance {distance}\n{Path(path).name}")
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
        "\n".join(_shortened(caption)),
        fill=_INK,
        font=ImageFont.load_default(13),
        spacing=2,
    )


def _shortened(caption: str, most: int = 25) -> list[str]:
    return [line if len(line) <= most else line[: most - 1] + "…" for line in caption.split("\n")]
