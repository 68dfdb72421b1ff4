"""`docker run efiss-ai`: the demo catalogue, served by a container that may do next to nothing."""

import base64
import contextlib
import http.client
import io
import json
import re
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from efiss_client import PATH, Client
from tests.images.conftest import HARDENED, docker
from tests.pictures import encoded

LARGEST_IMAGE = 1_600_000_000


@pytest.fixture(scope="module")
def service(running):
    with running(*HARDENED, "--user", "12345") as container:
        yield container


@pytest.fixture(scope="module")
def photo(service) -> bytes:
    """A picture of the demo catalogue, fetched from the container."""
    done = service.run("base64", "demo/datalake/littlefolk.example/1_littlefolk_example.jpg")
    return base64.b64decode(done.stdout)


def request(image: bytes, **fields) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode(), **fields}).encode()


def test_the_contract_s_request_is_answered(service, photo):
    """As `curl -T` sends it, without a content type."""
    response = httpx.put(service.url + PATH, content=request(photo, top_k=10, debug=True))
    answer = response.raise_for_status().json()
    assert answer["index_database_version"] == "1.0.0"
    assert answer["relevant"][0] == "demo/datalake/littlefolk.example/1_littlefolk_example.jpg"
    assert len(answer["relevant"]) == 10 and answer["distances"][0] == 0


def test_the_form_of_a_browser_is_answered(service):
    noise = np.random.default_rng(0).integers(0, 256, (1700, 1700, 3), dtype=np.uint8)
    image = encoded(Image.fromarray(noise), "PNG")
    assert len(image) > 8_000_000
    form = {"data": ("blob", io.BytesIO(request(image, topk=100)), "application/json")}
    response = httpx.post(service.url + PATH, files=form, timeout=60)
    assert len(response.raise_for_status().json()["relevant"]) == 100


def test_a_request_of_64_mb_is_refused_and_the_next_one_answered(service, photo):
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", str(64_000_000))
    connection.endheaders()
    with contextlib.suppress(OSError):  # it may hang up on the rest
        connection.send(bytes(64_000_000))
    assert connection.getresponse().status == 413
    with Client(service.url) as client:
        assert client.search(photo).results[0].distance == 0


def test_it_runs_as_whoever_is_named_and_else_not_as_root(service, image):
    assert service.run("id", "-u").stdout.strip() == "12345"
    user = docker("image", "inspect", "--format", "{{.Config.User}}", image).stdout.strip()
    assert int(user.split(":")[0]) > 0


def test_the_health_check_is_a_real_query(service, image):
    check = docker("image", "inspect", "--format", "{{json .Config.Healthcheck.Test}}", image)
    done = service.run(*json.loads(check.stdout)[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert "answers from index version 1.0.0" in done.stdout
    assert service.run("env", "EFISS_PORT=6000", "deploy/healthcheck.sh").returncode == 1


def test_the_image_is_small(image):
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout)
    assert size < LARGEST_IMAGE


def test_a_container_s_limits_set_workers_and_heap_and_it_stops_in_order(running, photo):
    """With one processor a container takes longer to start."""
    with running(*HARDENED, "--memory", "1g", "--cpus", "1") as container:
        commands = container.run("bash", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert "-Xmx256m" in commands
        assert len(re.findall(r"model_service_worker", commands)) == 1
        with Client(container.url) as client:
            assert client.search(photo).results[0].distance == 0
        code, seconds = container.stop()
        assert code == 0 and seconds < 10, container.log()
        assert container.log().rstrip().endswith("stopped")
