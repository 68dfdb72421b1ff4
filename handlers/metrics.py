"""What the handler counts, on TorchServe's metrics address (names as in metrics.yaml)."""

from ts.metrics.metric_cache_errors import MetricsCacheKeyError
from ts.metrics.metric_type_enum import MetricTypes


class Metrics:
    """Counters of one worker."""

    def __init__(self, context):
        self._labels = [context.model_name, "Model"]
        cache = context.metrics
        self._requests = _counter(cache, "image_retrieval_requests_total", "count", "Outcome")
        self._seconds = _counter(cache, "image_retrieval_busy_seconds_total", "s")

    def count(self, answers: list[dict], seconds: float) -> None:
        """One batch: its answers by outcome, and the time the worker was busy with it."""
        for answer in answers:
            self._requests.add_or_update(1, [*self._labels, answer.get("type", "answered")])
        self._seconds.add_or_update(seconds, self._labels)


def _counter(cache, name: str, unit: str, *labels: str):
    try:
        return cache.get_metric(name, MetricTypes.COUNTER)
    except MetricsCacheKeyError:  # TorchServe runs without this project's metrics.yaml
        return cache.add_metric_to_cache(
            name, unit, ["ModelName", "Level", *labels], MetricTypes.COUNTER
        )
