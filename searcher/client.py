"""The Python client under its former name, for one release: import `efiss_client` instead."""

import warnings

from efiss_client import *  # noqa: F403

warnings.warn(
    "searcher.client is efiss_client now; this name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
