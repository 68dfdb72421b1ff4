"""What a container does by its arguments, what it says when it cannot, and several of them on one
index folder."""

import shutil
import subprocess

import httpx
import pytest

from efiss_client import Client
from tests.images.conftest import HARDENED, build, docker
from tests.running import ROOT

TOKEN = "a token for these tests"


def version_of(container) -> str:
    with Client(container.url) as client:
        return client.search(code="0" * 16).version


def test_one_container_reindexes_another_follows_and_still_does_after_a_restart(
    running, once, folders
):
    """Three containers, and one of them again."""
    with running(*HARDENED, *folders) as service:
        assert version_of(service) == "1.0.0"  # the packed one, until there is another
        done = once("reindex", "--new_index_database_version", "2.0.0",
                    options=[*HARDENED, *folders])  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "workers answer" in done.stdout
        with Client(service.url) as client:
            answer = client.search(code="0" * 16)
        assert answer.version == "2.0.0" and answer.results[0].path.startswith("data/")

        environment = ("--env", f"EFISS_ADMIN_TOKEN={TOKEN}",
                       "--env", f"EFISS_SERVICE_URL=http://{service.name}:5000")  # fmt: skip
        with running(*HARDENED, *folders, *environment, command=["admin"], port=5001) as admin:
            assert httpx.get(f"{admin.url}/health/ready").json()["ready"]
            assert admin.run("deploy/healthcheck.sh").returncode == 0
            response = httpx.post(
                f"{admin.url}/api/reindex",
                json={"new_index_database_version": "3.0.0"},
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=120,
            )
            assert response.json()["result"] == "success", response.text
            assert version_of(service) == "3.0.0"
            code, seconds = admin.stop()
            assert code == 0 and seconds < 10, admin.log()

        docker("restart", service.name)
        service.wait_until_ready(times=2)
        service.url = "http://" + docker("port", service.name, 5000).stdout.splitlines()[0]
        assert version_of(service) == "3.0.0"


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--env", "EFISS_PORT=http"], "EFISS_PORT must be a whole number"),
     (["--env", "EFISS_WORKERS=0"], "EFISS_WORKERS must be a whole number"),
     (["--env", "EFISS_HEAP_MB=1g"], "EFISS_HEAP_MB must be a whole number"),
     (["--env", "EFISS_HOST=localhost"], "EFISS_HOST must be an IPv4 address"),
     (["--read-only"], "needs docker run --tmpfs /tmp:exec"),
     (["--read-only", "--tmpfs", "/tmp"], "mount it with exec")],
)  # fmt: skip
def test_what_cannot_work_is_a_sentence(once, options, said):
    done = once(options=options)
    assert done.returncode == 1 and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr


def test_the_admin_service_wants_a_token_where_others_can_reach_it(once):
    done = once("admin")
    assert done.returncode == 1 and "set EFISS_ADMIN_TOKEN" in done.stderr


def test_an_index_folder_that_cannot_be_written_is_a_sentence(once, folders):
    done = once("reindex", options=[*folders, "--user", "54321"])
    assert done.returncode == 1 and "index cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [(["index", "--help"], "efiss index"), (["bench", "--help"], "Serve an index"),
     (["--version"], "efiss, version"), (["python", "-c", "print(6 * 7)"], "42")],
)  # fmt: skip
def test_other_arguments_are_a_command_or_a_program(once, command, said):
    done = once(*command)
    assert done.returncode == 0 and said in done.stdout


def test_a_version_of_one_s_own_is_packed_instead_of_the_demo(
    image, running, publish_version, tmp_path
):
    """Built from a folder that holds what git has, and an index."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0")[:-1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    publish_version(tmp_path / "index", "7.8.9")
    own = build("--build-arg", "VERSION=7.8.9", tag=f"{image}-own", context=tmp_path)
    with running(*HARDENED, image=own) as container:
        assert version_of(container) == "7.8.9"
    docker("image", "rm", own)
