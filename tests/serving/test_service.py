"""The service as its callers meet it: a real TorchServe, real pictures, every transport."""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from efiss_client import PATH
from hashing.codes import hamming, split
from searcher import open_version
from searcher.index import Index
from tests.dashboard import expressions, metrics_in
from tests.drawing import draw
from tests.pictures import encoded
from tests.running import IMAGES, ODD_NAMES, efiss, wait_for


def post(service, body: bytes, content_type: str | None = "application/json", headers=None):
    """Send a body; (status, answer as JSON, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = dict(headers or {})
    if content_type:
        headers["Content-Type"] = content_type
    connection.request("POST", PATH, body, headers)
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text else None, response.headers


def ask(service, image: bytes, **fields):
    status, answer, _ = post(service, request(image, **fields))
    assert status == 200, answer
    return answer


def request(image: bytes, **fields) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode(), **fields}).encode()


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A picture that is not in the catalogue."""
    return encoded(draw(1, 5000))


@pytest.fixture(scope="module")
def paths(service) -> list[str]:
    names = (service.folder / "database_info.txt").read_bytes().splitlines()
    return [os.fsdecode(name) for name in names]


# -- answers -------------------------------------------------------------------------------------


def test_the_answer_is_the_contracts(service, photo, paths):
    answer = ask(service, photo, top_k=10, debug=True)
    fields = ["index_database_version", "relevant", "distances", "code", "ms", "rank"]
    assert list(answer)[:6] == fields and answer["rank"] == "distance"
    assert list(answer)[6:8] == ["shops", "products"]
    of_a_longer_code = {"similarities", "match"}
    assert set(answer) - {*fields, "shops", "products"} <= of_a_longer_code
    assert answer["index_database_version"] == "1.0.0"
    assert len(answer["relevant"]) == len(set(answer["relevant"])) == 10
    assert set(answer["relevant"]) <= set(paths)
    assert answer["distances"] == sorted(answer["distances"])
    assert all(type(d) is int and 0 <= d <= 64 for d in answer["distances"])


def test_debug_tells_the_code_and_the_milliseconds_of_each_step(service, photo, model):
    answer = ask(service, photo, debug=True)
    code, _ = split(model.codes(model.pixels(photo)[None]))
    assert answer["code"] == code.tobytes().hex()
    assert list(answer["ms"]) == ["parse", "version", "decode", "model", "search"]
    assert all(0 <= ms < 60_000 for ms in answer["ms"].values()) and answer["ms"]["model"] > 0


def test_distances_come_with_debug_only_and_ten_results_by_default(service, photo):
    answer = ask(service, photo)
    assert list(answer) == ["index_database_version", "relevant"] and len(answer["relevant"]) == 10


def test_a_catalogue_picture_finds_itself_first_or_among_its_equals(service, paths):
    for path in paths[::7]:
        answer = ask(service, (service.folder / path).read_bytes(), top_k=1000, debug=True)
        nearest = [
            p for p, d in zip(answer["relevant"], answer["distances"], strict=True) if d == 0
        ]
        assert path in nearest
        if len(nearest) == 1:
            assert answer["relevant"][0] == path


@pytest.fixture(scope="module")
def rows_by_path(service) -> dict[str, int]:
    index = open_version(service.folder / "index" / "1.0.0")
    return {index.path(row): row for row in range(IMAGES)}


def test_the_service_answers_what_brute_force_over_the_index_finds(
    service, photo, model, rows_by_path
):
    index = open_version(service.folder / "index" / "1.0.0")
    code, _ = split(model.codes(model.pixels(photo)[None]))
    codes = np.stack([index.code(row) for row in range(IMAGES)])
    distances = hamming(code[0], codes)
    answer = ask(service, photo, top_k=1000, debug=True)
    rows = [rows_by_path[path] for path in answer["relevant"]]
    assert sorted(rows) == list(range(IMAGES))
    assert answer["distances"] == distances[rows].tolist() == sorted(distances)


def test_equal_distances_come_by_similarity_then_place_in_the_catalogue(
    service, photo, model, rows_by_path
):
    index = open_version(service.folder / "index" / "1.0.0")
    outputs = model.outputs(model.pixels(photo)[None])[0].astype(np.float64)
    answer = ask(service, photo, top_k=1000, debug=True)
    rows = np.array([rows_by_path[path] for path in answer["relevant"]])
    if index.has_fine_codes:  # by the longer code, where the model gives one
        fine_codes = np.load(service.folder / "index" / "1.0.0" / "fine_codes.npy")
        bits, outputs = np.unpackbits(fine_codes[rows], axis=1), outputs[64:]
    else:
        bits = np.unpackbits(np.stack([index.code(row) for row in rows]), axis=1)
    signs = bits * 2.0 - 1
    similar = signs @ outputs / np.abs(outputs).max()
    tied = np.diff(answer["distances"]) == 0
    rounded = len(outputs) / 1024  # to 1024ths, bit by bit
    assert (np.diff(similar)[tied] <= rounded).all()
    assert (np.diff(similar)[tied] < -rounded).any()
    assert (np.diff(rows)[tied] < 0).any(), "nothing but the order of rows was seen"
    same_code = tied & (np.diff(signs, axis=0) == 0).all(axis=1)
    assert (np.diff(rows)[same_code] > 0).all()


def test_diversity_returns_every_dth_hit(service, photo):
    ranked = ask(service, photo, top_k=1000)["relevant"]
    assert ask(service, photo, top_k=5, diversity=4)["relevant"] == ranked[::4][:5]
    assert ask(service, photo, top_k=1000, diversity=7)["relevant"] == ranked[::7]


def test_more_than_the_index_has_gives_all_rows_whatever_their_names(service, photo, paths):
    assert {os.fsencode(path).rpartition(b"/")[2] for path in paths} >= set(ODD_NAMES)
    assert sorted(ask(service, photo, top_k=1000)["relevant"]) == sorted(paths)


def test_the_version_stands_in_a_header_too(service, photo):
    _, _, headers = post(service, request(photo))
    assert headers["x-index-version"] == "1.0.0"
    assert headers["content-type"] == "application/json"


# -- transports ----------------------------------------------------------------------------------


def test_multipart_as_a_browsers_form_sends_it(service, photo):
    boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
    fields = {"topk": 100, "diversity": 1, "image": base64.b64encode(photo).decode()}
    body = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="data"; filename="blob"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{json.dumps(fields)}\r\n--{boundary}--\r\n"
    ).encode()
    status, answer, _ = post(service, body, f"multipart/form-data; boundary={boundary}")
    assert status == 200, answer
    assert answer["relevant"] == ask(service, photo, top_k=100)["relevant"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream"])
def test_a_raw_body_of_any_content_type_is_read_as_json(service, photo, content_type):
    status, answer, _ = post(service, request(photo, top_k=3), content_type)
    assert status == 200 and len(answer["relevant"]) == 3


@pytest.mark.parametrize(
    "options",
    [
        ["-T", "request.json"],
        ["--data-binary", "@request.json", "-H", "Content-Type: application/json"],
        ["-F", "data=@request.json;type=application/json"],
        ["-F", "data=<request.json"],
    ],
)
def test_curl(service, photo, tmp_path, options):
    (tmp_path / "request.json").write_bytes(request(photo, top_k=4))
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", service.url + PATH, *options],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)["relevant"]) == 4


def test_a_form_by_mistake_is_told_which_header_is_missing(service, photo):
    status, answer, _ = post(service, request(photo), "application/x-www-form-urlencoded")
    assert status == 400 and "Content-Type: application/json" in answer["message"]


def test_url_safe_and_wrapped_base64_and_a_data_url(service, photo):
    wanted = ask(service, photo)
    safe = base64.urlsafe_b64encode(photo).decode()
    for image in (safe, safe.rstrip("="), base64.encodebytes(photo).decode(),
                  "data:image/jpeg;base64," + base64.b64encode(photo).decode()):  # fmt: skip
        status, answer, _ = post(service, json.dumps({"image": image}).encode())
        assert (status, answer) == (200, wanted)


def test_a_photo_of_many_megabytes(service):
    noise = np.random.default_rng(0).integers(0, 256, (2600, 3400, 3), np.uint8)
    large = encoded(Image.fromarray(noise), quality=92)
    assert 8e6 < len(large) < 23e6
    assert len(ask(service, large)["relevant"]) == 10


# -- mistakes ------------------------------------------------------------------------------------

HUGE_GIF = b"GIF89a" + (20_000).to_bytes(2, "little") * 2 + b"\xf0\0\0" + bytes(6) + (
    b",\0\0\0\0" + (20_000).to_bytes(2, "little") * 2 + b"\0\x02\x02\x44\x01\0;"
)  # fmt: skip

BROKEN = {
    "not JSON": (b"{", 400, "not_json"),
    "nested deeply": (b'{"image": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "too_complex"),
    "no object": (b"[1, 2]", 400, "not_an_object"),
    "no image": (b'{"top_k": 3}', 400, "no_image"),
    "not base64": (b'{"image": "photo.jpg!"}', 400, "not_base64"),
    "not an image": (request(b"<html>"), 400, "not_an_image"),
    "truncated": (request(encoded(draw(1, 1))[:3000]), 400, "damaged_image"),
    "too many pixels": (request(HUGE_GIF), 413, "too_many_pixels"),
    "bad top_k": (request(b"x", top_k=0), 400, "bad_top_k"),
    "bad debug": (request(b"x", debug="yes"), 400, "bad_debug"),
    "unknown field": (request(b"x", topK=3), 400, "unknown_field"),
    "newline in a field": (request(b"x", **{"a\r\nx-evil: 1\r\n\r\n": 1}), 400, "unknown_field"),
    "empty body": (b"", 400, "no_body"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_answered_with_a_code_a_type_and_a_sentence(service, name):
    body, status, kind = BROKEN[name]
    got, answer, headers = post(service, body)
    assert (got, answer["code"], answer["type"]) == (status, status, kind), answer
    assert list(answer) == ["code", "type", "message"] and len(answer["message"]) > 20
    assert "x-evil" not in headers


def test_multipart_with_a_part_of_an_unknown_name(service):
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b--\r\n'
    status, answer, _ = post(service, body, "multipart/form-data; boundary=b")
    assert (status, answer["type"]) == (400, "unknown_field")
    assert '"file"' in answer["message"] and "The fields are image" in answer["message"]


def test_a_body_over_the_limit_is_413(service):
    status, _, _ = post(service, b'{"image": "' + b"A" * 33_600_000 + b'"}')
    assert status == 413


def test_a_callers_describe_header_takes_nobodys_answer(service, photo):
    def one(i: int):
        headers = {"describe": "True"} if i % 2 else {}
        return post(service, request(photo), headers=headers)

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(one, range(24)))
    assert all(status == 200 for status, _, _ in answers)
    assert all("relevant" in answers[i][1] for i in range(0, 24, 2))


def test_200_requests_of_8_clients_one_in_five_broken(service, photo):
    workers = service.workers()
    broken = list(BROKEN.values())

    def one(i: int):
        if i % 5 == 0:
            body, status, kind = broken[i // 5 % len(broken)]
            got, answer, _ = post(service, body)
            return (got, answer["type"]) == (status, kind)
        status, answer, _ = post(service, request(photo, top_k=1 + i % 20))
        return (
            status == 200
            and answer["index_database_version"] == "1.0.0"
            and len(answer["relevant"]) == 1 + i % 20
        )

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(one, range(200)))
    assert len(workers) == 2 and service.workers() == workers


# -- what operators see --------------------------------------------------------------------------


def management(service, path: str):
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(service.management))
    connection.request("GET", path)
    return json.load(connection.getresponse())


def test_describe_says_version_rows_model_and_limits(service, model):
    described = management(service, "/models/image-retrieval-v1.0?customized=true")
    told = described[0]["customizedMetadata"]
    told = json.loads(told) if isinstance(told, str) else told
    assert told["index_database_version"] == "1.0.0" and told["rows"] == IMAGES
    assert told["model"]["sha256"] == model.sidecar.sha256
    assert told["limits"] == {
        "top_k": {"default": 10, "lowest": 1, "highest": 1000},
        "diversity": {"default": 1, "lowest": 1, "highest": 100},
        "offset": {"default": 0, "lowest": 0, "highest": 10_000},
        "max_distance": {"default": 64, "lowest": 0, "highest": 64},
        "deepest_hit": 100_000,
        "shops": 1000,
        "box_side": 0.02,
        "max_pixels": 220_000_000,
    }
    assert told["search"] == {}  # exact


def test_describe_says_how_queries_were_proved(service, photo):
    def answered() -> int:
        described = management(service, "/models/image-retrieval-v1.0?customized=true")
        told = described[0]["customizedMetadata"]
        return sum((json.loads(told) if isinstance(told, str) else told)["ways"].values())

    # One of two workers tells; it may be the one that has not answered yet.
    wait_for(lambda: ask(service, photo) and answered() >= 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such address")
def test_management_is_not_on_the_network(service):
    """TorchServe opens its gRPC ports whatever it is told: they are where nobody gets to."""
    serve = psutil.Process(service.process.pid)
    listening = [
        connection.laddr
        for process in [serve, *serve.children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    broadcast = "255.255.255.255"
    grpc = [address.port for address in listening if address.ip.endswith(broadcast)]
    assert {address.port for address in listening} - {*grpc} == {service.port, service.port + 5}
    assert len(grpc) == 2
    own = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    for host in (broadcast, f"::ffff:{broadcast}", "0.0.0.0", "localhost", *own):
        for port in grpc:
            with pytest.raises(OSError):
                socket.create_connection((host, port), timeout=5)


OWN_LABELS = ("Outcome", "Step", "le", "IndexVersion")


def metrics(service) -> dict[tuple[str, ...], float]:
    """What Prometheus reads: (name, value of an own label, …) -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port + 5}/metrics") as response:
        text = response.read().decode()
    values = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        pairs = re.findall(r'(\w+)="([^"]*)"', labels)
        values[name, *(own for label, own in pairs if label in OWN_LABELS)] = float(value)
    return values


def test_metrics_count_outcomes_steps_and_first_hits(service, photo):
    before = metrics(service)
    distances = [ask(service, photo, debug=True)["distances"][0] for _ in range(3)]
    post(service, request(photo, top_k=0))

    def rose(name: str, *labels: str) -> float:
        return metrics(service).get((name, *labels), 0) - before.get((name, *labels), 0)

    # Workers tell once a second what they counted, of earlier requests too.
    wait_for(lambda: rose("image_retrieval_requests_total", "answered") >= 3)
    wait_for(lambda: rose("image_retrieval_requests_total", "bad_top_k") >= 1)
    wait_for(lambda: rose("image_retrieval_first_hit_bits_count") >= 3)
    wait_for(lambda: rose("image_retrieval_first_hit_bits_sum") >= sum(distances))
    for step, count in (("decode", 3), ("model", 3), ("search", 3), ("total", 4)):
        wait_for(lambda step=step, n=count: rose("image_retrieval_step_seconds_count", step) >= n)
        wait_for(lambda step=step: rose("image_retrieval_step_seconds_sum", step) > 0)

    def all_in_the_last_bucket() -> bool:
        now = metrics(service)
        names = [name for name in now if name[0] == "image_retrieval_step_seconds_count"]
        return len(names) >= 6 and all(
            now.get(("image_retrieval_step_seconds_bucket", step, "+Inf")) == now[name, step]
            for name, step in names
        )

    wait_for(all_in_the_last_bucket)
    assert metrics(service)["image_retrieval_index_rows",] == IMAGES


def test_the_running_service_has_the_metrics_that_the_dashboard_shows(service, photo):
    ask(service, photo)
    shown = set.union(*map(metrics_in, expressions()))
    wanted = {name for name in shown if not name.startswith("efiss_")}  # of the admin service
    post(service, b"{")
    # A 5xx is not to be had for the asking; TorchServe counts none until there is one.
    wanted -= {"Requests5XX"}
    wait_for(lambda: wanted <= {name for name, *_ in metrics(service)})


def latest_version(service) -> str:
    """The version that a worker took up last, as the dashboard finds it."""
    taken_up = {
        labels[0]: value
        for (name, *labels), value in metrics(service).items()
        if name == "image_retrieval_index_live_since_seconds"
    }
    return max(taken_up, key=taken_up.get)


def logged(service, request_id: str) -> list[dict]:
    """The lines that the request left in the log, as JSON."""
    lines = service.log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if request_id in line and line.startswith("{")]


def test_a_request_leaves_a_line_with_the_id_of_its_answer(service, photo):
    body = request(photo, top_k=3, debug=True, offset=1)
    _, answer, headers = post(service, body, headers={"X-Request-Id": "basket-7.a_B"})
    (request_id,) = headers.get_all("x-request-id")
    wait_for(lambda: logged(service, request_id))
    (line,) = logged(service, request_id)
    ms, time = line.pop("ms"), line.pop("time")
    assert line == {
        "request_id": request_id,
        "caller_id": "basket-7.a_B",
        "status": 200,
        "outcome": "answered",
        "index_version": "1.0.0",
        "query": "image",
        "top_k": 3,
        "narrowed": True,
        "results": 3,
        "first_distance": answer["distances"][0],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", time)
    assert {name: ms[name] for name in answer["ms"]} == answer["ms"] and ms["total"] > ms["model"]
    assert base64.b64encode(photo).decode()[:40] not in service.log.read_text()


@pytest.mark.parametrize(
    "caller_id", ["two words", "x" * 65, "caf\xe9", '{"a": 1}', "", "a\tb", "<script>"]
)
def test_an_odd_id_of_a_caller_is_left_out(service, caller_id):
    workers = service.workers()
    body = b'{"code": "no code"}'
    status, _, headers = post(service, body, headers={"x-request-ID": caller_id})
    assert status == 400
    (request_id,) = headers.get_all("x-request-id")
    assert request_id != caller_id
    wait_for(lambda: logged(service, request_id))
    (line,) = logged(service, request_id)
    assert (line["caller_id"], line["status"], line["outcome"]) == (None, 400, "bad_code")
    assert line["query"] is None and list(line["ms"]) == ["parse", "total"]
    assert service.workers() == workers


def test_every_worker_answers_from_a_version_when_its_activation_returns(service, photo):
    """Three clients ask all the time meanwhile: no request fails, and there and back again."""
    stop, seen = threading.Event(), []

    def ask_on() -> None:
        while not stop.is_set():
            status, answer, headers = post(service, request(photo, debug=True))
            seen.append((status, answer["index_database_version"], headers["x-index-version"]))

    with ThreadPoolExecutor(3) as clients:
        asking = [clients.submit(ask_on) for _ in range(3)]
        try:
            for words, version in ((("activate", "1.1.0"), "1.1.0"), (("rollback",), "1.0.0")):
                done = efiss(*words, folder=service.folder)
                assert done.returncode == 0, done.stderr
                assert "\n  2 workers answer from it\n" in done.stdout
                for _ in range(8):
                    assert ask(service, photo)["index_database_version"] == version
                wait_for(lambda version=version: latest_version(service) == version)
        finally:
            stop.set()
            Index(service.folder / "index").activate("1.0.0")
        for one in asking:
            one.result()
    assert {status for status, _, _ in seen} == {200}
    assert {version for _, version, _ in seen} == {"1.0.0", "1.1.0"}
    assert all(version == header for _, version, header in seen)


def test_efiss_search_prints_a_table_and_writes_a_sheet(service, photo, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo)
    done = efiss("search", str(tmp_path / "photo.jpg"), "--top_k", "7", "--url", service.url,
                 "--sheet", str(tmp_path / "sheet.png"), folder=service.folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    columns = [one for one in lines[1].split() if one != "similarity"]  # of rank fine alone
    assert lines[0] == "index version 1.0.0" and columns == ["rank", "distance", "path"]
    assert [line.split()[0] for line in lines[2:9]] == [str(n) for n in range(1, 8)]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000 and len(sheet.getcolors(1 << 24)) > 500
        height_of_one = sheet.height

    (tmp_path / "other.jpg").write_bytes(encoded(draw(1, 1)))
    done = efiss("search", str(tmp_path / "photo.jpg"), str(tmp_path / "other.jpg"), "--top_k", "7",
                 "--url", service.url, "--sheet", str(tmp_path / "sheet.png"),
                 folder=service.folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("index version 1.0.0") == 2
    asked = [line for line in done.stdout.splitlines() if line.startswith("query ")]
    assert [line.split("/")[-1] for line in asked] == ["photo.jpg", "other.jpg"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 1.9 * height_of_one


def test_efiss_search_says_what_is_wrong(service, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    done = efiss("search", str(tmp_path / "notes.txt"), "--url", service.url, folder=tmp_path)
    assert done.returncode == 1 and "not a picture" in done.stderr
    (tmp_path / "photo.jpg").write_bytes(encoded(draw(1, 1)))
    done = efiss("search", "photo.jpg", "--url", "http://127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 1 and "is `efiss serve` running?" in done.stderr
