"""This process, and those that a process of ours starts."""

import ctypes
import functools
import os
import signal
import sys
import threading
import time
from pathlib import Path

KEPT_SECONDS = 5
"""After so long freed memory goes back to the system."""
KEPT_BYTES = 4 * 2**20
"""Unless the process grew or shrank by less since."""

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LIBC = ctypes.CDLL(None)


def give_memory_back() -> None:
    """Hand memory that was freed back to the system, where the C library can (glibc)."""
    if trim := getattr(_LIBC, "malloc_trim", None):
        trim(0)


@functools.cache
def reuse_freed_memory() -> None:
    """Have this process use memory that it freed again, in blocks of up to 4 MB, rather than return
    it to the kernel and be given other pages each time, where the C library is glibc; what it has
    kept for KEPT_SECONDS goes back.

    By itself glibc learns to keep blocks of up to 32 MB, and returns nothing below a block that is
    in use: a process stays as large as the largest requests made it.  To copy a body of 230 KB
    takes a third of the time so.
    """
    if mallopt := getattr(_LIBC, "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, 2**22)
        mallopt(_M_TRIM_THRESHOLD, 2**25)
        threading.Thread(target=_keep_giving_back, name="memory", daemon=True).start()


def _keep_giving_back() -> None:
    left = 0
    while True:
        time.sleep(KEPT_SECONDS)
        if abs(_resident() - left) > KEPT_BYTES:
            give_memory_back()
            left = _resident()


def _resident() -> int:
    """Bytes of this process that are in memory (Linux, as glibc is)."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def end_with_parent() -> None:
    """Have the kernel end this process, by SIGTERM, when its parent is killed and cannot do it any
    more (Linux).  To be called between fork and exec."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
