"""The body of a request that a front hands to a worker beside TorchServe, which would copy it
several times on its way.

It lies in the front's memory, as a file without a name.  A header tells which of the front's open
files it is, and the file's own number, so that no other one is taken for it.
"""

import os
from collections.abc import Mapping
from typing import Any

from handlers.body import header_of

HEADER = "x-efiss-body"
"""PROCESS-DESCRIPTOR-INODE, of the front."""
BEHIND_FRONT = "_EFISS_BEHIND_FRONT"
"""Set for workers whose requests come from a front, which lets no client send the header.  Others
do not look at it."""


def taken(headers: Mapping[str, Any]) -> bytes | None:
    """The body; None of a request that brings its own.  headers: of the request.

    Raises OSError where the front has given up the request.
    """
    name = header_of(headers, HEADER)
    if not name or BEHIND_FRONT not in os.environ:
        return None
    process, descriptor, inode = map(int, name.split("-"))
    with open(f"/proc/{process}/fd/{descriptor}", "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_ino != inode:
            raise FileNotFoundError("the request was given up, and its body with it")
        return file.read()
