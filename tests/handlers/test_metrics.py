"""What is counted, and the dashboard that shows it."""

import collections
import json
import re
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handlers.metrics import FIRST_HIT_BITS, STEP_SECONDS, Metrics
from handlers.record import Record
from tests.dashboard import ADMIN_METRICS, DASHBOARD, expressions, labels_in, metrics_in
from tests.running import ROOT


@pytest.fixture(scope="module")
def declared() -> dict[str, set[str]]:
    """The metrics of handlers/metrics.yaml with their labels."""
    told = yaml.safe_load((ROOT / "handlers" / "metrics.yaml").read_text(encoding="utf-8"))
    return {
        one["name"]: {*one["dimensions"], "Hostname"}
        for part in ("ts_metrics", "model_metrics")
        for all_of_kind in told[part].values()
        for one in all_of_kind
    }


# -- the dashboard -------------------------------------------------------------------------------


def test_every_metric_and_label_of_the_dashboard_exists(declared):
    known = declared | ADMIN_METRICS
    assert len(expressions()) > 15
    for expression in expressions():
        names = metrics_in(expression)
        assert names and names <= known.keys(), expression
        assert labels_in(expression) <= set.union(*(known[name] for name in names)), expression


def test_the_dashboard_shows_every_metric_of_the_service_and_of_the_admin_service(declared):
    shown = set.union(*map(metrics_in, expressions()))
    own = {name for name in declared if name.startswith("image_retrieval_")}
    assert own | ADMIN_METRICS.keys() <= shown


def test_the_dashboard_takes_whichever_prometheus_there_is():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(one["datasource"]["uid"] == "${datasource}" for one in panel["targets"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_the_names_in_an_expression_are_found():
    expression = 'sum by (le, a) (rate(b_sum{c="d e"}[5m])) / max(f_count) or g * on (h) i'
    assert metrics_in(expression) == {"b_sum", "f_count", "g", "i"}
    assert labels_in(expression) == {"le", "a", "c", "h"}


# -- the counters --------------------------------------------------------------------------------


def metrics_of(configuration=ROOT / "handlers" / "metrics.yaml") -> Metrics:
    cache = MetricsCacheYamlImpl(str(configuration))
    cache.initialize_cache()
    return Metrics(types.SimpleNamespace(model_name="m", metrics=cache))


def metrics_and_lines(caplog, *configuration):
    """Metrics of a worker, and what it printed of them: a function to {(name, label, …): sum}."""
    caplog.set_level("INFO", "ts.metrics")
    metrics = metrics_of(*configuration)

    def printed() -> dict[tuple[str, ...], float]:
        metrics.tell()
        sums = collections.Counter()
        for line in caplog.messages:
            # As TorchServe takes a line apart.
            found = re.fullmatch(
                r"\[METRICS\]([\w\s]+)\.[\w\s]+:([0-9\-,.e]+)\|#([^|]*)\|#type:\w+\|#hostname:.*",
                line,
            )
            labels = [pair.split(":") for pair in found[3].split(",")]
            assert labels[:2] == [["ModelName", "m"], ["Level", "Model"]]
            sums[found[1], *(value for _, value in labels[2:])] += float(found[2])
        caplog.clear()
        return sums

    return metrics, printed


def record(**fields) -> Record:
    values = dict(time="", request_id="", caller_id=None, status=200, outcome="answered",
                  index_version="1.0.0", query="image", top_k=10, narrowed=False, results=10,
                  first_distance=3, ms={"total": 1.0})  # fmt: skip
    return Record(**(values | fields))


def test_requests_steps_and_distances_are_counted_and_told_once(caplog):
    metrics, printed = metrics_and_lines(caplog)
    metrics.count([record(ms={"decode": 2.0, "total": 40.0}), record(first_distance=64)], 0.05)
    metrics.count([record(outcome="bad_top_k", query=None, first_distance=None)], 0.01)
    sums = printed()
    assert sums["image_retrieval_requests_total", "answered"] == 2
    assert sums["image_retrieval_requests_total", "bad_top_k"] == 1
    assert sums["image_retrieval_busy_seconds_total",] == pytest.approx(0.06)
    assert sums["image_retrieval_step_seconds_sum", "decode"] == pytest.approx(0.002)
    assert sums["image_retrieval_step_seconds_sum", "total"] == pytest.approx(0.042)
    assert sums["image_retrieval_step_seconds_count", "total"] == 3
    assert sums["image_retrieval_first_hit_bits_sum",] == 67
    assert sums["image_retrieval_first_hit_bits_bucket", "32"] == 1
    assert sums["image_retrieval_first_hit_bits_bucket", "+Inf"] == 2
    assert not printed()


@pytest.mark.parametrize(
    "fields", [{"query": "code"}, {"query": "like"}, {"narrowed": True}, {"first_distance": None}]
)
def test_only_what_says_something_of_the_catalogue_counts_as_a_first_hit(caplog, fields):
    metrics, printed = metrics_and_lines(caplog)
    metrics.count([record(**fields)], 0.01)
    assert not [name for name, *_ in printed() if "first_hit" in name]


@given(
    bits=st.lists(st.integers(0, 64), min_size=1),
    ms=st.lists(st.floats(0, 10_000) | st.sampled_from([1.0, 2.0, 5000.0]), min_size=1),
)
def test_a_bucket_holds_all_up_to_its_bound(bits, ms):
    metrics, told = metrics_of(), {}
    metrics._tell = lambda name, value, *labels: told.update({(name, *labels): value})
    metrics.count([record(first_distance=one, ms={}) for one in bits], 0.0)
    metrics.count([record(query="code", ms={"model": one}) for one in ms], 0.0)
    metrics.tell()
    for bound in FIRST_HIT_BITS:
        le = "+Inf" if bound > 64 else str(bound)
        wanted = sum(one <= bound for one in bits)
        assert told.get(("image_retrieval_first_hit_bits_bucket", le), 0) == wanted
    for bound in STEP_SECONDS:
        le = "+Inf" if bound > 10 else str(bound)
        wanted = sum(one / 1000 <= bound for one in ms)
        assert told.get(("image_retrieval_step_seconds_bucket", "model", le), 0) == wanted


def test_without_this_projects_metrics_yaml_the_same_is_counted(caplog):
    stock = Path(find_spec("ts").origin).parent / "configs" / "metrics.yaml"
    metrics, printed = metrics_and_lines(caplog, stock)
    metrics.count([record()], 0.05)
    sums = printed()
    assert sums["image_retrieval_requests_total", "answered"] == 1
    assert sums["image_retrieval_step_seconds_bucket", "total", "0.001"] == 1
