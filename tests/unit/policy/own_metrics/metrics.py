"""A team's metrics as its policy file says them."""

from __future__ import annotations

from typing import Any

from banana_delivery.policy.own_metrics.metric import OwnMetric

SAID: dict[str, Any] = {
    "name": "empty",
    "provider": "prometheus",
    "address": "http://prometheus:9090",
    "query": 'sum(answers_total{colour="$colour", empty="true"})',
    "failure_condition": "> 0.2",
}
SHARE = {**SAID, "kind": "share", "total": 'sum(answers_total{colour="$colour"})'}
MEAN = {**SHARE, "kind": "mean", "largest": 100, "failure_condition": "> 20"}
VALUE = {**SAID, "kind": "value", "query": 'avg_over_time(empty_share{digest="$digest"}[1m])'}
RATIO = {**VALUE, "kind": "ratio", "failure_condition": "> 1.5"}
PAGE = {**VALUE, "provider": "json", "query": "/figures?of=$colour", "value": "data.rate", "time": "data.at"}


def metric(said: dict[str, Any], **changes: object) -> OwnMetric:
    return OwnMetric.model_validate({**said, **changes})
