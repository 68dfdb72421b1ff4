"""What `efiss admin` is told by its environment."""

import dataclasses
import ipaddress
from pathlib import Path

from machine import settings, shipped
from machine.settings import SettingError
from searcher import milvus
from searcher.index import Index
from searcher.milvus import Place


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where the admin service listens and what it works on."""

    host: str
    """IP address to listen on."""
    port: int
    service_url: str
    """Of the search service."""
    index_root: Path
    """The folder of the versions."""
    token: str | None
    """What callers that change something must show; None: nobody can reach this service but from
    this machine."""
    datalake: Path | None
    """The folder of shops that a reindex lists first; None: it takes the list as it is."""
    follow_links: bool
    """Whether links may lead out of the catalogue's folders."""
    database: Path
    """The list of image paths."""
    models: Path
    """The folder that models are taken from."""
    config: Path
    """The file with the thresholds of `efiss check`."""
    where: Place | None
    """Of Milvus, when versions are searched there."""

    @classmethod
    def from_environment(cls, index_root: Path, config: Path) -> "Settings":
        """What `machine.settings` has for it.  Raises SettingError."""
        host, token = settings.ADMIN_HOST.value(), _token()
        if token is None and not ipaddress.ip_address(host).is_loopback:
            raise SettingError(
                f"EFISS_ADMIN_HOST={host} can be reached from other machines, and there is no "
                "token: set EFISS_ADMIN_TOKEN or EFISS_ADMIN_TOKEN_FILE, or listen on 127.0.0.1"
            )
        return cls(
            host=host,
            port=settings.ADMIN_PORT.value(),
            service_url=settings.SERVICE_URL.value(),
            index_root=index_root,
            token=token,
            datalake=settings.DATALAKE.value(),
            follow_links=settings.LINKS.value() == "on",
            database=settings.DATABASE.value(),
            models=shipped.found(settings.MODELS.value()),
            config=config,
            where=milvus.place(),
        )

    @property
    def index(self) -> Index:
        return Index(self.index_root)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        return settings.url_of(self.host, self.port)


def _token() -> str | None:
    """The token, which never stands in a message."""
    token, file = settings.ADMIN_TOKEN.value(), settings.ADMIN_TOKEN_FILE.value()
    if token and file:
        raise SettingError("set EFISS_ADMIN_TOKEN or EFISS_ADMIN_TOKEN_FILE, not both")
    if file is None:
        return token
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"EFISS_ADMIN_TOKEN_FILE={file} cannot be read: {error}") from None
    return settings.ADMIN_TOKEN.checked(text, f"the token in {file}")
