"""Thumbnails: of the catalogue's rows, upright, small, and of nothing else."""

import dataclasses
import functools
import http.server
import io
import os
import shutil
import threading
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from admin import thumbnails
from admin.app import create_app
from admin.settings import Settings
from searcher.index import Index
from tests.drawing import draw
from tests.pictures import encoded

TALL = Image.new("RGB", (400, 900), "teal")


@dataclasses.dataclass
class Shop:
    """An application over index/ in the current folder, asked without a network."""

    client: TestClient
    publish: object

    def show(self, *paths: str, version: str = "1.0.0", live: bool = True) -> None:
        """Publish these paths as a version."""
        codes = np.zeros((len(paths), 8), np.uint8)
        self.publish(Path("index"), version, codes=codes, paths=list(paths), replace=True)
        if live:
            Index(Path("index")).activate(version)

    def get(self, path: str, version: str | None = None, **headers: str):
        query = f"path={quote_from_bytes(os.fsencode(path))}"
        query += f"&version={version}" if version else ""
        return self.client.get(f"/api/thumbnail?{query}", headers=headers)

    def picture(self, path: str) -> Image.Image:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/jpeg"
        return Image.open(io.BytesIO(answer.content))

    def refused(self, path: str, version: str | None = None) -> tuple[int, str, str]:
        answer = self.get(path, version)
        return answer.status_code, answer.json()["type"], answer.json()["message"]


@pytest.fixture
def shop(tmp_path, monkeypatch, publish_version):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    settings = Settings.from_environment(Path("index"), Path("efiss.toml"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield Shop(client, publish_version)


def put(path: str, image: Image.Image, **options) -> str:
    Path(path).write_bytes(encoded(image, **options))
    return path


@pytest.mark.parametrize("size", [(900, 400), (400, 900), (20, 30), (3000, 40)])
def test_a_thumbnail_fits_into_320_pixels_and_keeps_its_proportions(shop, size):
    shop.show(put("data/1.jpg", Image.new("RGB", size, "teal")))
    picture = shop.picture("data/1.jpg")
    assert picture.format == "JPEG" and max(picture.size) == min(320, max(size))
    shrunk = max(1, max(size) / 320)
    assert np.allclose(picture.size, np.divide(size, shrunk), atol=1)


def test_a_thumbnail_is_upright_and_carries_none_of_the_files_metadata(shop):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (600, 300), "teal")
    shop.show(put("data/1.jpg", image, exif=exif, comment=b"secret" * 50))
    answer = shop.get("data/1.jpg")
    assert Image.open(io.BytesIO(answer.content)).size == (160, 320)
    assert b"secret" not in answer.content and b"Exif" not in answer.content


def test_only_rows_of_the_version_are_shown(shop, tmp_path):
    put("secret.jpg", TALL)
    shop.show(put("data/1.jpg", TALL))
    outside = tmp_path / "data" / "1.jpg"
    for path in (
        *("secret.jpg", "../secret.jpg", "data/../secret.jpg", "data/1.jpg/", "./data/1.jpg"),
        *(str(outside), f"file://{outside}", "/etc/passwd", "data", "data/1.jpg\0", "data/2.jpg"),
    ):
        status, kind, _ = shop.refused(path)
        assert (status, kind) == (404, "unknown_path"), path
    for query in ("", "?path=", "?version=1.0.0"):
        answer = shop.client.get(f"/api/thumbnail{query}")
        assert (answer.status_code, answer.json()["type"]) == (400, "no_path")


def test_names_that_are_not_utf8_travel_as_their_bytes(shop):
    names = [b"caf\xe9_1.jpg", "Größe_日本.jpg".encode(), b'"\\ &=+%_1.jpg']
    paths = [put(os.fsdecode(b"data/" + name), TALL) for name in names]
    shop.show(*paths)
    for path in paths:
        assert shop.picture(path).size == (142, 320)
    assert shop.refused(os.fsdecode(b"data/caf\xe8_1.jpg"))[0] == 404


@pytest.mark.parametrize("datalake", [None, "data"])
@pytest.mark.parametrize("allowed", [None, "off", "on"])
def test_no_link_leads_out_of_the_catalogues_folders(
    tmp_path, monkeypatch, publish_version, datalake, allowed
):
    monkeypatch.chdir(tmp_path)
    for name, value in {"EFISS_DATALAKE": datalake, "EFISS_FOLLOW_LINKS": allowed}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    for folder in ("disk/abc.com", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    Path("data").symlink_to("disk")  # a folder of the catalogue may be a link itself
    inside = put("data/abc.com/1.jpg", TALL)
    put("outside/1.jpg", TALL)
    links = {
        "data/abc.com/same.jpg": ("1.jpg", True),
        "data/abc.com/file.jpg": ("../../outside/1.jpg", False),
        "data/xyz.com": ("../outside", False),
        "data/abc.com/around.jpg": (tmp_path / "disk/abc.com/1.jpg", True),
    }
    for link, (target, _) in links.items():
        Path(link).symlink_to(target)
    wanted = {
        f"{link}/1.jpg" if link.endswith(".com") else link: ok for link, (_, ok) in links.items()
    }
    settings = Settings.from_environment(Path("index"), Path("efiss.toml"))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        shop = Shop(client, publish_version)
        shop.show(inside, *wanted)
        for path, is_inside in {inside: True, **wanted}.items():
            if is_inside or allowed == "on":
                assert shop.picture(path).size == (142, 320), path
            else:
                status, kind, message = shop.refused(path)
                assert (status, kind) == (404, "no_thumbnail")
                assert "EFISS_FOLLOW_LINKS=on" in message and str(tmp_path) not in message


def test_what_cannot_be_shown_says_why(shop):
    Path("data/broken.jpg").write_bytes(encoded(draw(1, 1))[:9000])
    Path("data/text.jpg").write_text("no picture")
    Path("data/folder.jpg").mkdir()
    os.mkfifo("data/pipe.jpg")
    put("data/huge.png", Image.new("1", (9000, 9000)), name="PNG")
    reasons = {
        "data/broken.jpg": "damaged",
        "data/text.jpg": "not a picture",
        "data/folder.jpg": "Not a file",
        "data/pipe.jpg": "Not a file",
        "data/huge.png": "megapixels",
        "data/gone.jpg": "No such file",
        "s3://": "cannot be shown",
    }
    shop.show(*reasons)
    for path, reason in reasons.items():
        status, kind, message = shop.refused(path)
        assert (status, kind) == (404, "no_thumbnail") and reason in message, (path, message)


def test_a_browser_that_has_it_is_told_so_until_the_file_changes(shop):
    shop.show(put("data/1.jpg", TALL))
    first = shop.get("data/1.jpg")
    assert "max-age" in first.headers["cache-control"]
    again = shop.get("data/1.jpg", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    put("data/1.jpg", draw(1, 1))
    changed = shop.get("data/1.jpg", **{"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200 and changed.headers["etag"] != first.headers["etag"]
    assert changed.content != first.content


def test_a_picture_is_decoded_once(shop, monkeypatch):
    shop.show(put("data/1.jpg", TALL))
    wanted = shop.get("data/1.jpg").content
    monkeypatch.setattr(thumbnails, "read_files", None)
    assert shop.get("data/1.jpg").content == wanted


def test_another_version_has_pictures_of_its_own(shop):
    shop.show(put("data/old.jpg", TALL))
    shop.show(put("data/new.jpg", TALL), version="1.1.0")
    assert shop.get("data/new.jpg").status_code == 200
    assert shop.refused("data/old.jpg")[1] == "unknown_path"
    assert shop.get("data/old.jpg", version="1.0.0").status_code == 200
    for version in ("1.2.0", "none", "../1.0.0"):
        assert shop.refused("data/old.jpg", version=version)[:2] == (404, "unknown_version")
    shutil.rmtree("index/1.0.0")
    assert shop.refused("data/old.jpg", version="1.0.0")[1] == "unknown_version"


def test_a_version_that_is_built_anew_is_looked_at_anew(shop):
    shop.show(put("data/1.jpg", TALL))
    shop.show("data/1.jpg", version="1.1.0", live=False)
    assert shop.get("data/1.jpg", version="1.1.0").status_code == 200
    shop.show(put("data/2.jpg", TALL), version="1.1.0", live=False)
    assert shop.get("data/2.jpg", version="1.1.0").status_code == 200
    assert shop.refused("data/1.jpg", version="1.1.0")[1] == "unknown_path"


def test_without_a_version_or_with_a_damaged_one_there_are_none(shop):
    assert shop.refused("data/1.jpg")[:2] == (404, "no_live_version")
    shop.show(put("data/1.jpg", TALL))
    Path("index/1.0.0/index.bin").write_bytes(b"")
    status, kind, message = shop.refused("data/1.jpg")
    assert (status, kind) == (409, "damaged_version") and "index.bin" not in message


def test_pictures_of_other_machines_are_read_as_the_index_reads_them(shop, tmp_path):
    put("data/1.jpg", TALL)
    handler = functools.partial(_Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here, gone = (
            f"http://127.0.0.1:{server.server_port}/data/{name}.jpg" for name in (1, "gone")
        )
        shop.show(here, gone)
        assert shop.picture(here).size == (142, 320)
        assert "No such file" in shop.refused(gone)[2]
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *parts) -> None:
        pass
