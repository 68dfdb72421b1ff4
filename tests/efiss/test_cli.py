"""The command line as a whole."""

import re

import click
import pytest
from click.testing import CliRunner

from efiss.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_teaches_with_an_example(name):
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert re.search(r"Examples?:\n +(EFISS_\w+=\w+ )?(efiss|bash) ", done.output), done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_has_a_line_of_help(name):
    command = main.get_command(click.Context(main), name)
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.opts for option in options if not option.help] == []


def test_the_group_lists_every_command_without_importing_any():
    done = CliRunner().invoke(main, ["--help"])
    assert all(f"  {name} " in done.output for name in COMMANDS)


def test_an_unknown_command_is_a_usage_error():
    done = CliRunner().invoke(main, ["serch"])
    assert done.exit_code == 2 and "No such command" in done.output
