"""From counters of several processes to one snapshot of an environment's traffic. Pure.

Routers restart, pods come and go, and what a router calls a 503 only the pod knows to be overload. So nothing absolute
is passed on: ``Meter`` adds up the increases of every single series, and what it shows never falls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from banana_delivery.policy.model import Backend, Colour, Counters, TrafficSnapshot, TrafficSource

GAVE_UP_SECONDS = 5.0
"""A client that hangs up after waiting so long has met a failure; one that does so sooner has its own reasons."""
LEFT_EARLY = "499"
LEFT_EARLY_SOON = "499 soon"
OVERLOAD = "overload"
RETRY = "retry"
EDGE = "le "
PREDICTIONS = ("/predict",)
"""Routes whose requests are judged, by the start of their label."""

_TRAEFIK_SERVICE = re.compile(
    r"httproute-(?P<namespace>.+)-(?P<route>banana-api|banana-api-probe)-gw-.+-svc-(?P=namespace)-"
    r"banana-api-(?P<colour>blue|green)-\d+@"
)


@dataclass(frozen=True)
class Sample:
    """One cumulative counter of one process.

    Attributes:
        backend: ``Backend.key`` of what it counts.
        what: an HTTP status, or one of the names above.
        series: names the counter; equal names in two scrapes are the same counter.
        value: its count.
    """

    backend: str
    what: str
    series: str
    value: int


@dataclass
class Meter:
    """Adds up what was counted since it was made, for one environment; what was counted before is its start."""

    _last: dict[str, int] = field(default_factory=dict)
    _totals: dict[tuple[str, str], int] = field(default_factory=dict)
    _failed_503: dict[str, int] = field(default_factory=dict)

    def take(self, samples: Iterable[Sample]) -> None:
        """Add the increases of one scrape. A counter that has fallen started again from zero."""
        for sample in samples:
            before = self._last.get(sample.series, 0)
            increase = sample.value - before if sample.value >= before else sample.value
            self._last[sample.series] = sample.value
            key = (sample.backend, sample.what)
            self._totals[key] = self._totals.get(key, 0) + increase

    def snapshot(self, at: float, digests: dict[str, str]) -> TrafficSnapshot:
        """Everything so far."""
        backends = sorted({backend for backend, _ in self._totals})
        return TrafficSnapshot(at=at, backends={key: self._counters(key) for key in backends}, digests=digests)

    def _counters(self, backend: str) -> Counters:
        counts = {what: total for (key, what), total in self._totals.items() if key == backend}
        overloads = min(counts.get("503", 0), counts.get(OVERLOAD, 0))
        # The router's 503 may be seen a moment before the pod's overload; a failure once shown stays shown.
        failed_503 = max(self._failed_503.get(backend, 0), counts.get("503", 0) - overloads)
        self._failed_503[backend] = failed_503
        gave_up = max(0, counts.get(LEFT_EARLY, 0) - counts.get(LEFT_EARLY_SOON, counts.get(LEFT_EARLY, 0)))
        statuses = {what: count for what, count in counts.items() if what.isdigit() and what != LEFT_EARLY}
        other = sum(count for what, count in statuses.items() if what >= "500" and what not in {"502", "503", "504"})
        return Counters(
            requests=sum(statuses.values()) + gave_up,
            failures={
                "5xx": other + failed_503,
                "connection": counts.get("502", 0),
                "timeout": counts.get("504", 0),
                "gave_up": gave_up,
            },
            overloads=overloads,
            retries=counts.get(RETRY, 0),
            latency={what.removeprefix(EDGE): count for what, count in counts.items() if what.startswith(EDGE)},
        )


def traefik_samples(text: str, namespace: str) -> Iterator[Sample]:
    """What Traefik's metrics page says of an environment's routes."""
    for name, labels, value in _lines(text, "traefik_service_"):
        found = _TRAEFIK_SERVICE.match(labels.get("service", ""))
        what = _traefik_counter(name, labels)
        if found and what and found["namespace"] == namespace:
            source = TrafficSource.PROBE if found["route"].endswith("-probe") else TrafficSource.USER
            backend = Backend(colour=Colour(found["colour"]), source=source).key
            yield Sample(backend, what, f"{name}{sorted(labels.items())}", value)


def pod_samples(text: str, pod: str, colour: Colour, *, router: bool) -> Iterator[Sample]:
    """What a replica says of itself: its latency and overloads, and with ``router`` its answers as well.

    Args:
        text: its metrics page.
        pod: its unique id.
        colour: the colour it belongs to.
        router: whether its own counts stand in for a router's.
    """
    for name, labels, value in _lines(text, "banana_"):
        what = _pod_counter(name, labels, router=router)
        if what:
            backend = Backend(colour=colour, source=TrafficSource(labels["traffic"])).key
            yield Sample(backend, what, f"{pod} {name}{sorted(labels.items())}", value)


def digest_of(text: str) -> str:
    """The digest that a replica says it runs; empty if it does not say."""
    return next((labels["digest"] for _, labels, _ in _lines(text, "banana_model_info")), "")


def _traefik_counter(name: str, labels: dict[str, str]) -> str:
    if name == "traefik_service_requests_total":
        return labels["code"]
    if name == "traefik_service_retries_total":
        return RETRY
    if name == "traefik_service_request_duration_seconds_bucket" and labels["code"] == LEFT_EARLY:
        return LEFT_EARLY_SOON if float(labels["le"]) == GAVE_UP_SECONDS else ""
    return ""


def _pod_counter(name: str, labels: dict[str, str], *, router: bool) -> str:
    if name == "banana_overload_total":
        return OVERLOAD
    if not labels.get("route", "").startswith(PREDICTIONS):
        return ""
    if name == "banana_request_duration_seconds_bucket":
        return EDGE + labels["le"]
    return labels["status"] if router and name == "banana_requests_total" else ""


def _lines(text: str, prefix: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """Name, labels and whole value of the metrics that begin with a prefix."""
    wanted = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(prefix))
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            yield sample.name, sample.labels, int(sample.value)
