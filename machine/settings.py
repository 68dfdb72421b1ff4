"""Defaults and settings from the environment; no torch here, so that `--help` answers at once."""

import math
import os

from machine import container
from machine.errors import Problem

MAX_PIXELS = 64_000_000
"""Default limit on width x height of a picture, as the file declares it."""

MAX_PIXELS_CEILING = 178_000_000
"""The highest limit that can be set: above it Pillow itself refuses a picture."""

BATCH_SIZE = 32
"""Default number of files a worker takes at a time."""


class SettingError(Problem):
    """An environment variable has a value that cannot be used; the message says what it may be."""


def whole_number(name: str, default: int, lowest: int, highest: int) -> int:
    """The environment variable `name` as a whole number within bounds, or `default` when it is
    not set or empty.  Raises SettingError."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and lowest <= int(text) <= highest:
        return int(text)
    raise SettingError(f"{name} must be a whole number from {lowest} to {highest}, not {text!r}")


def max_pixels() -> int:
    """EFISS_MAX_PIXELS: the most pixels (width x height) a picture may have; 64 million unless set.
    Raises SettingError."""
    return whole_number("EFISS_MAX_PIXELS", MAX_PIXELS, 1, MAX_PIXELS_CEILING)


def access_log() -> bool:
    """EFISS_ACCESS_LOG: whether the service leaves a line in its log for each request, `on` or
    `off`; on unless set.  Raises SettingError."""
    text = os.environ.get("EFISS_ACCESS_LOG", "").strip() or "on"
    if text not in ("on", "off"):
        raise SettingError(f"EFISS_ACCESS_LOG must be on or off, not {text!r}")
    return text == "on"


def available_cores() -> int:
    """Cores this process may use; of a container that may use a part of one more, that as well."""
    cores = len(os.sched_getaffinity(0))
    limit = container.cores()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def port() -> int:
    """EFISS_PORT: where the service of this machine listens; 5000 unless set, and 65530 at most,
    since it is the first of a block of six.  Raises SettingError."""
    return whole_number("EFISS_PORT", 5000, 1, 65530)
