"""`efiss`: the group of all commands, each imported when it is called."""

import contextlib
import importlib
import traceback
from collections.abc import Iterator
from typing import Any

import click

from efiss import __version__
from efiss.exits import CRASHED, FAILED
from machine.errors import sentence_of

COMMANDS = {
    "demo": ("efiss.commands.demo:demo", "Index and serve a demo catalogue, in one go."),
    "hash": ("efiss.commands.hash:hash_pictures", "Hash pictures into a file of codes."),
    "reindex": ("efiss.commands.reindex:reindex", "List, index, check, activate, prune."),
    "index": ("efiss.commands.index:index", "Build a version of the index from a catalogue."),
    "import": (
        "efiss.commands.import_codes:import_codes",
        "Build a version from codes computed elsewhere.",
    ),
    "versions": ("efiss.commands.versions:versions", "List the versions of the index."),
    "verify": ("efiss.commands.versions:verify", "Check a version: checksums, rows, codes."),
    "check": ("efiss.commands.check:check", "Judge a version before it goes live."),
    "publish": (
        "efiss.commands.publish:publish",
        "Publish a version as a collection in Milvus.",
    ),
    "activate": ("efiss.commands.live:activate", "Make a version the live one."),
    "rollback": ("efiss.commands.live:rollback", "Make the version before live again."),
    "remove": ("efiss.commands.live:remove", "Remove versions that nobody needs."),
    "archive": ("efiss.commands.serve:archive", "Pack a version into a model archive."),
    "serve": ("efiss.commands.serve:serve", "Run the search service."),
    "admin": ("efiss.commands.admin:admin", "Run the admin service and its page."),
    "health": ("efiss.commands.health:health", "Ask a running service whether it works."),
    "search": ("efiss.commands.search:search", "Ask the service for pictures like some."),
    "fit": ("efiss.commands.fit:fit", "Fit a model to a catalogue, without labels."),
    "train": ("efiss.commands.train:train", "Train a hashing model."),
    "export": ("efiss.commands.export:export", "Write a run's checkpoint as a model."),
    "evaluate": ("efiss.commands.evaluate:evaluate", "Measure a model's retrieval quality."),
}


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """Around a command: what a person can mend is a sentence on stderr and exit code 1; a bug has
    its traceback there and an exit code of its own."""
    try:
        yield
    except Exception as error:
        from efiss_client import ServiceError  # its imports take a moment, here only

        sentence = str(error) if isinstance(error, ServiceError) else sentence_of(error)
        if sentence is None:
            traceback.print_exc()
            raise SystemExit(CRASHED) from None
        click.echo(f"Error: {sentence}", err=True)
        raise SystemExit(FAILED) from None


class LazyGroup(click.Group):
    """A group whose commands are imported only when they run: torch alone takes seconds."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with errors_told():
            return super().main(*args, **extra)

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="efiss")
def main() -> None:
    """Image retrieval for a shop: a photo in, the catalogue's most similar pictures out.

    \b
    From a folder of pictures to a running service:
      bash indexer/extract_datalake.sh data
      efiss index --database database_info.txt --new_index_database_version 1.0.0
      efiss activate 1.0.0
      efiss archive --index_version 1.0.0
      efiss serve

    
    And every night:
      efiss reindex --datalake data
    """
