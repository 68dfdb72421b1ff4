"""This process, and those that a process of ours starts."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def give_memory_back() -> None:
    """Hand memory that was freed back to the system, where the C library can (glibc)."""
    if trim := getattr(_LIBC, "malloc_trim", None):
        trim(0)


def end_with_parent() -> None:
    """Have the kernel end this process, by SIGTERM, when its parent is killed and cannot do it any
    more (Linux).  To be called between fork and exec."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
