import json
import re
from pathlib import Path

from serving.metrics import Metrics

DASHBOARD = json.loads(Path("k8s/base/replicas/grafana-dashboard.json").read_text())
NAME = re.compile(r"\b(?:banana|process)_[a-z_]+")


def exposed_names() -> set[str]:
    """Every series a replica can expose, label or not."""
    metrics = Metrics()
    metrics.requests.labels("/predict", "200", "user")
    metrics.duration.labels("/predict", "user")
    metrics.overload.labels("user")
    metrics.describe_model("1", "d", "production", "blue")
    lines = metrics.render().decode().splitlines()
    return {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}


def test_every_metric_on_the_dashboard_is_one_a_replica_exposes() -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    used = {name for query in queries for name in NAME.findall(query)}
    assert len(used) > 8
    assert used - exposed_names() == set()


def test_panels_do_not_overlap() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
