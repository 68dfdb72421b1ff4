"""Bodies that are handed to the workers beside TorchServe, in memory that both can read (Linux)."""

import contextlib
import functools
import os
import subprocess
import sys

from handlers import handed
from serving.form import is_form
from serving.message import Request

LEAST_BYTES = 2**14
"""A smaller body costs less when it goes with its request."""


class Body:
    """A copy of a request's body for a worker to take (see `handlers.handed`).  To be closed when
    that has answered."""

    header: tuple[bytes, bytes]
    """By which the worker finds it."""

    def __init__(self, body: bytearray):
        """Raises OSError."""
        self._descriptor = os.memfd_create("body", os.MFD_CLOEXEC)
        try:
            left = memoryview(body)
            while left:
                left = left[os.write(self._descriptor, left) :]
            inode = os.fstat(self._descriptor).st_ino
        except OSError:
            self.close()
            raise
        place = b"%d-%d-%d" % (os.getpid(), self._descriptor, inode)
        self.header = handed.HEADER.encode(), place

    def close(self) -> None:
        os.close(self._descriptor)


def body_of(request: Request) -> Body | None:
    """What is handed of a request; None of one that is sent as it is.  TorchServe itself has to
    read a form."""
    if len(request.body) < LEAST_BYTES or is_form(request) or not can_hand():
        return None
    with contextlib.suppress(OSError):  # too many open files
        return Body(request.body)
    return None


@functools.cache
def can_hand() -> bool:
    """Whether another process of this user can open what this one has: on Linux, unless the system
    hides processes from one another."""
    if not hasattr(os, "memfd_create"):
        return False
    descriptor = os.memfd_create("trial", os.MFD_CLOEXEC)
    try:
        tried = f"open('/proc/{os.getpid()}/fd/{descriptor}', 'rb').close()"
        done = subprocess.run([sys.executable, "-ISc", tried], stderr=subprocess.DEVNULL)
        return done.returncode == 0
    finally:
        os.close(descriptor)
