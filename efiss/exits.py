"""Exit codes beside 0 (done), 1 (could not) and 2 (an option is wrong)."""

NOTHING_NEW = 3
"""The catalogue is as it is in the live version; nothing was built."""
REFUSED = 4
"""A version was built and judged unfit; the live version is as it was."""
