"""The image, built once and run by the `docker` of this machine as a user would.

EFISS_DOCKER_BUILD: more arguments of `docker build`, for example --network=host.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.drawing import write_catalogue
from tests.running import ROOT

IMAGE = "efiss-ai:test"
HARDENED = ("--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges")  # fmt: skip
START_SECONDS = 180


def docker(*arguments, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(["docker", *map(str, arguments)], text=True, capture_output=True)
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclasses.dataclass
class Container:
    """A container under test; url: where its service answers on this machine."""

    name: str
    url: str

    def log(self) -> str:
        done = docker("logs", self.name)
        return done.stdout + done.stderr

    def run(self, *command) -> subprocess.CompletedProcess:
        return docker("exec", self.name, *command, check=False)

    def wait_until_ready(self, times: int = 1) -> None:
        """Until it has said so for as many times as it was started."""
        deadline = time.monotonic() + START_SECONDS
        while self.log().count("ready: ") < times:
            running = docker("inspect", "--format", "{{.State.Running}}", self.name).stdout.strip()
            assert running == "true" and time.monotonic() < deadline, self.log()
            time.sleep(0.2)

    def stop(self) -> tuple[int, float]:
        """Stop it as `docker stop` does: its exit code, and the seconds it took."""
        start = time.monotonic()
        docker("stop", self.name)
        seconds = time.monotonic() - start
        code = docker("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout
        return int(code), seconds


@pytest.fixture(scope="session")
def image() -> str:
    """Built by the command of docs/images.md."""
    if not shutil.which("docker") or docker("info", check=False).returncode != 0:
        pytest.skip("NO IMAGE IS TESTED: no Docker engine answers `docker info`")
    return build()


def build(*arguments, tag: str = IMAGE, context: Path = ROOT) -> str:
    more = os.environ.get("EFISS_DOCKER_BUILD", "").split()
    file = context / "searcher" / "Dockerfile"
    docker("build", *more, *arguments, "-t", tag, "-f", file, context)
    return tag


@pytest.fixture(scope="session")
def network(image):
    """A network of its own, in which containers know one another by name."""
    name = f"efiss-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="session")
def once(image, network):
    """once(argument of the image, …, options=[of docker run]) runs a container to its end."""

    def run(*command, options=()) -> subprocess.CompletedProcess:
        return docker("run", "--rm", "--network", network, *options, image, *command, check=False)

    return run


@pytest.fixture(scope="session")
def running(image, network):
    """running(option of docker run, …, command=[…], port=…) is a container that is ready."""

    @contextlib.contextmanager
    def run(*options, command=(), port: int = 5000, image: str = image):
        name = f"efiss-test-{uuid.uuid4().hex[:8]}"
        published = ("--publish", f"127.0.0.1::{port}")
        docker("run", "--detach", "--name", name, "--network", network, *published, *options,
               image, *command)  # fmt: skip
        try:
            address = docker("port", name, port).stdout.splitlines()[0]
            container = Container(name, f"http://{address}")
            container.wait_until_ready()
            yield container
        finally:
            docker("rm", "--force", "--volumes", name)

    return run


@pytest.fixture
def folders(tmp_path) -> list[str]:
    """Options of docker run: an empty index/ and a data/ of drawn pictures, and a user without
    privileges who owns the two."""
    user = os.getuid() or 12345
    (tmp_path / "index").mkdir()
    write_catalogue(tmp_path / "data", images=24, shops=2)
    os.chown(tmp_path / "index", user, -1)
    return ["--user", f"{user}:{os.getgid() or user}", "-v", f"{tmp_path / 'index'}:/app/index",
            "-v", f"{tmp_path / 'data'}:/app/data:ro"]  # fmt: skip
