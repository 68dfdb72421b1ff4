"""docs/security.md: what is said of TorchServe's weaknesses, tried on a running service."""

import http.client
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import zipfile
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest

from handlers import MODEL_NAME
from tests.running import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NOT_LOADED = (
    r"\bio\.netty\.handler\.(codec\.(http2|compression|haproxy|smtp|mqtt|redis|stomp|memcache|socks)|ssl)\.",
    r"\bio\.netty\.handler\.codec\.http\.websocketx\.",
    r"\borg\.(testng|junit)\.",
    r"\bgroovy\.lang\.",
)
ADDRESSES = (
    "/models",
    "//models",
    "/%6dodels",
    "/metrics/../models",
    "/models?url=http://127.0.0.1/a.mar",
    f"/models/{MODEL_NAME}/1.0/set-default",
    "/workflows",
    "/workflows/a",
    "/wfpredict/a",
    f"/explanations/{MODEL_NAME}",
    "/token",
    "/api-description",
    f"/v1/models/{MODEL_NAME}:predict",
    f"/v2/models/{MODEL_NAME}/infer",
)


@pytest.fixture(scope="module")
def java(service) -> psutil.Process:
    children = psutil.Process(service.process.pid).children(recursive=True)
    return next(child for child in children if "ModelServer" in " ".join(child.cmdline()))


@pytest.fixture
def archive() -> zipfile.ZipFile:
    spec = find_spec("ts")
    assert spec and spec.origin
    return zipfile.ZipFile(Path(spec.origin).with_name("frontend") / "model-server.jar")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_no_address_of_management_is_passed_on_at_either_port(service, method):
    for port in (service.port, service.port + 5):
        for address in ADDRESSES:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(method, address)
            assert connection.getresponse().status in (404, 405), (port, address)
            connection.close()


def test_its_sockets_and_temporary_files_are_the_user_s_alone(service, java):
    folder = service.management.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == java.uids().real
    (temporary,) = [word for word in java.cmdline() if word.startswith("-Djava.io.tmpdir=")]
    assert Path(temporary.split("=")[1]).is_relative_to(folder)


class Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@pytest.mark.parametrize("address", ["/models", "/workflows"])
def test_on_its_socket_nothing_is_fetched_by_a_url(service, address):
    asked = []

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        for url in (f"http://127.0.0.1:{stranger.server_port}/a.mar",
                    f"https://none.invalid/../127.0.0.1:{stranger.server_port}/a.mar"):  # fmt: skip
            connection = Unix(str(service.management), timeout=30)
            connection.request("POST", f"{address}?url={url}")
            assert connection.getresponse().status >= 400
        stranger.shutdown()
    assert asked == []


def test_java_has_loaded_no_class_of_what_is_said_not_to_run(service, java):
    """After requests of all kinds that the tests of the service sent it."""
    if not (jcmd := shutil.which("jcmd")):
        pytest.skip("NO CLASSES ARE LOOKED AT: jcmd is not here, it comes with a JDK")
    httpx.post(service.url + f"/predictions/{MODEL_NAME}", files={"data": ("a", b"{}")})
    done = subprocess.run(
        [jcmd, str(java.pid), "VM.class_hierarchy"], text=True, capture_output=True,
        env=os.environ | {"JAVA_TOOL_OPTIONS": ""},
    )  # fmt: skip
    loaded = done.stdout
    assert "io.netty.handler.codec.http.HttpServerCodec" in loaded, done.stderr
    for pattern in NOT_LOADED:
        assert (
            re.findall(pattern + r"\S*", re.sub(r"io\.grpc\.netty\.shaded\.\S*", "", loaded)) == []
        )


def test_the_versions_are_those_of_the_archive(archive):
    netty = archive.read("META-INF/io.netty.versions.properties").decode()
    (version,) = re.findall(r"^netty-codec-http\.version=(\S+)", netty, re.MULTILINE)
    assert f"| netty {version}, " in PAGE
    (grpc,) = re.findall(rb"\d+\.\d+\.\d+", archive.read("io/grpc/internal/GrpcUtil.class"))
    assert f"| gRPC {grpc.decode()}, " in PAGE
    (log4j,) = re.findall(r"log4j-core:jar:(\S+)", archive.read("META-INF/DEPENDENCIES").decode())
    assert f"| Log4j {log4j} |" in PAGE
    groovy = archive.read("META-INF/groovy-release-info.properties").decode()
    (groovy,) = re.findall(r"^ImplementationVersion=(\S+)", groovy, re.MULTILINE)
    assert f"| Groovy {groovy}, " in PAGE
    # The class by which SnakeYAML 2 mended CVE-2022-1471.
    assert "org/yaml/snakeyaml/inspector/UnTrustedTagInspector.class" in archive.namelist()


def test_the_log_is_written_to_the_console_only():
    text = (ROOT / "serving" / "log4j2.xml").read_text()
    appenders = re.search(r"<Appenders>(.*)</Appenders>", text, re.DOTALL)
    assert appenders and set(re.findall(r"^    <(\w+)", appenders[1], re.MULTILINE)) == {"Console"}
    assert "${" not in text
