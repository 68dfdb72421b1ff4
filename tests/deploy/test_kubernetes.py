"""deploy/kubernetes: valid, whole, and about this program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from admin.app import create_app
from admin.settings import Settings
from efiss import __version__
from tests.deploy.manifests import documents, is_role, problems, schema, variables
from tests.running import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = {"cpu": "1.0.0-cpu", "gpu": "1.0.0-cuda"}
COMPONENTS = ("monitoring", "one-node", "baked-index")
WITH_SCHEMA = schema("kubernetes")["kinds"]
POD = "#/$defs/io.k8s.api.core.v1.PodSpec"
KUSTOMIZATIONS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))
MANIFESTS = [path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"]


def kind_of(manifest: dict) -> str:
    return f"{manifest['apiVersion']} {manifest['kind']}"


def name_of(manifest: dict) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def pods(manifests: list[dict]) -> list[dict]:
    """The specs of all pods that the manifests make."""
    found = []
    for manifest in manifests:
        spec = manifest["spec"]
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found.append(spec["template"]["spec"])
        if "predictor" in spec:
            found.append(spec["predictor"])
    return found


def containers(manifests: list[dict]) -> list[dict]:
    return [container for pod in pods(manifests) for container in pod["containers"]]


def all_manifests() -> list[dict]:
    return [one for path in MANIFESTS for one in documents(path)]


def check(manifest: dict) -> None:
    """By its schema; a predictor of KServe is a pod and more."""
    if kind_of(manifest) in WITH_SCHEMA:
        schema_of = {"$ref": WITH_SCHEMA[kind_of(manifest)], "$defs": schema("kubernetes")["$defs"]}
        assert not problems(manifest, schema_of), name_of(manifest)
        return
    assert manifest["kind"] in ("ServiceMonitor", "InferenceService")
    for pod in pods([manifest]):
        own = {name: pod[name] for name in pod.keys() - {"minReplicas", "maxReplicas"}}
        definitions = schema("kubernetes")["$defs"]
        assert not problems(
            own, {"$ref": "#/$defs/io.k8s.api.core.v1.PodSpec", "$defs": definitions}
        )


# -- the files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_is_valid(path):
    for manifest in documents(path):
        check(manifest)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_a_kustomization_names_what_is_there(folder):
    (told,) = documents(folder / "kustomization.yaml")
    for name in told.get("resources", []):
        assert (folder / name).exists()
    there = {name_of(manifest) for manifest in all_manifests()}
    for patch in told.get("patches", []):
        if "target" not in patch:
            assert name_of(yaml.safe_load(patch["patch"])) in there
        elif "name" in patch["target"]:
            assert (patch["target"]["kind"], patch["target"]["name"]) in there
        else:
            assert patch["target"]["kind"] in {kind for kind, _ in there}


def test_no_manifest_is_forgotten():
    named = {
        (folder / name).resolve()
        for folder in KUSTOMIZATIONS
        for name in documents(folder / "kustomization.yaml")[0].get("resources", [])
    }
    assert {path for path in MANIFESTS if path.parent.name != "examples"} <= named


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_takes_the_image_of_this_version(name):
    (told,) = documents(KUBERNETES / "overlays" / name / "kustomization.yaml")
    (image,) = told["images"]
    assert (image["name"], image["newTag"]) == ("efiss-ai", f"{__version__}-{OVERLAYS[name][6:]}")


# -- about this program --------------------------------------------------------------------------


def test_every_container_has_a_role_of_the_image_and_variables_of_the_program():
    for container in containers(all_manifests()):
        assert is_role(container["args"])
        for variable in container.get("env", []):
            assert variable["name"] in variables() | {"STORAGE_URI"}


def test_every_pod_keeps_to_the_restricted_profile():
    for pod in pods(all_manifests()):
        of_all = pod["securityContext"]
        assert of_all["runAsNonRoot"] and of_all["runAsUser"] > 0
        assert of_all["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_kubernetes_sets_no_variable_of_the_program_by_itself():
    """Of a Service `efiss` it would make EFISS_PORT=tcp://…, in pods that take such links."""
    assert not any(pod["enableServiceLinks"] for pod in pods(all_manifests()))
    services = [one for one in all_manifests() if one["kind"] == "Service"]
    assert not any(one["metadata"]["name"].startswith("efiss") for one in services)


def test_ports_of_services_policies_and_monitors_lead_to_containers():
    manifests = all_manifests()
    of_pods = {}
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            (container,) = containers([manifest])
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            of_pods[labels["app.kubernetes.io/component"]] = ports
    assert of_pods == {"search": {"http": 5000, "metrics": 5005}, "admin": {"http": 5001}}
    of_services = {}
    for manifest in manifests:
        if manifest["kind"] == "Service":
            ports = of_pods[manifest["spec"]["selector"]["app.kubernetes.io/component"]]
            told = {one["name"]: one["port"] for one in manifest["spec"]["ports"]}
            assert told == ports == {n: ports[n] for n in told}
            assert all(one["targetPort"] == one["name"] for one in manifest["spec"]["ports"])
            of_services[manifest["metadata"]["labels"]["app.kubernetes.io/component"]] = told
    for manifest in manifests:
        if manifest["kind"] == "ServiceMonitor":
            component = manifest["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
            (endpoint,) = manifest["spec"]["endpoints"]
            assert endpoint["port"] in of_services[component]
        if manifest["kind"] == "NetworkPolicy":
            selected = manifest["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            named = {port["port"] for rule in manifest["spec"]["ingress"] for port in rule["ports"]}
            assert named == of_pods.get(selected, {}).keys()


def settings_in(folder: Path) -> Settings:
    """Of an admin service that is never started."""
    return Settings(
        host="127.0.0.1",
        port=5001,
        service_url="http://127.0.0.1:5000",
        index_root=folder,
        token=None,
        datalake=None,
        follow_links=False,
        database=folder / "database_info.txt",
        models=folder,
        config=folder / "efiss.toml",
        where=None,
    )


@pytest.fixture
def addresses(tmp_path) -> set[str]:
    """Of the admin service."""
    return set(create_app(settings_in(tmp_path)).openapi()["paths"])


def test_probes_ask_what_there_is(addresses):
    asked = []
    for container in containers(all_manifests()):
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            if "exec" in probe:
                assert probe["exec"]["command"][:2] == ["efiss", "health"]
                assert is_role(probe["exec"]["command"][1:])
            if "httpGet" in probe:
                asked.append((container["name"], probe["httpGet"]["path"]))
    assert set(asked) == {("search", "/ping"), ("admin", "/health/live")}
    assert "/health/live" in addresses


def test_the_search_is_ready_by_a_query_and_alive_by_less():
    (search,) = (one for one in containers(all_manifests()) if one["name"] == "search")
    assert "exec" in search["readinessProbe"] and "exec" in search["startupProbe"]
    assert "httpGet" in search["livenessProbe"]


def test_the_nightly_job_takes_nothing_new_for_success(tmp_path):
    (job,) = (one for one in all_manifests() if one["kind"] == "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = containers([job])
    codes = []
    for code in range(5):
        (tmp_path / "efiss").write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
        (tmp_path / "efiss").chmod(0o755)
        done = subprocess.run(
            [*container["args"], "--device=cpu"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.stdout == "reindex --device=cpu\n"
        codes.append(done.returncode)
    assert codes == [0, 1, 2, 0, 4]


def test_the_archive_that_kserve_fetches_is_the_one_that_is_written():
    text = (KUBERNETES / "examples" / "kserve.yaml").read_text(encoding="utf-8")
    from serving.archive import archive_of

    assert archive_of(Path()).name in text
    assert re.findall(r"efiss-ai:(\S+)", text) == [f"{__version__}-cpu"]


# -- as kustomize makes it -----------------------------------------------------------------------


def rendered(folder: Path) -> list[dict]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here")
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_renders(name):
    manifests = rendered(KUBERNETES / "overlays" / name)
    for manifest in manifests:
        check(manifest)
    images = {container["image"] for container in containers(manifests)}
    assert images == {f"efiss-ai:{OVERLAYS[name]}"}
    with_gpu = {
        container["name"]
        for container in containers(manifests)
        if "nvidia.com/gpu" in container["resources"]["limits"]
    }
    assert with_gpu == ({"search", "reindex"} if name == "gpu" else set())


@pytest.mark.parametrize("component", COMPONENTS)
def test_an_overlay_with_a_component_renders(component, tmp_path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "cpu"
    with (overlay / "kustomization.yaml").open("a") as file:
        file.write(f"\ncomponents:\n  - ../../components/{component}\n")
    manifests = rendered(overlay)
    for manifest in manifests:
        check(manifest)
    names = {name_of(manifest) for manifest in manifests}
    if component == "monitoring":
        assert ("ServiceMonitor", "image-retrieval") in names
    if component == "one-node":
        assert all("podAffinity" in pod["affinity"] for pod in pods(manifests))
        claims = [one for one in manifests if one["kind"] == "PersistentVolumeClaim"]
        assert all(one["spec"]["accessModes"] == ["ReadWriteOnce"] for one in claims)
    if component == "baked-index":
        assert {kind for kind, _ in names}.isdisjoint({"PersistentVolumeClaim", "CronJob"})
        (pod,) = pods(manifests)
        assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
