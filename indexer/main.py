"""`python indexer/main.py …`, the same as `efiss index …`."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the rooms stand beside this folder
    sys.argv[1:1] = ["index"]
    runpy.run_module("efiss", run_name="__main__")
