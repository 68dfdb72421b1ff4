"""Batches as TorchServe hands them over: kinds of query and versions that meet in one."""

import base64
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handlers.image_retrieval import ImageRetrievalHandler
from hashing.model import Model, Sidecar
from searcher import live
from searcher.index import Index
from searcher.publish import Contents, publish
from tests.handlers.sending import sent
from tests.pictures import encoded
from tests.running import ROOT


@pytest.fixture
def root(publish_version, tiny_models, tmp_path) -> Path:
    """1.0.0 live, 1.1.0 of the same model, 2.0.0 of another one, 3.0.0 without a model."""
    root = tmp_path / "index"
    rng = np.random.default_rng(0)
    for version, model in [("1.0.0", 0), ("1.1.0", 0), ("2.0.0", 1)]:
        codes = rng.integers(0, 256, (20, 8), np.uint8)
        publish_version(root, version, codes=codes, model=tiny_models[model])
    codes, paths = rng.integers(0, 256, (20, 8), np.uint8), list("abcdefghijklmnopqrst")
    contents = Contents(codes, paths, [], None, "", "", {})
    with Index(root).writing():
        publish(Index(root), "3.0.0", contents)
    Index(root).activate("1.0.0")
    return root


def started(root: Path, monkeypatch) -> tuple[ImageRetrievalHandler, Context]:
    """A handler as a worker has it, following `root`."""
    metrics = MetricsCacheYamlImpl(str(ROOT / "handlers" / "metrics.yaml"))
    metrics.initialize_cache()
    context = Context("image-retrieval-v1.0", str(root), None, 8, None, "", metrics=metrics)
    monkeypatch.setenv("EFISS_INDEX", str(root))
    monkeypatch.setattr("searcher.live.OPENING_SECONDS", 60)
    handler = ImageRetrievalHandler()
    handler.initialize(context)
    return handler, context


def handle(handler, context, queries: list[dict]) -> list[dict]:
    """Answers of one batch; the versions in the headers are those of the answers."""
    context.request_processor = [RequestProcessor({}) for _ in queries]
    context.request_ids = {i: f"id-{i}" for i in range(len(queries))}
    answers = handler.handle([{"body": json.dumps(query).encode()} for query in queries], context)
    for i, answer in enumerate(answers):
        status = answer["code"] if "type" in answer else 200
        assert context.get_response_status(i)[0] == status
        told = answer.get("index_database_version", "1.0.0")
        assert context.get_response_headers(i)["x-index-version"] == told
    return answers


def picture(seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return base64.b64encode(encoded(Image.fromarray(pixels), "PNG")).decode()


MIXED = [
    {"image": picture(1), "debug": True},
    {"code": "00" * 8, "debug": True},
    {"image": picture(2), "debug": True, "index_database_version": "1.1.0"},
    {"image": picture(1), "debug": True, "index_database_version": "2.0.0"},
    {"like": "c", "debug": True, "index_database_version": "3.0.0"},
    {"image": picture(3), "debug": True, "index_database_version": "3.0.0"},
    {"like": "c"},
    {"image": picture(4), "debug": True, "index_database_version": "1.0.0"},
    {"image": "AAAA"},
    {"code": "0", "index_database_version": "1.1.0"},
    {"code": "00" * 8, "index_database_version": "9.9.9"},
]


def without_ms(answers: list[dict]) -> list[dict]:
    return [{name: value for name, value in answer.items() if name != "ms"} for answer in answers]


def test_a_mixed_batch_answers_each_as_if_it_came_alone(root, monkeypatch):
    handler, context = started(root, monkeypatch)
    together = handle(handler, context, MIXED)
    alone = [handle(handler, context, [query])[0] for query in MIXED]
    assert without_ms(together) == without_ms(alone)
    assert [answer.get("type") for answer in together] == [
        None, None, None, None, None, "no_model", "unknown_like", None, "not_an_image", "bad_code",
        "unknown_version",
    ]  # fmt: skip
    assert [answer["index_database_version"] for answer in together if "type" not in answer] == [
        "1.0.0", "1.0.0", "1.1.0", "2.0.0", "3.0.0", "1.0.0"
    ]  # fmt: skip
    assert together[0]["code"] != together[3]["code"]  # the model of each version's own


def test_a_model_looks_once_at_all_pictures_of_a_batch(root, monkeypatch):
    handler, context = started(root, monkeypatch)
    looked, really = [], Model.outputs

    def outputs(model, batch):
        looked.append((model.sidecar.name, len(batch)))
        return really(model, batch)

    # Of two pinned versions, so that both stay open: a model that is loaded is tried once.
    batch = [query for query in MIXED if query.get("index_database_version") != "3.0.0"]
    handle(handler, context, batch)
    monkeypatch.setattr(Model, "outputs", outputs)
    handle(handler, context, batch)
    assert looked == [("tiny-1", 3), ("tiny-2", 1)]


class Picky(torch.nn.Module):
    """Fails on a picture that is all white."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8 * 8 * 3, 64)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        assert float(batch.min()) < 0.9, "this model does not look at white"
        return self.layer(batch.flatten(1))


def test_a_model_that_fails_leaves_the_other_requests_their_answers(
    root, publish_version, tmp_path, monkeypatch
):
    monkeypatch.setenv("EFISS_ENGINE", "torchscript")  # OpenVINO passes over `raise`
    path = tmp_path / "picky.pt"
    torch.jit.script(Picky()).save(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sidecar = Sidecar("picky", digest, 64, 8, "bilinear", (0.0,) * 3, (1.0,) * 3)
    path.with_suffix(".json").write_text(sidecar.to_json())
    publish_version(root, "4.0.0", model=path)
    Index(root).activate("4.0.0")
    handler, context = started(root, monkeypatch)
    white = base64.b64encode(encoded(Image.new("RGB", (8, 8), "white"), "PNG")).decode()
    context.request_processor = [RequestProcessor({}) for _ in range(3)]
    queries = [{"code": "00" * 8}, {"image": white},
               {"image": picture(1), "index_database_version": "1.0.0"}]  # fmt: skip
    answers = handler.handle([sent(query) for query in queries], context)
    assert [answer.get("type") for answer in answers] == [None, "internal_error", None]
    assert [len(answers[i]["relevant"]) for i in (0, 2)] == [3, 10]


def test_a_damaged_version_is_409_and_its_files_are_not_named(root, monkeypatch, caplog):
    handler, context = started(root, monkeypatch)
    (root / "1.1.0" / "index.bin").write_bytes(b"")
    (answer,) = handle(handler, context, [{"code": "00" * 8, "index_database_version": "1.1.0"}])
    assert (answer["code"], answer["type"]) == (409, "damaged_version")
    assert "version 1.1.0 is damaged" in answer["message"] and str(root) not in answer["message"]
    assert "index.bin has 0 bytes" in caplog.text


def test_a_version_that_opens_slowly_is_503(root, monkeypatch):
    handler, context = started(root, monkeypatch)
    go_on, really = threading.Event(), live.open_version
    monkeypatch.setattr(live, "open_version", lambda folder: go_on.wait(60) and really(folder))
    monkeypatch.setattr(live, "OPENING_SECONDS", 0.01)
    queries = [{"code": "00" * 8}, {"code": "00" * 8, "index_database_version": "1.1.0"}]
    one, other = handle(handler, context, queries)
    go_on.set()
    assert one["index_database_version"] == "1.0.0"
    assert (other["code"], other["type"]) == (503, "version_opening")


def lines(caplog) -> list[dict]:
    """What was told of requests in the log."""
    return [json.loads(message) for message in caplog.messages if message.startswith("{")]


def test_each_request_of_a_batch_leaves_its_own_line(root, monkeypatch, caplog):
    handler, context = started(root, monkeypatch)
    answers = handle(handler, context, MIXED)
    told = lines(caplog)
    assert [line["request_id"] for line in told] == [f"id-{i}" for i in range(len(MIXED))]
    for line, answer in zip(told, answers, strict=True):
        assert line["outcome"] == answer.get("type", "answered")
        assert line["status"] == answer.get("code" if "type" in answer else "", 200)
        assert line["results"] == (len(answer["relevant"]) if "relevant" in answer else None)
        assert line["first_distance"] == answer.get("distances", [line["first_distance"]])[0]
    assert [line["query"] for line in told] == [
        "image", "code", "image", "image", "like", "image", "like", "image", "image", None, "code"
    ]  # fmt: skip
    assert [line["index_version"] for line in told[:5]] == [
        "1.0.0", "1.0.0", "1.1.0", "2.0.0", "3.0.0"
    ]  # fmt: skip
    assert list(told[0]["ms"]) == ["parse", "version", "decode", "model", "search", "total"]
    assert list(told[8]["ms"]) == ["parse", "version", "decode", "total"]  # until it failed
    assert not any(picture(seed) in caplog.text for seed in range(5))


NARROWED = [
    ({}, False), ({"group_by": "product"}, False), ({"exclude_shops": []}, False),
    ({"offset": 1}, True), ({"max_distance": 9}, True), ({"shops": ["abc.com"]}, True),
    ({"exclude_shops": ["abc.com"]}, True),
]  # fmt: skip


def test_a_line_says_whether_the_nearest_may_be_kept_out(root, monkeypatch, caplog):
    handler, context = started(root, monkeypatch)
    handle(handler, context, [{"code": "00" * 8, **fields} for fields, _ in NARROWED])
    assert [line["narrowed"] for line in lines(caplog)] == [narrowed for _, narrowed in NARROWED]


def test_without_an_access_log_requests_leave_no_line(root, monkeypatch, caplog):
    monkeypatch.setenv("EFISS_ACCESS_LOG", "off")
    handle(*started(root, monkeypatch), MIXED)
    assert not lines(caplog)


@pytest.mark.parametrize("default", ["", "distance", "fine"])
def test_the_service_s_rank_is_for_requests_that_name_none(
    publish_version, long_model, tmp_path, monkeypatch, default
):
    rng = np.random.default_rng(0)
    publish_version(
        tmp_path,
        codes=rng.integers(0, 256, (20, 8), np.uint8),
        fine_codes=rng.integers(0, 256, (20, 32), np.uint8),
        model=long_model,
    )
    Index(tmp_path).activate("1.0.0")
    monkeypatch.setenv("EFISS_RANK", default)
    handler, context = started(tmp_path, monkeypatch)
    ask = {"image": picture(1), "debug": True}
    queries = [ask, ask | {"rank": "distance"}, ask | {"rank": "fine"}]
    unnamed, distance, fine = without_ms(handle(handler, context, queries))
    assert (distance["rank"], fine["rank"]) == ("distance", "fine")
    assert distance["relevant"] != fine["relevant"]
    assert unnamed == (fine if default == "fine" else distance)


def test_describe_tells_of_the_live_version(root, monkeypatch):
    handler, context = started(root, monkeypatch)
    handle(handler, context, MIXED)
    told = handler.describe_handle()
    # Of the batch, two pictures and a code were searched in the live version.
    assert told["index_database_version"] == "1.0.0" and told["ways"] == {"scan": 3}
    assert told["search"] == {}
