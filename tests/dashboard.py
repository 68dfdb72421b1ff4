"""What the Grafana dashboard asks Prometheus for."""

import json
import re

from tests.running import ROOT

DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
ADMIN_METRICS = {
    "efiss_admin_jobs_total": {"state"},
    "efiss_index_versions": set(),
    "efiss_index_rows": set(),
    "efiss_index_age_seconds": set(),
    "efiss_reindex_last_success_timestamp_seconds": set(),
    "efiss_ready": set(),
}
"""Of the admin service, with their labels."""
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless"}


def expressions() -> list[str]:
    """All of its PromQL."""
    return _expressions(json.loads(DASHBOARD.read_text(encoding="utf-8")))


def _expressions(part) -> list[str]:
    if isinstance(part, list):
        return [found for one in part for found in _expressions(one)]
    if not isinstance(part, dict):
        return []
    own = [part["expr"]] if "expr" in part else []
    return own + [found for one in part.values() for found in _expressions(one)]


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics in an expression of PromQL."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    names = re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)
    return set(names) - _WORDS


def labels_in(expression: str) -> set[str]:
    """The labels that an expression selects or groups by."""
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    selected = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    return {name.strip() for names in grouped for name in names.split(",")} | set(selected)
