"""Ending in order when a signal asks for it."""

import contextlib
import signal


class Stopped(BaseException):
    """A signal asked this process to end."""


@contextlib.contextmanager
def stopping_on_signals():
    """SIGTERM and SIGINT raise Stopped inside, once; while things are being stopped, further ones
    change nothing."""

    def stop(number, frame):
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        raise Stopped

    before = {name: signal.signal(name, stop) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
