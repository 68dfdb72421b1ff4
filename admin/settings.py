"""What `efiss admin` is told by its environment."""

import dataclasses
import ipaddress
import os
from pathlib import Path

import httpx

from machine.settings import SettingError, port, whole_number
from searcher.index import Index

FEWEST_LETTERS = 16
"""Of a token; shorter ones can be guessed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where the admin service listens and what it works on.

    host, port: to listen on.  service_url: of the search service.  index_root: the folder of the
    versions.  token: what callers that change something must show; None: nobody can reach this
    service but from this machine.  datalake: the folder of shops that a reindex extracts first, or
    None to take the list `database` as it is.  models: the folder that models are taken from.
    config: the file with the thresholds of `efiss check`.
    """

    host: str
    port: int
    service_url: str
    index_root: Path
    token: str | None
    datalake: Path | None
    database: Path
    models: Path
    config: Path

    @classmethod
    def from_environment(cls, index_root: Path, config: Path) -> "Settings":
        """EFISS_ADMIN_PORT, EFISS_ADMIN_HOST, EFISS_ADMIN_TOKEN or EFISS_ADMIN_TOKEN_FILE,
        EFISS_SERVICE_URL, EFISS_DATALAKE, EFISS_DATABASE, EFISS_MODELS.  Raises SettingError."""
        host, token = _host(), _token()
        if token is None and not ipaddress.ip_address(host).is_loopback:
            raise SettingError(
                f"EFISS_ADMIN_HOST={host} can be reached from other machines, and there is no "
                "token: set EFISS_ADMIN_TOKEN or EFISS_ADMIN_TOKEN_FILE, or listen on 127.0.0.1"
            )
        datalake = _text("EFISS_DATALAKE")
        return cls(
            host=host,
            port=whole_number("EFISS_ADMIN_PORT", port() + 1, 1, 65535),
            service_url=_url(),
            index_root=index_root,
            token=token,
            datalake=Path(datalake) if datalake else None,
            database=Path(_text("EFISS_DATABASE") or "database_info.txt"),
            models=Path(_text("EFISS_MODELS") or "torchscripts_models"),
            config=config,
        )

    @property
    def index(self) -> Index:
        return Index(self.index_root)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        address = ipaddress.ip_address(self.host)
        host = "127.0.0.1" if address.is_unspecified else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _text(name: str) -> str:
    return os.environ.get(name, "").strip()


def _host() -> str:
    text = _text("EFISS_ADMIN_HOST") or "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise SettingError(
            "EFISS_ADMIN_HOST must be an IP address of this machine, or 0.0.0.0 for all, "
            f"not {text!r}"
        ) from None


def _url() -> str:
    url = _text("EFISS_SERVICE_URL") or f"http://127.0.0.1:{port()}"
    try:
        parsed = httpx.URL(url)
        is_whole = parsed.scheme in ("http", "https") and parsed.host
    except httpx.InvalidURL:
        is_whole = False
    if not is_whole:
        raise SettingError(
            f"EFISS_SERVICE_URL must be the search service's http://HOST:PORT, not {url!r}"
        )
    return url.rstrip("/")


def _token() -> str | None:
    """The token, which never stands in a message."""
    token, file = _text("EFISS_ADMIN_TOKEN"), _text("EFISS_ADMIN_TOKEN_FILE")
    if token and file:
        raise SettingError("set EFISS_ADMIN_TOKEN or EFISS_ADMIN_TOKEN_FILE, not both")
    if file:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingError(f"EFISS_ADMIN_TOKEN_FILE={file} cannot be read: {error}") from None
    if not token and not file:
        return None
    if len(token) < FEWEST_LETTERS or not token.isascii() or not token.isprintable():
        raise SettingError(
            f"the admin token must have {FEWEST_LETTERS} ASCII letters or more; make one with "
            "`openssl rand -hex 32`"
        )
    return token
