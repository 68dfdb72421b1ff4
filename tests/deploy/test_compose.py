"""docker-compose.yml and what it mounts."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.dashboard import DASHBOARD
from tests.deploy.manifests import documents, is_role, problems, schema, variables
from tests.running import ROOT

COMPOSE = ROOT / "docker-compose.yml"
OWN = ("service", "admin", "reindex")
PROMETHEUS = ROOT / "deploy" / "monitoring" / "prometheus.yml"
PROVISIONING = ROOT / "deploy" / "monitoring" / "grafana" / "provisioning"


@pytest.fixture(scope="module")
def services() -> dict:
    (composition,) = documents(COMPOSE)
    assert not problems(composition, schema("compose"))
    return composition["services"]


def test_each_container_has_a_role_of_the_image_and_variables_of_the_program(services):
    for name in OWN:
        assert is_role(services[name]["command"])
        for variable in services[name].get("environment", {}):
            assert variable in variables() | {"TZ", "REINDEX_AT"}


@pytest.mark.parametrize("name", ["service", "admin", "reindex", "prometheus", "grafana"])
def test_no_container_may_more_than_it_needs(services, name):
    container = services[name]
    assert container["read_only"] and container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["mem_limit"] and container["restart"] == "unless-stopped"


def test_all_work_on_one_index_and_nobody_writes_pictures(services):
    for name in OWN:
        mounts = {mount["target"]: mount for mount in services[name]["volumes"]}
        assert mounts["/app/index"]["source"] == "./index"
        assert all(not mount["bind"]["create_host_path"] for mount in mounts.values())
        if name != "service":
            assert mounts["/app/data"]["read_only"]


def test_ports_are_published_on_this_machine_alone_unless_it_is_asked_for(services):
    published = {name: services[name].get("ports", []) for name in services}
    assert published == {
        "service": ["${BIND_ADDRESS:-127.0.0.1}:5000:5000"],
        "admin": ["${BIND_ADDRESS:-127.0.0.1}:5001:5001"],
        "reindex": [],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_every_variable_of_the_file_is_in_its_docs():
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for name in re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")):
        assert f"| `{name}` |" in page


def test_prometheus_reads_both_services_and_grafana_reads_prometheus(services):
    (config,) = documents(PROMETHEUS)
    targets = [one["static_configs"][0]["targets"] for one in config["scrape_configs"]]
    assert targets == [["service:5005"], ["admin:5001"]]
    (sources,) = documents(PROVISIONING / "datasources" / "prometheus.yml")
    (source,) = sources["datasources"]
    assert (source["url"], source["type"]) == ("http://prometheus:9090", "prometheus")


def test_grafana_finds_the_dashboard(services):
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    dashboard = mounts[f"./{DASHBOARD.relative_to(ROOT)}"]
    (provided,) = documents(PROVISIONING / "dashboards" / "efiss.yml")
    assert dashboard.startswith(provided["providers"][0]["options"]["path"] + "/")
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == (
        dashboard
    )
    assert all((ROOT / source).exists() for source in mounts if source.startswith("./"))


def resolved(folder, **variables: str) -> subprocess.CompletedProcess:
    """The composition as Compose reads it; without the option that Compose 1 does not know."""
    text = COMPOSE.read_text(encoding="utf-8")
    (folder / "docker-compose.yml").write_text(
        text.replace(", bind: {create_host_path: false}", "")
    )
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"]).returncode:
            return subprocess.run(
                [*command, "config"],
                cwd=folder,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", **variables},
                capture_output=True,
                text=True,
            )
    pytest.skip("Compose is not here")


def test_compose_reads_it(tmp_path):
    done = resolved(tmp_path, EFISS_ADMIN_TOKEN="0123456789abcdef")
    assert done.returncode == 0, done.stderr
    admin = yaml.safe_load(done.stdout)["services"]["admin"]
    assert admin["environment"]["EFISS_ADMIN_TOKEN"] == "0123456789abcdef"


def test_a_missing_token_is_said(tmp_path):
    done = resolved(tmp_path)
    assert done.returncode != 0
    assert "EFISS_ADMIN_TOKEN" in done.stderr and "docs/deployment.md" in done.stderr
