"""What the handler counts, on TorchServe's metrics address (names as in metrics.yaml).

TorchServe's own histograms have buckets of 5 ms to 10 s, whatever they count.  The distributions
here are counters instead, with the names and the label `le` of a Prometheus histogram, so that
`histogram_quantile` works.
"""

import bisect
import collections
import math
import threading
import time
from pathlib import Path

import yaml
from ts.metrics.metric_cache_errors import MetricsCacheKeyError
from ts.metrics.metric_type_enum import MetricTypes

from handlers.record import Record
from searcher.live import Serving

TELL_SECONDS = 1.0
"""How often a worker tells TorchServe what it counted."""
STEP_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, math.inf)
FIRST_HIT_BITS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, math.inf)
"""The upper bounds of the buckets."""


class Metrics:
    """Counters and gauges of one worker.

    TorchServe reads them from lines that the worker prints.  To print a line for everything that a
    request changes would cost more than many a search, so the counters are told together, by a
    thread.
    """

    def __init__(self, context):
        self._metrics = _declared(context.metrics)
        self._labels = [context.model_name, "Model"]
        self._counted: dict[tuple[str, ...], float] = collections.defaultdict(float)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Tell what is counted from now on, in a daemon thread."""
        threading.Thread(target=self._tell_on, name="metrics", daemon=True).start()

    def serving(self, serving: Serving) -> None:
        """Another version answers from now on.

        A gauge has the value that any worker gave last, and TorchServe never forgets a label.  So
        the version is told by when it was taken up: the latest is the one that answers.
        """
        rows = serving.opened.manifest.rows
        self._tell("image_retrieval_index_rows", rows)
        self._tell("image_retrieval_index_live_since_seconds", time.time(), serving.version)

    def count(self, records: list[Record], seconds: float) -> None:
        """One batch: its requests, and the time the worker was busy with it."""
        with self._lock:
            self._counted["image_retrieval_busy_seconds_total",] += seconds
            for one in records:
                self._counted["image_retrieval_requests_total", one.outcome] += 1
                for step, ms in one.ms.items():
                    self._observe("image_retrieval_step_seconds", ms / 1000, STEP_SECONDS, step)
                # Of other queries it says nothing: a path finds itself, a page begins further on.
                if one.query == "image" and not one.narrowed and one.first_distance is not None:
                    self._observe(
                        "image_retrieval_first_hit_bits", one.first_distance, FIRST_HIT_BITS
                    )

    def tell(self) -> None:
        """Tell TorchServe what was counted since the last time."""
        with self._lock:
            counted, self._counted = self._counted, collections.defaultdict(float)
        for (name, *labels), value in counted.items():
            self._tell(name, value, *labels)

    def _tell_on(self) -> None:
        while True:
            time.sleep(TELL_SECONDS)
            self.tell()

    def _tell(self, name: str, value: float, *labels: str) -> None:
        self._metrics[name].add_or_update(value, [*self._labels, *labels])

    def _observe(self, name: str, value: float, bounds: tuple[float, ...], *labels: str) -> None:
        self._counted[f"{name}_sum", *labels] += value
        self._counted[f"{name}_count", *labels] += 1
        for bound in bounds[bisect.bisect_left(bounds, value) :]:  # each holds those before it
            le = "+Inf" if bound == math.inf else str(bound)
            self._counted[f"{name}_bucket", *labels, le] += 1


def _declared(cache) -> dict:
    """The metrics under model_metrics of metrics.yaml, by name."""
    text = Path(__file__).with_name("metrics.yaml").read_text(encoding="utf-8")
    return {
        one["name"]: _metric(cache, MetricTypes(kind), one)
        for kind, all_of_it in yaml.safe_load(text)["model_metrics"].items()
        for one in all_of_it
    }


def _metric(cache, kind: MetricTypes, one: dict):
    try:
        return cache.get_metric(one["name"], kind)
    except MetricsCacheKeyError:  # TorchServe runs without this project's metrics.yaml
        return cache.add_metric_to_cache(one["name"], one["unit"], one["dimensions"], kind)
