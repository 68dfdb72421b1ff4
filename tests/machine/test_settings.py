"""The table of settings: what each may be, what help and docs say of it, and what is none of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.settings import Settings as AdminSettings
from efiss.cli import main
from machine import settings
from machine.settings import SettingError, unknown
from serving.settings import Settings
from tests.running import ROOT


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in os.environ:
        if name.startswith("EFISS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def refused(monkeypatch):
    """Call it with a variable's name and text: the sentence that its setting is refused with."""

    def refuse(name: str, text: str) -> str:
        (setting,) = [setting for setting in settings.TABLE if setting.name == name]
        monkeypatch.setenv(name, text)
        with pytest.raises(SettingError) as error:
            setting.value()
        return str(error.value)

    return refuse


def test_names_are_given_once():
    names = [setting.name for setting in settings.TABLE]
    assert len(set(names)) == len(names) and all(name.startswith("EFISS_") for name in names)


@pytest.mark.parametrize("setting", settings.TABLE, ids=lambda setting: setting.name)
def test_a_default_is_a_value_and_an_empty_variable_is_the_default(setting, monkeypatch):
    default = setting.value()
    if setting.otherwise is None:
        assert default == setting.kind.read(setting.default) is not None
    monkeypatch.setenv(setting.name, "  ")
    assert setting.value() == default


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (settings.PORT, " 6000 ", 6000),
        (settings.WORKERS, "1", 1),
        (settings.HOST, "0.0.0.0", "0.0.0.0"),
        (settings.ADMIN_HOST, "::1", "::1"),
        (settings.ACCESS_LOG, "off", "off"),
        (settings.SERVICE_URL, "https://search.example/", "https://search.example"),
        (settings.MILVUS_URI, "http://milvus:19530/shop", "http://milvus:19530/shop"),
        (settings.MILVUS_URI, "/data/shop.db", "/data/shop.db"),
        (settings.DATALAKE, "data", Path("data")),
        (settings.EXCLUDE, "*.psd:a b:", ("*.psd", "a b")),
        (settings.EXCLUDE, "", ()),
        (settings.ADMIN_TOKEN, "a" * 16, "a" * 16),
    ],
)
def test_a_value_is_read(setting, text, value, monkeypatch):
    monkeypatch.setenv(setting.name, text)
    assert setting.value() == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("EFISS_PORT", "65531", "must be a whole number from 1 to 65530, not '65531'"),
        ("EFISS_WORKERS", "0", "must be a whole number from 1 to 256, not '0'"),
        ("EFISS_WORKERS", "٣", "must be a whole number"),
        ("EFISS_MAX_PIXELS", "1e6", "must be a whole number"),
        ("EFISS_ACCESS_LOG", "yes", "must be on or off, not 'yes'"),
        ("EFISS_HOST", "::1", "must be an IPv4 address of this machine, or 0.0.0.0 for all,"),
        ("EFISS_HOST", "127.1", "must be an IPv4 address"),
        ("EFISS_ADMIN_HOST", "shop.example", "must be an IP address of this machine"),
        ("EFISS_SERVICE_URL", "localhost:5000", "http://HOST:PORT, not 'localhost:5000'"),
        ("EFISS_SERVICE_URL", "http://localhost:abc", "http://HOST:PORT"),
        ("EFISS_SERVICE_URL", "http://:5000", "http://HOST:PORT"),
        ("EFISS_MILVUS_URI", "milvus:19530", "http://HOST:PORT, https://HOST:PORT, or the abs"),
        ("EFISS_MILVUS_URI", "shop.db", "the absolute path of a .db file"),
        ("EFISS_INDEX", "index", "must be an absolute path"),
    ],
)
def test_what_is_no_value_is_refused_with_what_it_may_be(refused, name, text, words):
    said = refused(name, text)
    assert said.startswith(f"{name} must be ") and words in said


@pytest.mark.parametrize("token", ["short", "passwörter-sechzehn", "line\nsixteen-letters"])
def test_a_token_stands_in_no_message(refused, token):
    said = refused("EFISS_ADMIN_TOKEN", token)
    assert "16 ASCII letters or more" in said and token[:5] not in said


@pytest.mark.parametrize("name", ["EFISS_PORT", "EFISS_ADMIN_PORT"])
def test_a_port_that_kubernetes_made_is_refused_with_the_reason(refused, name):
    said = refused(name, "tcp://10.0.0.1:5000")
    assert "not 'tcp://10.0.0.1:5000': Kubernetes sets this" in said and "another name" in said


def test_what_depends_on_another_setting_follows_it(monkeypatch):
    monkeypatch.setenv("EFISS_PORT", "6000")
    assert settings.ADMIN_PORT.value() == 6001
    assert settings.SERVICE_URL.value() == settings.service_here() == "http://127.0.0.1:6000"
    admin = AdminSettings.from_environment(Path("index"), Path("efiss.toml"))
    assert (admin.url, Settings.from_environment().url) == (
        "http://127.0.0.1:6001",
        "http://127.0.0.1:6000",
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:5001"), ("0.0.0.0", "http://127.0.0.1:5001"),
     ("::", "http://127.0.0.1:5001"), ("::1", "http://[::1]:5001")],
)  # fmt: skip
def test_where_a_program_of_this_machine_finds_a_service(host, url):
    assert settings.url_of(host, 5001) == url


# -- what is none --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [("EFISS_WORKER", "EFISS_WORKERS"), ("EFISS_ADMN_PORT", "EFISS_ADMIN_PORT"),
     ("EFISS_MODEL", "EFISS_MODELS"), ("EFISS_port", "EFISS_PORT"),
     ("EFISS_MILVUS_URL", "EFISS_MILVUS_URI")],
)  # fmt: skip
def test_an_unknown_variable_is_told_with_the_nearest_known_one(name, near):
    sentence = f"{name} is no setting and changes nothing; did you mean {near}?"
    assert unknown({name: "5001", "PATH": "", near: "1"}) == {name: sentence}


def test_the_variables_that_kubernetes_and_docker_make_are_passed_over():
    assert not unknown(
        {
            "EFISS_SERVICE_HOST": "10.0.0.1",
            "EFISS_SERVICE_PORT": "5000",
            "EFISS_SERVICE_PORT_HTTP": "5000",
            "EFISS_PORT_5000_TCP": "tcp://10.0.0.1:5000",
            "EFISS_PORT_5000_TCP_ADDR": "10.0.0.1",
            "EFISS_SEARCH_PORT": "tcp://10.0.0.1:5000",
            "EFISS_SEARCH_SERVICE_HOST": "10.0.0.1",
            "EFISS_ENV_PATH": "/usr/bin",
            "EFISS_DATA": "of the tests",
        }
    )


@pytest.mark.parametrize("command", ["serve", "admin", "demo", "reindex"])
def test_a_command_warns_of_what_changes_nothing(command, tmp_path, monkeypatch):
    """And it goes on: what ends it here is that the folder is empty, or a setting that is bad."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFISS_WORKER", "3")
    monkeypatch.setenv("EFISS_ADMIN_TOKEN", "short")
    done = CliRunner().invoke(main, [command])
    warning, error = done.stderr.splitlines()
    assert warning == (
        "Warning: EFISS_WORKER is no setting and changes nothing; did you mean EFISS_WORKERS?"
    )
    assert done.exit_code == 1 and error.startswith("Error: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("EFISS_PORT", "http"), ("EFISS_WORKERS", "0"), ("EFISS_MAX_PIXELS", "0"),
     ("EFISS_ACCESS_LOG", "no"), ("EFISS_BACKEND", "elastic"), ("EFISS_ADMIN_PORT", "0"),
     ("EFISS_ADMIN_HOST", "0.0.0.0"), ("EFISS_ADMIN_TOKEN", "short"),
     ("EFISS_ADMIN_TOKEN_FILE", "missing"), ("EFISS_SERVICE_URL", "localhost")],
)  # fmt: skip
def test_the_demo_says_a_bad_value_before_any_work(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["demo"])
    assert done.exit_code == 1 and name in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


# -- help and docs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "told"),
    [("serve", settings.SERVE + settings.SEARCH), ("admin", settings.ADMIN),
     ("demo", settings.SERVE + settings.SEARCH + settings.ADMIN)],
)  # fmt: skip
def test_the_help_of_a_command_tells_its_settings(command, told):
    output = CliRunner().invoke(main, [command, "--help"]).output
    assert max(map(len, output.splitlines())) <= 80 and "{settings}" not in output
    words = " ".join(output.split())
    for setting in told:
        default = f"; default {setting.default}" if setting.default else ""
        assert f"{setting.name} {setting.about}{default}" in words


def test_the_table_of_the_docs_is_this_one():
    printed = subprocess.run(
        [sys.executable, "-m", "machine.settings"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout in (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    assert printed.stdout.count("\n") == len(settings.TABLE) + 2
