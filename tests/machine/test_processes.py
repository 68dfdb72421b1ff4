"""What a process gives back to the system."""

import subprocess
import sys

import pytest

from machine import processes
from tests.running import ROOT

HOLED = """
import time
from machine import processes
processes.KEPT_SECONDS = 0.2
processes.reuse_freed_memory()
processes.reuse_freed_memory()
before = processes._resident()
blocks = [bytearray(10**6) for _ in range(200)]
last = bytearray(1000)
held = processes._resident()
del blocks
deadline = time.monotonic() + 30
while processes._resident() > before + 2 * processes.KEPT_BYTES and time.monotonic() < deadline:
    time.sleep(0.05)
print(held - before, processes._resident() - before)
"""


@pytest.mark.skipif(not hasattr(processes._LIBC, "malloc_trim"), reason="of glibc")
def test_what_was_freed_below_a_block_in_use_goes_back_after_a_while():
    run = [sys.executable, "-c", HOLED]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held > 190_000_000 and left <= 2 * processes.KEPT_BYTES
