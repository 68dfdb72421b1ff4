"""Files that are not on this machine: `s3://`, `gs://`, `https://` and whatever else fsspec knows.

fsspec and its file systems are the extra `remote`.  Credentials and endpoints are theirs too, found
as they find them: the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_S3_…)
and their configuration files.
"""

import datetime
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from machine.errors import Problem
from machine.settings import MOST_FILE_BYTES

AT_A_TIME = 32
"""Files that are asked for at once: their latencies overlap."""

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5
"""Before the second attempt; twice that before the third."""

CONNECT_SECONDS, SILENCE_SECONDS, WHOLE_SECONDS = 10, 30, 300
"""Limits on connecting, on waiting for the next bytes, and on one file as a whole."""

SETTLED_SECONDS = 2
"""A time in whole seconds proves nothing about a file changed as shortly before as this."""

_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ETAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "generation")
_TIMES = ("LastModified", "Last-Modified", "mtime", "updated", "modified", "created")


class RemoteError(Problem):
    """Remote files cannot be read here; the message says what to install."""


def is_remote(path: str) -> bool:
    """Whether the path is a URL, `scheme://…`."""
    return "://" in path and _REMOTE.match(path) is not None


def check(paths: Iterable[str]) -> None:
    """Raise RemoteError unless everything is installed that the remote ones among paths need."""
    for scheme in sorted({_scheme(path) for path in paths if is_remote(path)}):
        _file_system(scheme)


def look(urls: list[str]) -> list[tuple[int, int] | None]:
    """Size in bytes and stamp of every file, without reading it; None where it cannot be had.

    The stamp is 63 bits made from the ETag (or a like mark of the content) or, without one, from
    the time of the last change; None too where the file system tells neither.
    """
    return _at_once(_look, urls)


def read(urls: list[str]) -> list[bytes | str]:
    """The bytes of every file, or the reason why they cannot be had."""
    return _at_once(_read, urls)


def _at_once(function: Callable, urls: list[str]) -> list:
    if not urls:
        return []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(function, urls))


def _look(url: str) -> tuple[int, int] | None:
    try:
        asked = time.time()
        told = _with_retries(lambda: _file_system(_scheme(url)).info(url))
    except Exception:  # reading it will tell the reason
        return None
    mark = _mark(told, asked)
    if not isinstance(told.get("size"), int) or mark is None:
        return None
    digest = hashlib.blake2b(mark.encode(), digest_size=8).digest()
    return told["size"], int.from_bytes(digest, "little") >> 1


def _mark(told: dict, asked: float) -> str | None:
    """What changes when the content does, as text."""
    for name in _ETAGS:
        if told.get(name):
            return f"{name} {told[name]}"
    for name in _TIMES:
        if told.get(name):
            when = _seconds(told[name])
            if when is not None and when < asked - SETTLED_SECONDS:
                return f"{name} {when}"
    return None


def _seconds(when) -> float | None:
    """A time as file systems write it (seconds, datetime, HTTP date, ISO 8601), since 1970."""
    if isinstance(when, int | float):
        return float(when)
    if isinstance(when, datetime.datetime):
        return when.replace(tzinfo=when.tzinfo or datetime.UTC).timestamp()
    for parse in (
        lambda: datetime.datetime.strptime(when, "%a, %d %b %Y %H:%M:%S GMT"),
        lambda: datetime.datetime.fromisoformat(when),
    ):
        try:
            return _seconds(parse())
        except (ValueError, TypeError):
            continue
    return None


def _read(url: str) -> bytes | str:
    try:
        if (size := _size(url)) > MOST_FILE_BYTES:
            return too_large(size)
        return _with_retries(lambda: _file_system(_scheme(url)).cat_file(url))
    except FileNotFoundError:
        return "No such file"
    except MemoryError:
        return "Too large for the memory"
    except Exception as error:  # each file system has errors of its own
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"Cannot be fetched: {text[:200]}"


def too_large(size: int) -> str:
    """The reason why a file of so many bytes is not read."""
    return f"Too large: {size / 1e6:.1f} MB, the limit is {MOST_FILE_BYTES / 1e6:g}"


def _size(url: str) -> int:
    """Bytes of the file, 0 where that is not told."""
    try:
        size = _file_system(_scheme(url)).info(url).get("size")
    except Exception:  # fetching it will tell the reason
        return 0
    return size if isinstance(size, int) else 0


def _with_retries(ask: Callable):
    """What ask() returns; asked again when it fails in a way that may pass."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return ask()
        except Exception as error:
            if attempt == ATTEMPTS or _is_final(error):
                raise
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))


def _is_final(error: Exception) -> bool:
    status = getattr(error, "status", None)  # aiohttp's name for what HTTP answered
    if isinstance(status, int) and 400 <= status < 500:
        return status not in (408, 425, 429)
    return isinstance(
        error, FileNotFoundError | PermissionError | MemoryError | ValueError | Problem
    )


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


@functools.cache
def _file_system(scheme: str):
    """fsspec's file system for a scheme, with limits on time.  Raises RemoteError."""
    try:
        import fsspec

        return fsspec.filesystem(scheme, **_options(scheme))
    except ImportError as error:
        raise RemoteError(
            f"{scheme}:// needs a package that is not installed ({error}): "
            "pip install 'efiss-ai[remote]'"
        ) from error
    except ValueError as error:
        raise RemoteError(
            f"{scheme}:// cannot be opened ({error}): write local paths, or URLs that fsspec knows"
        ) from error


def _options(scheme: str) -> dict:
    """Limits on time, as each file system wants them told.  No cached listings: what a folder
    holds may change during a run."""
    if scheme in ("http", "https"):
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=WHOLE_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        return {"client_kwargs": {"timeout": limits}, "use_listings_cache": False}
    if scheme in ("s3", "s3a"):
        config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENCE_SECONDS}
        return {"config_kwargs": config, "use_listings_cache": False}
    if scheme in ("gs", "gcs"):
        return {"requests_timeout": WHOLE_SECONDS, "use_listings_cache": False}
    return {}
