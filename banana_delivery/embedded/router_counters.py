"""Reading Traefik's counters: what the router saw of each service, by the project's classes of failure.

Counters are cumulative since Traefik's start; whoever compares two looks treats a decrease as a restart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from banana_delivery.policy.model import Counters

GAVE_UP_AFTER_SECONDS = 1.0
"""A client that leaves earlier than the latency budget left for reasons of its own. Must be one of ``BUCKETS``."""
BUCKETS = (0.1, 0.25, 0.5, GAVE_UP_AFTER_SECONDS, 2.5, 5.0)
"""Upper edges in seconds of the histograms that Traefik is configured to keep."""

_REQUESTS = "traefik_service_requests_total"
_DURATION_BUCKET = "traefik_service_request_duration_seconds_bucket"
_LEFT, _NO_CONNECTION, _OVERLOAD, _TIMEOUT = "499", "502", "503", "504"
_CLASSES_OF_THEIR_OWN = {_NO_CONNECTION, _OVERLOAD, _TIMEOUT}


@dataclass
class ServiceCounts:
    """What Traefik counted for one service.

    Attributes:
        by_code: tries by the HTTP status they ended in; a request that was tried again was several tries.
        left_early: clients that left within ``GAVE_UP_AFTER_SECONDS``.
    """

    by_code: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    left_early: int = 0


def count_services(text: str) -> dict[str, ServiceCounts]:
    """The counts of every service, by Traefik's name for it.

    Args:
        text: Traefik's metrics in Prometheus' text format.

    Raises:
        ValueError: if it is not in that format.
    """
    services: dict[str, ServiceCounts] = defaultdict(ServiceCounts)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _REQUESTS:
                services[sample.labels["service"]].by_code[sample.labels["code"]] += int(sample.value)
            elif sample.name == _DURATION_BUCKET and _is_early_leaver(sample.labels):
                services[sample.labels["service"]].left_early += int(sample.value)
    return dict(services)


def counters(service: ServiceCounts, lost: ServiceCounts) -> Counters:
    """A service's counts as the judges want them; without latency, which the replicas measure.

    Args:
        service: the service, whose tries that made no connection end in 502.
        lost: the service that is asked for a page whenever the last try ended so: it counts requests, not tries.
    """
    codes = service.by_code
    failed_tries = codes.get(_NO_CONNECTION, 0)
    lost_requests = sum(lost.by_code.values())
    gave_up = codes.get(_LEFT, 0) - service.left_early
    failures = {
        "5xx": sum(count for code, count in codes.items() if code[0] == "5" and code not in _CLASSES_OF_THEIR_OWN),
        "connection": lost_requests,
        "timeout": codes.get(_TIMEOUT, 0),
        "gave_up": gave_up,
    }
    answered = sum(count for code, count in codes.items() if code not in {_LEFT, _NO_CONNECTION})
    return Counters(
        requests=answered + lost_requests + gave_up,
        failures=failures,
        overloads=codes.get(_OVERLOAD, 0),
        # All tries without a connection, also those of requests that were lost: never less than at the look before.
        retries=failed_tries,
    )


def _is_early_leaver(labels: Mapping[str, str]) -> bool:
    return labels["code"] == _LEFT and float(labels["le"]) == GAVE_UP_AFTER_SECONDS
