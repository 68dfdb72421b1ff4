"""What the container that this process runs in allows it; a container is a control group (cgroup)
of Linux, whose limits are files."""

import math
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60
"""More bytes than any machine has; version 1 writes such a number where nothing is limited."""


def available_cores() -> int:
    """Cores this process may use; of a container that may use a part of one more, that as well."""
    all_cores, limit = len(os.sched_getaffinity(0)), cores()
    return all_cores if limit is None else max(1, min(all_cores, math.ceil(limit)))


def cores() -> float | None:
    """Processors' worth of time; None where that is not limited."""
    if (limit := _words("cpu.max")) is None:  # version 2: "150000 100000"
        limit = [*(_words("cpu/cpu.cfs_quota_us") or []), *(_words("cpu/cpu.cfs_period_us") or [])]
    if len(limit) != 2 or limit[0] in ("max", "-1"):
        return None
    return int(limit[0]) / int(limit[1])


def memory() -> int | None:
    """Bytes; None where they are not limited."""
    limit = _words("memory.max") or _words("memory/memory.limit_in_bytes")
    if not limit or limit[0] == "max" or int(limit[0]) >= NO_LIMIT:
        return None
    return int(limit[0])


def _words(name: str) -> list[str] | None:
    try:
        return (ROOT / name).read_text().split()
    except OSError:
        return None
