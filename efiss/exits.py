"""Exit codes beside 0 (done) and 2 (an option is wrong)."""

FAILED = 1
"""It could not be done; a sentence on stderr says why and what to do."""
NOTHING_NEW = 3
"""The catalogue is as it is in the live version; nothing was built."""
REFUSED = 4
"""A version was built and judged unfit; the live version is as it was."""
CRASHED = 70
"""A bug of this program; its traceback is on stderr (EX_SOFTWARE of sysexits.h)."""
