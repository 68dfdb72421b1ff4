"""The archive by itself: stock TorchServe in an environment that lacks this project."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from efiss_client import Answer, Client, ServiceError
from serving.java import find_java
from tests.drawing import draw
from tests.pictures import encoded
from tests.running import ROOT, free_block, make_environment


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"))


def test_the_archive_holds_the_version_its_model_and_the_program(deployed):
    with zipfile.ZipFile(deployed / "model_store" / "image-retrieval-v1.0.mar") as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert manifest["model"]["modelName"] == "image-retrieval-v1.0"
    wanted = {"version/index.bin", "version/model.pt", "version/manifest.json",
              "hashing/picture.py", "searcher/opened.py", "handlers/request.py"}  # fmt: skip
    assert wanted <= names and not [name for name in names if "__pycache__" in name]


def test_the_handler_needs_no_httpx():
    code = "import sys; sys.modules['httpx'] = None; import handlers.image_retrieval"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_it_serves_on_stock_torchserve_without_this_project(deployed, environment):
    """Starts TorchServe."""
    python = environment / "bin" / "python"
    missing = subprocess.run([python, "-c", "import hashing"], cwd="/", capture_output=True)
    assert missing.returncode == 1 and b"No module named 'hashing'" in missing.stderr

    port = free_block()
    photo = encoded(draw(1, 5000))
    with tempfile.TemporaryDirectory(prefix="efiss-test-") as folder:
        config = Path(folder, "config.properties")
        config.write_text(
            f"inference_address=http://127.0.0.1:{port}\n"
            f"management_address=http://127.0.0.1:{port + 1}\n"
            f"metrics_address=http://127.0.0.1:{port + 5}\n"
            f"grpc_inference_port={port + 2}\ngrpc_management_port={port + 3}\n"
            "disable_token_authorization=true\ndefault_workers_per_model=1\n"
        )
        settings = os.environ | {
            "JAVA_HOME": str(find_java().resolve().parents[1]),
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": folder,
            "TEMP": folder,
        }
        for name in ("PYTHONPATH", "EFISS_INDEX"):
            settings.pop(name, None)
        with Path(folder, "log").open("w") as log:
            server = subprocess.Popen(
                [python, "-c", "from ts.model_server import start; start()",
                 "--start", "--foreground", "--ncs", "--model-store", deployed / "model_store",
                 "--models", "image-retrieval-v1.0.mar", "--ts-config", config],
                cwd=folder, env=settings, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            answer = _first_answer(f"http://127.0.0.1:{port}", photo, Path(folder, "log"))
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert answer.version == "1.0.0" and len(answer.results) == 10


def _first_answer(url: str, photo: bytes, log: Path) -> Answer:
    try:
        with Client(url, timeout=120, retries=1000) as client:
            return client.search(photo)
    except ServiceError:
        print(log.read_text()[-5000:])
        raise
