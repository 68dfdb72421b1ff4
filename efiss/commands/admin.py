"""`efiss admin`."""

import contextlib
import socket
from pathlib import Path

import click

from efiss import __version__
from efiss.commands.options import CONFIG, INDEX_ROOT, settings_in_help, warn_of_unknown_settings
from efiss.stopping import Stopped, stopping_on_signals
from machine.errors import Problem
from machine.settings import ADMIN


@click.command()
@INDEX_ROOT
@CONFIG
@settings_in_help(*ADMIN)
def admin(index_root: Path, config: Path) -> None:
    """Run the admin service: the page, reindexing over HTTP, versions, health.

    It runs beside `efiss serve` until Ctrl-C or SIGTERM, in the folder where the catalogue's paths
    begin. Without a token it serves this machine only.

    \b
    Environment:
      {settings}

    \b
    Example:
      EFISS_DATALAKE=data efiss admin
    """
    warn_of_unknown_settings()
    try:
        import uvicorn

        from admin import bounds
        from admin.app import create_app
    except ModuleNotFoundError as error:
        raise Problem(
            f"a package is not installed ({error.name}): pip install 'efiss-ai[admin]'"
        ) from error
    from admin.jobs import Jobs
    from admin.settings import Settings

    settings = Settings.from_environment(index_root, config)
    Jobs(settings.index_root).close()  # what is wrong with the folder is said here, in words
    app = create_app(settings, __version__)
    listening = _listening(settings.host, settings.port)
    click.echo(f"ready: {settings.url}")
    server = uvicorn.Server(bounds.configured(app))
    with contextlib.suppress(Stopped), stopping_on_signals():
        server.run(sockets=[listening])  # which raises the signal again that ended it
    click.echo("stopped")


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol: asyncio sends small answers at once only over a socket that names it.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Problem(
            f"port {port} on {host} cannot be used ({error.strerror}); stop what holds it, or set "
            "EFISS_ADMIN_PORT to another one"
        ) from error
    return listening
