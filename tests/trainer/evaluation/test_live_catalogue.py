"""Measuring a catalogue through a service, here one that answers what is written down."""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from efiss_client import ServiceError
from trainer.data import DataError, Source
from trainer.evaluation.figures import Asked, LiveEvaluation
from trainer.evaluation.live_catalogue import measure_service, read_catalogue
from trainer.evaluation.report import report
from trainer.layouts import source_of

PATHS = [f"shop/{name}.jpg" for name in "abcdef"]
KINDS = ["hat", "hat", "hat", "bag", "bag", "belt"]  # of a to f; only f is a belt
RANKINGS = {
    "a": "abcdef",
    "b": "bxadcef",  # x has no label
    "c": "cdeab",
    "d": "dabcef",
    "e": "edabc",
    "f": "fabcd",
}


@pytest.fixture
def catalogue(tmp_path):
    """labels.csv and the files it names; a file holds its own name."""
    lines = ["path,kind,colour"]
    for path, kind in zip(PATHS, KINDS, strict=True):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path[5])
        lines.append(f"{path},{kind},red")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


class Answers:
    """A service on a free port.  `top_ks`: what it was asked for, by query."""

    def __init__(self):
        self.rankings, self.folder, self.versions = dict(RANKINGS), "", ["1.0.0"]
        self.top_ks, self.refused = {}, {}

    def answer(self, photo: bytes, fields: dict[str, str]) -> tuple[int, dict]:
        name, top_k = photo.decode(), int(fields["top_k"])
        self.top_ks.setdefault(name, []).append(top_k)
        if name in self.refused:
            return 400, {"code": 400, "message": self.refused[name]}
        shown = self.rankings[name][:top_k]
        paths = [f"{self.folder}shop/{one}.jpg" for one in shown]
        version = self.versions[len(self.top_ks) % len(self.versions)]
        distances = [0 if one == name else 7 for one in shown]
        return 200, {"index_database_version": version, "relevant": paths, "distances": distances,
                     "code": "0" * 16, "ms": {}}  # fmt: skip


@pytest.fixture
def service():
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            photo = self.rfile.read(int(self.headers["Content-Length"]))
            fields = urllib.parse.parse_qsl(self.path.partition("?")[2])
            status, answer = answers.answer(photo, dict(fields))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answers.url = f"http://127.0.0.1:{server.server_port}"
    yield answers
    server.shutdown()
    server.server_close()


def measured(service, catalogue, **options) -> LiveEvaluation:
    table = catalogue / "labels.csv"
    return measure_service(service.url, read_catalogue(table, source_of(table)), **options)


def test_figures_by_hand(service, catalogue):
    result = measured(service, catalogue, k=2)
    figures = result.retrieval["labels: kind"]["codes"]
    # f is the only belt: nothing could be right, so it is no query of this label.
    assert figures.queries == 5 and figures.gallery == 6
    # Without themselves and without x: a: b c, b: a d, c: d e, d: a b, e: d a.
    assert figures.per_class["hat"] == {
        "queries": 3, "relevant": 3,
        "precision_at_k": pytest.approx((1 + 1 / 2 + 0) / 3, abs=1e-6),
        "recall_at_k": pytest.approx((2 / 2 + 1 / 2 + 0) / 3, abs=1e-6),
        "map_at_k": pytest.approx((1 + 1 / 2 + 0) / 3, abs=1e-6),
    }  # fmt: skip
    assert figures.per_class["bag"]["precision_at_k"] == (0 + 1 / 2) / 2
    assert figures.micro["precision_at_k"] == (1 + 1 / 2 + 0 + 0 + 1 / 2) / 5
    assert figures.macro["precision_at_k"] == pytest.approx((0.5 + 0.25) / 2)
    assert result.retrieval["labels: colour"]["codes"].micro["precision_at_k"] == 1
    assert result.first_row == "labels: kind"
    together = result.retrieval["labels: kind and colour"]["codes"]
    assert together.micro == figures.micro and "hat / red" in together.per_class
    told = result.service
    assert told.own_picture_at_distance_0 == 1 and told.answered == 6
    assert (told.results_without_label, told.pictures_without_label) == (1, 1)
    assert told.short_of_k == 0 and told.not_answered.queries == 0
    text = report(result)
    assert "index version 1.0.0" in text and "'shop/x.jpg'" in text and "hat" in text


def test_more_is_asked_for_only_where_results_have_no_label(service, catalogue):
    measured(service, catalogue, k=2)
    assert service.top_ks.pop("b") == [3, 1000]
    assert set(map(tuple, service.top_ks.values())) == {(3,)}


def test_copies_are_passed_over_like_the_picture_itself(service, catalogue):
    table = catalogue / "labels.csv"
    rows = table.read_text().splitlines()
    groups = ["group", "1", "1", "2", "3", "4", "5"]  # a and b are copies
    table.write_text("\n".join(f"{row},{group}" for row, group in zip(rows, groups, strict=True)))
    result = measured(service, catalogue, k=2)
    figures = result.retrieval["labels: kind"]["codes"].per_class["hat"]
    # Without a, b and x: a: c d, b: d c; c as before: d e.  One other hat for a and b, two for c.
    assert figures["precision_at_k"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3, abs=1e-6)
    assert figures["recall_at_k"] == pytest.approx((1 + 1 + 0) / 3, abs=1e-6)
    assert service.top_ks["a"] == [4] and service.top_ks["c"] == [3]


@pytest.mark.parametrize("spelling", ["below the folder", "from the root", "with a dot"])
def test_the_catalogue_may_spell_paths_from_elsewhere(service, catalogue, spelling, monkeypatch):
    monkeypatch.chdir(catalogue.parent)
    service.folder = {
        "below the folder": f"{catalogue.name}/",
        "from the root": f"{catalogue}/",
        "with a dot": f"./{catalogue.name}/",
    }[spelling]
    result = measured(service, Path(catalogue.name), k=2)
    assert result.service.own_picture_at_distance_0 == 1


def test_files_may_lie_below_the_current_folder(service, catalogue, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(catalogue)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (catalogue / "labels.csv").rename(elsewhere / "labels.csv")
    assert measured(service, elsewhere, k=2).service.answered == 6


def test_a_folder_of_class_folders(service, catalogue):
    (catalogue / "labels.csv").unlink()
    folder = read_catalogue(catalogue, source_of(catalogue))
    result = measure_service(service.url, folder, k=2)
    figures = result.retrieval[f"{catalogue.name}: class"]["codes"]
    assert figures.micro["precision_at_k"] == 1  # all are of the class shop


def test_the_sample_is_the_same_every_time(service, catalogue):
    first = measured(service, catalogue, k=2, queries=3)
    asked = set(service.top_ks)
    service.top_ks.clear()
    again = measured(service, catalogue, k=2, queries=3)
    assert first.data == {"labels": Asked(pictures=6, asked=3)}
    assert set(service.top_ks) == asked and len(asked) == 3
    assert first.retrieval == again.retrieval


def test_a_version_that_changes_meanwhile_is_said(service, catalogue):
    service.versions = ["1.0.0", "1.1.0"]
    result = measured(service, catalogue, k=2)
    assert result.service.index_versions.keys() == {"1.0.0", "1.1.0"}
    assert "the index version changed while this was measured" in report(result)


def test_queries_that_are_refused_or_cannot_be_read_are_counted(service, catalogue):
    service.refused["a"] = "the bytes are not a picture"
    (catalogue / PATHS[1]).unlink()
    result = measured(service, catalogue, k=2)
    assert result.service.answered == 4
    left_out = result.service.not_answered
    assert left_out.queries == 2 and left_out.first_reason.startswith("shop/")
    assert "2 not answered; the first: shop/" in report(result)


def test_fewer_results_than_k_are_said_and_count_as_wrong(service, catalogue):
    service.rankings["a"] = "ab"
    result = measured(service, catalogue, k=4)
    assert result.service.short_of_k == 1
    assert "1 queries have fewer than 4 labelled results" in report(result)
    hats = result.retrieval["labels: kind"]["codes"].per_class["hat"]
    # a: b and nothing else; b: a d c e; c: d e a b.
    assert hats["precision_at_k"] == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3, abs=1e-6)


def test_what_cannot_be_measured_is_said(service, catalogue, tmp_path):
    service.folder = "other/"
    with pytest.raises(DataError, match=r"'other/shop/\w\.jpg', the data 'shop/a.jpg'"):
        measured(service, catalogue)
    service.folder = ""
    service.refused = dict.fromkeys(RANKINGS, "no")
    with pytest.raises(DataError, match=r"none of 6 queries was answered; .*: no"):
        measured(service, catalogue)
    service.refused = {}
    (catalogue / "labels.csv").write_text("path,product\nshop/a.jpg,1\nshop/b.jpg,2\n")
    with pytest.raises(DataError, match="no two labelled pictures share a value"):
        measured(service, catalogue)
    with pytest.raises(DataError, match="parquet files do not hold"):
        read_catalogue(tmp_path / "x.parquet", Source("x", "x.parquet"))


def test_no_service_and_another_one_are_said(service, catalogue):
    service.answer = lambda *_: (200, {"hello": "world"})
    with pytest.raises(ServiceError, match="not as the image retrieval does"):
        measured(service, catalogue)
    service.url = "http://127.0.0.1:9"
    with pytest.raises(ServiceError, match="does not answer"):
        measured(service, catalogue)
