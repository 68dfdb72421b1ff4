"""Where the benchmarks leave their figures, and on what machine they were measured."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path

import click

FOLDER = Path(__file__).parent / "results"
OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    help="Folder of the results.  [default: benchmarks/results]",
)
PACKAGES = ("faiss-cpu", "numpy", "openvino", "torch", "usearch")


def save(folder: Path, name: str, values: dict) -> Path:
    """Write `name`.json: the values, and beside them how they came about."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**origin(), **values}, indent=1) + "\n", encoding="utf-8")
    return path


def origin() -> dict:
    """Command, date and machine."""
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "load": round(os.getloadavg()[0], 1),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "python": platform.python_version(),
            **{name: version for name in PACKAGES if (version := _version(name))},
        },
    }


def _processor() -> str:
    """The processor's name, and which wide instructions FAISS has for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    wide = [flag for flag in ("avx2", "avx512_vpopcntdq") if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(wide)})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
