"""`efiss evaluate --index` on the running service and its drawn catalogue."""

import json

from tests.running import IMAGES, ODD_NAMES, efiss


def test_a_live_catalogue_is_measured_through_the_service(service, tmp_path):
    """Asks for every picture of a catalogue, in a process that loads torch."""
    done = efiss(
        "evaluate", "--index", service.url, "--data", "data/labels.csv", "--k", "5",
        "--label", "article_type", "--label", "colour", "--out", str(tmp_path),
        folder=service.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "figures.json").read_text())
    told, renamed = result["service"], 2 * len(ODD_NAMES)
    # The pictures that were renamed after labels.csv was written are not there to ask for, and
    # where they are results they have no label.
    assert told["answered"] == IMAGES - renamed and told["not_answered"]["queries"] == renamed
    assert told["own_picture_at_distance_0"] == 1
    assert 1 <= told["pictures_without_label"] <= renamed < told["results_without_label"]
    assert len(told["index_versions"]) == 1 and told["latency_ms"]["median"] > 0
    for label in ("article_type", "colour"):
        figures = result["retrieval"][f"labels: {label}"]["codes"]
        assert 0.1 < figures["micro"]["precision_at_k"] < 1
        assert figures["per_class"]
    assert "labels: colour" in done.stdout and "results passed over" in done.stdout
    assert (tmp_path / "per_class.png").read_bytes().startswith(b"\x89PNG")
