"""What the pages say that can be typed or installed: it is what the program has."""

import configparser
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from efiss.cli import COMMANDS, main
from efiss.exits import REFUSED
from indexer.judge import Thresholds
from tests.running import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page, those of some languages or all."""
    found = re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [text for language, text in found if not languages or language in languages]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_and_its_options_are_there(page):
    for block in blocks(page):
        for name, words in re.findall(r"(?<![-/\w])efiss ([a-z][\w-]*)(.*)", block):
            assert name in COMMANDS, name
            command = main.get_command(click.Context(main), name)
            options = {option for param in command.params for option in param.opts}
            named = re.findall(r"(?<!\S)--\w+", re.split(r" && | > | >> |#", words)[0])
            assert set(named) <= options, (name, words)


def test_the_help_begins_with_what_is_done_first_and_every_night():
    output = CliRunner().invoke(main, ["--help"]).output
    assert "efiss activate 1.0.0" in output and "efiss reindex --datalake data" in output


# -- docs/operating.md ---------------------------------------------------------------------------

OPERATING = ROOT / "docs" / "operating.md"


def test_the_thresholds_shown_are_the_defaults():
    (shown,) = blocks(OPERATING, "toml")
    assert Thresholds(**tomllib.loads(shown)["check"]) == Thresholds()
    assert shown in (ROOT / "efiss.toml").read_text(encoding="utf-8")


def run(command: list[str], code: int, folder: Path) -> subprocess.CompletedProcess:
    """Run a command where `efiss` ends with a code."""
    (folder / "efiss").write_text(f"#!/bin/sh\necho version 1.1.0\nexit {code}\n")
    (folder / "efiss").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        command, env={"PATH": path}, cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_the_cron_job_of_kubernetes_is_the_deployed_one():
    assert not [page.name for page in PAGES for block in blocks(page) if "CronJob" in block]
    (link,) = re.findall(r"CronJob: \[`(.*?)`\]\(\.\./\1\)", OPERATING.read_text())
    job = yaml.safe_load((ROOT / link).read_text(encoding="utf-8"))
    assert (job["kind"], job["spec"]["concurrencyPolicy"]) == ("CronJob", "Forbid")
    (rule,) = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"] == {
        "operator": "In",
        "values": [click.UsageError.exit_code, REFUSED],
    }


def test_the_crontab_mails_a_refusal_and_not_that_nothing_is_new(tmp_path):
    (line,) = re.findall(r"^0 3 .* && \.venv/bin/(efiss .*)", OPERATING.read_text(), re.MULTILINE)
    (addition,) = re.findall(r"add\n`(\|\| .*?)`", OPERATING.read_text())
    for code, mailed in {0: "", 3: "", 4: "version 1.1.0\n"}.items():
        (tmp_path / "reindex.log").unlink(missing_ok=True)
        done = run(["sh", "-c", f"{line} {addition}"], code, tmp_path)
        assert (done.stdout, done.stderr) == (mailed, "")
        assert (tmp_path / "reindex.log").read_text() == "version 1.1.0\n"


def test_the_units_are_a_service_and_its_timer():
    service, timer = map(units, blocks(OPERATING, "ini"))
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["SuccessExitStatus"] == "3"
    assert "efiss reindex --datalake data" in service["Service"]["ExecStart"]
    assert set(timer) == {"Unit", "Timer", "Install"}
    assert timer["Install"]["WantedBy"] == "timers.target"


def units(text: str) -> dict:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_knows_every_option_of_the_units(tmp_path):
    texts = dict(zip(("service", "timer"), blocks(OPERATING, "ini"), strict=True))
    texts["service"] = texts["service"].replace("/srv/shop/.venv/bin/efiss", "/bin/true")
    for kind, text in texts.items():
        (tmp_path / f"efiss-reindex.{kind}").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True
    )
    assert str(tmp_path) not in done.stderr  # where it names the line that it cannot read
