"""The version in one place, and what checks every change."""

import re
import subprocess

import pytest

from efiss import __version__
from tests.deploy.manifests import documents, problems, schema
from tests.running import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_every_tag_of_the_image_is_of_this_version():
    folders = ("docs", "deploy", ".github")
    files = [ROOT / "README.md", ROOT / "docker-compose.yml"]
    files += [path for name in folders for path in (ROOT / name).rglob("*.*") if path.is_file()]
    tags = {
        tag
        for path in files
        for tag in re.findall(r"efiss-ai:(\d[\w.]*)", path.read_text(encoding="utf-8"))
    }
    assert tags == {__version__}


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d[^]]*)\]", text, re.MULTILINE)[0] == __version__


def test_the_workflow_is_valid_and_runs_what_ci_runs():
    text = WORKFLOW.read_text(encoding="utf-8")
    (workflow,) = documents(WORKFLOW)
    workflow["on"] = workflow.pop(True)  # what YAML 1.1 makes of `on`
    assert not problems(workflow, schema("github-workflow"))
    commands = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in commands and "make lint" in commands
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(
        re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) and re.fullmatch(r"  # v[\d.]+", comment)
        for action, comment in used
    )


def test_what_is_checked_before_a_commit_is_what_make_lint_checks():
    (config,) = documents(ROOT / ".pre-commit-config.yaml")
    entries = {hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for entry in entries:
        assert entry.replace(".venv/bin/", "$(BIN)/").split(" --")[0] in makefile


@pytest.mark.parametrize("script", ["release/sbom.sh", "deploy/nightly.sh"])
def test_scripts_parse_and_may_be_run(script):
    assert (ROOT / script).stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0
