"""Files that come with the program: the models, and TorchServe's settings.

In a checkout this folder has links to where they lie, at the top; a wheel has the files themselves.
"""

from pathlib import Path

MODEL = Path("torchscripts_models/relahash-medium-64bits.pt")
"""The model that commands take where none is named."""

_FOLDER = Path(__file__).parent


def found(path: Path) -> Path:
    """The file or folder `path`, or where there is none the one of this name that was shipped; if
    there is none either, `path`."""
    shipped = _FOLDER / path
    return path if path.exists() or not shipped.exists() else shipped
