"""What monitoring is told, in Prometheus' text format: by a page that it asks, and by a file that it reads.

The names and labels are an interface: alert rules and the dashboard in ``k8s/monitoring`` go by them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from banana_delivery.delivery.observing.snapshot import Snapshot, SnapshotFile
from banana_delivery.delivery.rescue.ticks import WATCHED, Ticks
from banana_delivery.files import write_atomically
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.scorecard.totals import DURATION_EDGES, Distribution, empty

LOG = logging.getLogger(__name__)
PREFIX = "banana_delivery"


class PipelineMetrics(Collector):
    """Reads what there is when it is asked.

    Args:
        home: everything the pipeline keeps.

    Attributes:
        silent: the sensors that have been silent for too long, by the dead man's own clock.
    """

    def __init__(self, home: Path) -> None:
        self.silent: set[str] = set()
        self._ticks, self._snapshot = Ticks(home), SnapshotFile(home)
        self._file = home / "metrics" / "banana-delivery.prom"
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> str:
        """All of it."""
        return generate_latest(self._registry).decode()

    def write(self) -> None:
        """Write it where node_exporter's textfile collector may read it; a full disk is only logged."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, self.text())
        except OSError as error:
            LOG.warning("The file for monitoring could not be written: %s", error)

    def serve(self, address: str, port: int) -> Callable[[], None]:
        """Answer whoever asks for the page, from threads of their own, until what is returned is called.

        Raises:
            OSError: if the port is taken.
        """
        server, _ = start_http_server(port, address, registry=self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()

        return stop

    @override
    def collect(self) -> Iterator[Metric]:
        """The ticks always; the rest as far as the reconcile sensor ever wrote it down."""
        yield from self._of_sensors()
        snapshot = self._snapshot.read()
        if snapshot is not None:
            yield from _of_attempts(snapshot)
            yield from _of_environments(snapshot)

    def _of_sensors(self) -> Iterator[Metric]:
        ticked = _gauge("sensor_last_tick_timestamp_seconds", "When a sensor came to its end last.", "sensor")
        for sensor, at in self._ticks.last().items():
            if at is not None:
                ticked.add_metric([sensor], at)
        silent = _gauge("sensor_silent", "1 for a sensor that the dead man has missed for too long.", "sensor")
        for sensor in WATCHED:
            silent.add_metric([sensor], sensor in self.silent)
        yield ticked
        yield silent


def _of_attempts(snapshot: Snapshot) -> Iterator[Metric]:
    totals = snapshot.totals
    attempts = CounterMetricFamily(
        f"{PREFIX}_attempts", "Attempts to deliver a version, by their end.", labels=["outcome"]
    )
    ended = _gauge("last_end_timestamp_seconds", "When the last attempt with an outcome ended.", "outcome")
    took = HistogramMetricFamily(f"{PREFIX}_duration_seconds", "Wall-clock time of deliveries.", labels=["outcome"])
    for outcome in Outcome:
        # All of them from the start: what appears with its first failure has no increase for an alert to see.
        attempts.add_metric([outcome], totals.attempts.get(outcome, 0))
        _add(took, [outcome], totals.durations.get(outcome, empty(DURATION_EDGES)))
        if outcome in totals.last_end:
            ended.add_metric([outcome], totals.last_end[outcome])
    back = HistogramMetricFamily(f"{PREFIX}_rollback_seconds", "From the verdict to all users back.", labels=[])
    _add(back, [], totals.rollbacks)
    requests = CounterMetricFamily(
        f"{PREFIX}_rollout_requests", "Requests of users and probes while rollouts were under way.", labels=["result"]
    )
    requests.add_metric(["failed"], totals.failed)
    requests.add_metric(["served"], totals.requests - totals.failed)
    waiting = _gauge("waiting", "Deliveries that have not begun.")
    waiting.add_metric([], snapshot.waiting)
    yield from (attempts, ended, took, back, requests, waiting)


def _of_environments(snapshot: Snapshot) -> Iterator[Metric]:
    answers = _gauge("environment_answers", "Whether an environment could be asked.", "environment")
    phases = _gauge("phase", "1 for the phase of the delivery in an environment.", "environment", "phase")
    share = _gauge("candidate_share", "Share of production's users on the release under way.", "environment")
    serving = _gauge("serving_info", "1 for what has the traffic at rest.", "environment", "version", "digest")
    under_way = _gauge("under_way_info", "1 for the version that is being released.", "environment", "version")
    for environment in Environment:
        answers.add_metric([environment], environment in snapshot.environments)
    for environment, state in snapshot.environments.items():
        for phase in Phase:
            phases.add_metric([environment, phase], state.phase is phase)
        share.add_metric([environment], state.candidate_share)
        if state.serving:
            serving.add_metric([environment, state.serving, state.digest], 1)
        if state.under_way:
            under_way.add_metric([environment, state.under_way], 1)
    yield from (answers, phases, share, serving, under_way)


def _gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", says, labels=labels)


def _add(family: HistogramMetricFamily, labels: list[str], found: Distribution) -> None:
    """A distribution as Prometheus has it: each bucket holds all below its edge."""
    edges = [*(f"{edge:g}" for edge in found.edges), "+Inf"]
    below = [sum(found.counts[: place + 1]) for place in range(len(found.counts))]
    family.add_metric(labels, list(zip(edges, below, strict=True)), found.total)
