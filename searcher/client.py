"""The Python client under its former name, for one release: import `efiss_client` instead."""

from efiss_client import *  # noqa: F403
