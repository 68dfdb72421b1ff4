"""`efiss health`."""

import click

from machine.errors import Problem
from machine.settings import ADMIN_HOST, ADMIN_PORT, HOST, PORT, url_of

ANSWER_SECONDS = 8


@click.command()
@click.argument("service", type=click.Choice(["serve", "admin"]), default="serve")
def health(service: str) -> None:
    """Ask the service of this machine, for a health check: exit code 0 when it answers, else 1.

    `serve`, the default, has to answer a real query. `admin` has to run; whether the search that it
    asks itself answers does not count. The environment variables are those of the two.

    \b
    Example:
      efiss health && echo it answers
    """
    click.echo(_admin() if service == "admin" else _search())


def _search() -> str:
    from efiss_client import Client
    from serving import probe

    url = url_of(HOST.value(), PORT.value())
    with Client(url, timeout=ANSWER_SECONDS, retries=0) as client:
        return f"{url} answers from index version {probe.ask(client).version}"


def _admin() -> str:
    import httpx

    url = url_of(ADMIN_HOST.value(), ADMIN_PORT.value())
    try:
        httpx.get(f"{url}/health/live", timeout=ANSWER_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise Problem(f"{url} does not answer as it should: {error}") from error
    return f"{url} runs"
