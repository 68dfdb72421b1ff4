"""A version of the index and the program that answers from it -> one self-contained model archive.

Beside Python, the archive needs only stock TorchServe, torch, faiss-cpu, numpy, pillow and pyyaml;
with openvino and pybase64 it answers sooner.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from handlers import MODEL_NAME, MODEL_VERSION, PACKED_VERSION
from machine.errors import Problem
from machine.files import place_whole
from searcher.index import Index

PROGRAM = ("machine", "hashing", "searcher", "handlers")
PACKED_FILES = (".py", ".yaml")
_PACKAGES = Path(__file__).resolve().parent.parent


class ArchiveError(Problem):
    """The archive could not be made; the message says why."""


def archive_of(model_store: Path) -> Path:
    """Where the archive lies in a model store."""
    return model_store / f"{MODEL_NAME}.mar"


def program_files() -> list[Path]:
    """The files of the program that are packed into an archive."""
    return [
        path
        for package in PROGRAM
        for path in (_PACKAGES / package).rglob("*")
        if path.suffix in PACKED_FILES
    ]


def write_archive(index: Index, version: str, model_store: Path) -> Path:
    """Write `image-retrieval-v1.0.mar` into the folder `model_store`, replacing one that is there.

    Raises VersionError when the version is absent or damaged, ArchiveError, OSError.
    """
    folder = index.verified(version)
    model_store.mkdir(parents=True, exist_ok=True)
    # In the store, so that the finished archive is renamed on one file system.
    with tempfile.TemporaryDirectory(dir=model_store, prefix=".archive-") as work:
        contents = Path(work) / "contents"
        for path in program_files():
            place = contents / path.relative_to(_PACKAGES)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        shutil.copytree(folder, contents / PACKED_VERSION)
        _pack(Path(work), contents)
        archive = archive_of(model_store)
        place_whole(Path(work) / archive.name, archive)
    return archive


def _pack(work: Path, contents: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "model_archiver.model_packaging",
        "--model-name",
        MODEL_NAME,
        "--version",
        MODEL_VERSION,
        "--handler",
        contents / "handlers" / "image_retrieval.py",
        "--extra-files",
        contents,
        "--archive-format",
        "zip-store",
        "--export-path",
        work,
    ]
    # The archiver gathers its files in a folder of the temporary directory named for the model:
    # two of them would empty each other's.
    scratch = work / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        command,
        env=os.environ | {"TMPDIR": str(scratch)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        raise ArchiveError(f"torch-model-archiver failed:\n{done.stdout.strip()}")
