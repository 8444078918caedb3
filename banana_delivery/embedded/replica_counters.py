"""Reading the replicas' own counters, and adding them up over replicas that restart, come and go."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from banana_delivery.policy.model import Backend, Colour, Environment, TrafficSource

_DURATION_BUCKET = "banana_request_duration_seconds_bucket"
_MODEL_INFO = "banana_model_info"
_ROUTE = "/predict"

Latency = dict[str, int]
"""Answers within each upper edge in seconds, cumulative; ``+Inf`` last."""


@dataclass
class ReplicaReport:
    """What one replica says of itself.

    Attributes:
        latency: of predictions, by stratum.
        digest: the image it says it is; empty if it says nothing.
    """

    latency: dict[TrafficSource, Latency] = field(default_factory=lambda: defaultdict(dict))
    digest: str = ""


def read_report(text: str) -> ReplicaReport:
    """A replica's metrics.

    Args:
        text: in Prometheus' text format.

    Raises:
        ValueError: if it is not in that format.
    """
    report = ReplicaReport()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == _MODEL_INFO:
                report.digest = labels["digest"]
            elif (
                sample.name == _DURATION_BUCKET
                and labels["route"] == _ROUTE
                and labels["traffic"] in set(TrafficSource)
            ):
                report.latency[TrafficSource(labels["traffic"])][labels["le"]] = int(sample.value)
    return report


class ReplicaLedger:
    """Sums over replicas that never fall while this process lives.

    A replica that restarts counts from zero, and one that is gone says nothing any more. Adding up only what is there
    would look like a restart of all of them, and everything that the others ever counted would be taken for new. So
    what a replica counted before stays in the sum. A new process begins with what the replicas say then.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, TrafficSource], Latency] = {}
        self._reports: dict[str, ReplicaReport] = {}
        self._colours: dict[str, tuple[Environment, Colour]] = {}

    def enter(self, environment: Environment, colour: Colour, replica: str, text: str) -> None:
        """Take down what a replica says now.

        Raises:
            ValueError: if it cannot be read.
        """
        report = read_report(text)
        previous = self._reports.get(replica, ReplicaReport())
        for source, latency in previous.latency.items():
            if _fell(latency, report.latency.get(source, {})):
                self._before[replica, source] = _sum(self._before.get((replica, source), {}), latency)
        self._reports[replica] = report
        self._colours[replica] = environment, colour

    def latency(self, environment: Environment) -> dict[str, Latency]:
        """The sums, by ``Backend.key``."""
        sums: dict[str, Latency] = {}
        for replica, (where, colour) in self._colours.items():
            if where is environment:
                for source in TrafficSource:
                    key = Backend(colour=colour, source=source).key
                    present = self._reports[replica].latency.get(source, {})
                    before = self._before.get((replica, source), {})
                    sums[key] = _sum(sums.get(key, {}), _sum(before, present))
        return sums

    def digest(self, replica: str) -> str:
        """The image that a replica last said it is; empty if it never spoke."""
        report = self._reports.get(replica)
        return report.digest if report else ""


def _fell(before: Latency, now: Latency) -> bool:
    return any(now.get(edge, 0) < count for edge, count in before.items())


def _sum(first: Latency, second: Latency) -> Latency:
    edges = sorted({**first, **second}, key=float)
    return {edge: first.get(edge, 0) + second.get(edge, 0) for edge in edges}
