"""All that the environment sets, as one table; help, docs and every check of a value come from it.

No torch here, so that `--help` answers at once.
"""

import dataclasses
import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from machine.errors import Problem

MAX_PIXELS = 220_000_000
"""Limit on width x height of a picture, as the file declares it: what phones make.  What may be
decoded is bounded for each format by what it costs (`hashing.stored`)."""

MOST_FILE_BYTES = 64_000_000
"""Of a picture of the catalogue; a larger file is refused by its size, and not read."""

RANKS = ("distance", "fine")
"""What may order an answer."""

BATCH_SIZE = 32
"""Default number of files a worker takes at a time."""

LEAST_HEAP = 64
"""MB of Java's heap; TorchServe does not start with less."""

FEWEST_LETTERS = 16
"""Of a token; shorter ones can be guessed."""

Value = TypeVar("Value", covariant=True)


class SettingError(Problem):
    """A setting has a value that cannot be used; the message says what it may be."""


@dataclasses.dataclass(frozen=True)
class Kind(Generic[Value]):
    """What a value may be."""

    words: str
    """The end of the sentence "NAME must be …"."""
    read: Callable[[str], Value | None]
    """A text as the value that it stands for, None where it stands for none."""
    is_secret: bool = False
    """Whether the text may stand in no message."""


@dataclasses.dataclass(frozen=True)
class Setting(Generic[Value]):
    """A variable of the environment."""

    name: str
    kind: Kind[Value]
    default: str
    """A text of the kind; in words where `otherwise` computes the value."""
    about: str
    """What it is, a sentence without its full stop."""
    otherwise: Callable[[], Value] | None = None
    """The value where none is set and the default depends on something."""

    def value(self) -> Value:
        """The value that holds now; an empty one is none.  Raises SettingError."""
        if text := os.environ.get(self.name, "").strip():
            return self.checked(text)
        return self.otherwise() if self.otherwise else self.checked(self.default)

    def checked(self, text: str, name: str = "") -> Value:
        """A text as a value.  name: what the message calls it, where that is not the variable.
        Raises SettingError."""
        value = self.kind.read(text)
        if value is None:
            given = "" if self.kind.is_secret else f", not {text!r}"
            raise SettingError(f"{name or self.name} must be {self.kind.words}{given}{_why(text)}")
        return value


def _why(text: str) -> str:
    """Kubernetes makes EFISS_PORT for the pods of a namespace in which a service is named `efiss`,
    and Docker for a container that is linked to one."""
    if not re.match(r"(tcp|udp|sctp)://", text):
        return ""
    return (
        ": Kubernetes sets this for a service of that name (or Docker for a link); give the "
        "service another name, or set enableServiceLinks: false"
    )


# -- what a value may be -------------------------------------------------------------------------


def _whole(lowest: int, highest: int) -> Kind[int]:
    def read(text: str) -> int | None:
        is_whole = text.isascii() and text.isdigit() and lowest <= int(text) <= highest
        return int(text) if is_whole else None

    return Kind(f"a whole number from {lowest} to {highest}", read)


def _choice(*words: str) -> Kind[str]:
    return Kind(" or ".join(words), lambda text: text if text in words else None)


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _address_4(text: str) -> str | None:
    return _address(text) if ":" not in text else None


def _url(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        return None
    return text.rstrip("/") if is_whole else None


def _milvus(text: str) -> str | None:
    is_url = re.fullmatch(r"https?://[^\s/]+(/\w*)?", text)
    return text if is_url or (os.path.isabs(text) and text.endswith(".db")) else None


def _token(text: str) -> str | None:
    is_safe = len(text) >= FEWEST_LETTERS and text.isascii() and text.isprintable()
    return text if is_safe else None


_PATH: Kind[Path] = Kind("a path", Path)
_TEXT: Kind[str] = Kind("any text", str, is_secret=True)


def _nothing() -> None:
    """The value of a setting without a default."""


# -- the table -----------------------------------------------------------------------------------

PORT = Setting(
    "EFISS_PORT",
    _whole(1, 65530),
    "5000",
    "first of a block of six ports: +1 the admin service, +5 metrics",
)
HOST = Setting(
    "EFISS_HOST",
    Kind("an IPv4 address of this machine, or 0.0.0.0 for all", _address_4),
    "127.0.0.1",
    "address that the search service listens on; 0.0.0.0 for all",
)
WORKERS: Setting[int | None] = Setting(
    "EFISS_WORKERS",
    _whole(1, 256),
    "the cores, at most 4, and no more than a container has memory for",
    "processes that answer, one thread and about 350 MB each",
    _nothing,
)
BATCH = Setting(
    "EFISS_BATCH_SIZE",
    _whole(1, 128),
    "4",
    "requests a worker answers at once; more raises throughput under load",
)
BATCH_DELAY = Setting(
    "EFISS_BATCH_DELAY_MS",
    _whole(1, 1000),
    "1",
    "milliseconds that a worker waits for so many; those that wait already, it takes at once",
)
HEAP: Setting[int | None] = Setting(
    "EFISS_HEAP_MB",
    _whole(LEAST_HEAP, 65536),
    "1024, or a quarter of a container's memory where that is less",
    "Java's heap in MB; Java as a whole may take 1.5 times as much and 200 MB, and what waits for "
    "it a quarter of it",
    _nothing,
)
PIXELS = Setting(
    "EFISS_MAX_PIXELS",
    _whole(1, MAX_PIXELS),
    str(MAX_PIXELS),
    "most pixels (width x height) a picture may have, whatever its format and cost; for the "
    "indexing commands too",
)
ENGINE = Setting(
    "EFISS_ENGINE",
    _choice("auto", "openvino", "torchscript"),
    "auto",
    "what runs the network on CPUs: OpenVINO where it can, and TorchScript where not; with "
    "openvino, nothing goes on without it",
)
ACCESS_LOG = Setting(
    "EFISS_ACCESS_LOG",
    _choice("on", "off"),
    "on",
    "whether the log has a line of JSON for each request",
)
RANK = Setting(
    "EFISS_RANK",
    _choice(*RANKS),
    "distance",
    "what orders the answers to requests that do not say; see docs/queries.md",
)
BACKEND = Setting(
    "EFISS_BACKEND",
    _choice("faiss", "milvus"),
    "faiss",
    "what searches: FAISS on this machine, or Milvus",
)
MILVUS_URI: Setting[str | None] = Setting(
    "EFISS_MILVUS_URI",
    Kind(
        "http://HOST:PORT, https://HOST:PORT, or the absolute path of a .db file for milvus-lite",
        _milvus,
    ),
    "",
    "where Milvus is; /NAME at the end of a URL is the database NAME",
    _nothing,
)
MILVUS_TOKEN: Setting[str | None] = Setting(
    "EFISS_MILVUS_TOKEN",
    _TEXT,
    "",
    "user:password or an API key, where Milvus wants one",
    _nothing,
)
INDEX: Setting[Path | None] = Setting(
    "EFISS_INDEX",
    Kind("an absolute path", lambda text: Path(text) if os.path.isabs(text) else None),
    "",
    "index folder whose live version the archive serves; `efiss serve` sets it to --index_root",
    _nothing,
)
ADMIN_PORT = Setting(
    "EFISS_ADMIN_PORT",
    _whole(1, 65535),
    "EFISS_PORT + 1",
    "where the admin service listens",
    lambda: PORT.value() + 1,
)
ADMIN_HOST = Setting(
    "EFISS_ADMIN_HOST",
    Kind("an IP address of this machine, or 0.0.0.0 for all", _address),
    "127.0.0.1",
    "address that the admin service listens on; any that others can reach needs a token",
)
ADMIN_TOKEN: Setting[str | None] = Setting(
    "EFISS_ADMIN_TOKEN",
    Kind(
        f"{FEWEST_LETTERS} ASCII letters or more (`openssl rand -hex 32` makes them)",
        _token,
        is_secret=True,
    ),
    "",
    "what callers of the admin service that change something must show",
    _nothing,
)
ADMIN_TOKEN_FILE: Setting[Path | None] = Setting(
    "EFISS_ADMIN_TOKEN_FILE",
    _PATH,
    "",
    "a file that holds the token, in place of EFISS_ADMIN_TOKEN",
    _nothing,
)
SERVICE_URL = Setting(
    "EFISS_SERVICE_URL",
    Kind("the search service's http://HOST:PORT", _url),
    "http://127.0.0.1:EFISS_PORT",
    "where the admin service finds the search service",
    lambda: service_here(),
)
DATALAKE: Setting[Path | None] = Setting(
    "EFISS_DATALAKE",
    _PATH,
    "",
    "folder of shops that a reindex lists first; without it the list is taken as it is",
    _nothing,
)
EXCLUDE: Setting[tuple[str, ...]] = Setting(
    "EFISS_EXCLUDE",
    Kind("patterns with : between", lambda text: tuple(filter(None, text.split(":")))),
    "",
    "files and folders of the datalake that a listing passes over: names or patterns, as of "
    "--exclude, with : between",
    lambda: (),
)
SHOP_DEPTH: Setting[int | None] = Setting(
    "EFISS_SHOP_DEPTH",
    _whole(1, 100),
    "",
    "which folder of a path is the shop, as of --shop_depth; without it the first one below the "
    "datalake or, where the list does not say which that is, the last one",
    _nothing,
)
LINKS = Setting(
    "EFISS_FOLLOW_LINKS",
    _choice("on", "off"),
    "off",
    "whether thumbnails show files that links lead to outside the catalogue's folders",
)
DATABASE = Setting("EFISS_DATABASE", _PATH, "database_info.txt", "the list of image paths")
MODELS = Setting(
    "EFISS_MODELS",
    _PATH,
    "torchscripts_models",
    "folder that models are taken from; for commands in place of --model_path, of `efiss reindex` "
    "for the first version",
)

SERVE = (PORT, HOST, WORKERS, BATCH, BATCH_DELAY, HEAP, PIXELS, ENGINE, ACCESS_LOG, RANK)
"""What `efiss serve` goes by."""
SEARCH = (BACKEND, MILVUS_URI, MILVUS_TOKEN)
"""What says where versions are searched; read by `searcher.milvus.place`."""
ADMIN = (ADMIN_PORT, ADMIN_HOST, ADMIN_TOKEN, ADMIN_TOKEN_FILE, SERVICE_URL, DATALAKE, EXCLUDE,
         SHOP_DEPTH, LINKS, DATABASE, MODELS)  # fmt: skip
"""What `efiss admin` goes by beside those."""
TABLE: tuple[Setting, ...] = (*SERVE, *SEARCH, INDEX, *ADMIN)

_OF_TESTS = ("EFISS_DATA", "EFISS_DOCKER_BUILD")
_LINK = re.compile(
    r"EFISS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?|ENV_\w+)"
)
"""Variables that Kubernetes and Docker make for a service or container named `efiss…`."""


def unknown(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables EFISS_… that are none of the table, each with a sentence that names the nearest
    one."""
    known = [setting.name for setting in TABLE]
    return {
        name: f"{name} is no setting and changes nothing; did you mean "
        f"{difflib.get_close_matches(name.upper(), known, 1, cutoff=0.0)[0]}?"
        for name in sorted(environment)
        if name.startswith("EFISS_")
        and name not in (*known, *_OF_TESTS)
        and not _is_link(name, environment[name])
    }


def _is_link(name: str, value: str) -> bool:
    is_address = name.endswith("_PORT") and "://" in value  # else it may be EFISS_ADMN_PORT=5001
    return is_address or _LINK.fullmatch(name) is not None


def check(settings: Iterable[Setting]) -> None:
    """Raise SettingError unless every one has a value that can be used."""
    for setting in settings:
        setting.value()


def as_markdown() -> str:
    """The table of docs/operating.md."""
    lines = ["| variable | default | must be | what it is |", "|---|---|---|---|"]
    for setting in TABLE:
        default = setting.default
        if default and " " not in default:
            default = f"`{default}`"
        lines.append(f"| `{setting.name}` | {default} | {setting.kind.words} | {setting.about} |")
    return "\n".join(lines) + "\n"


# -- what follows from it ------------------------------------------------------------------------


def max_pixels() -> int:
    """The most pixels (width x height) a picture may have.  Raises SettingError."""
    return PIXELS.value()


def service_here() -> str:
    """The search service of this machine, for its clients.  Raises SettingError."""
    return f"http://127.0.0.1:{PORT.value()}"


def url_of(host: str, port: int) -> str:
    """Where a program of this machine finds what listens on an address."""
    host = "127.0.0.1" if ipaddress.ip_address(host).is_unspecified else host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    print(as_markdown(), end="")
