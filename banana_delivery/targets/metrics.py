"""What routers and replicas counted, read into one form and classified in one way, whoever tells it. Pure.

Read are Traefik's metrics pages, the replicas' own and Prometheus' answers; ``meter.py`` adds them up.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from prometheus_client.parser import text_string_to_metric_families

from banana_delivery.policy.model import Backend, Colour, TrafficSource
from banana_delivery.quoting import one_line, promql_warnings
from banana_delivery.targets.meter import (
    EDGE,
    GAVE_UP,
    OVERLOAD,
    RETRY,
    UNFINISHED,
    UNFINISHED_LATE,
    Sample,
    Scrape,
)

GAVE_UP_SECONDS = 1.0
"""The latency budget. A client that hangs up from here on has met a failure; one that left earlier is not counted."""
ROUTER_BUCKETS = (0.1, 0.25, 0.5, GAVE_UP_SECONDS, 2.5, 5.0)
"""Upper edges in seconds of the histograms that a router of ours is configured to keep."""
PREDICTION_ROUTES = frozenset({"/predict", "/predict/batch", "/predict/annotated"})
"""The routes on which a release is judged, each by its whole label."""
PROCESS_LABELS = ("instance", "pod")
"""Labels by which Prometheus tells routers apart; any other one of an answer to ``requests`` is the status."""

_HUNG_UP = "499"
_TRAEFIK_DURATION = "traefik_service_request_duration_seconds_bucket"
_METRICS_LINE = re.compile(r"#.*|[A-Za-z_:][\w:]*(\{.*\})? +\S+( +-?\d+)?")


class Counted(StrEnum):
    """What the counts of a router's service are of.

    Tried requests are counted once a try. The ones that were lost in the end are then counted by another service.
    """

    REQUESTS = "requests"
    TRIES = "tries"
    LOST = "lost"


@dataclass(frozen=True)
class Service:
    """What a router's service stands for: the backend by ``Backend.key``, and what is counted there."""

    backend: str
    counted: Counted = Counted.REQUESTS


ServiceOf = Callable[[str], Service | None]
"""From a router's name of a service to what it stands for; None if it is none of the environment's."""


class _Labels(dict[str, str]):
    """Labels of one series."""

    def __missing__(self, label: str) -> str:
        raise ValueError(f"a counter lacks the label {label}")


def traefik_page(text: str, service_of: ServiceOf, process: str, now: float | None) -> Scrape:
    """What Traefik's metrics page says of an environment's services.

    Args:
        text: the page.
        service_of: what its services stand for.
        process: what to call this Traefik. Several behind one address are told apart by when they started.
        now: seconds since the epoch by the clock of Traefik's machine; None if nobody knows.

    Raises:
        ValueError: why the page gives no figures.
    """
    samples: list[Sample] = []
    # By the labels without the edge. Kept for every status, so that edges that do not do are found before anybody
    # hangs up.
    histograms: dict[tuple[tuple[str, str], ...], dict[str, int]] = defaultdict(dict)
    hung_up: set[tuple[tuple[str, str], ...]] = set()
    for name, labels, value in _lines(text, "traefik_service_"):
        service = service_of(labels.get("service", ""))
        own = tuple(sorted((label, text) for label, text in labels.items() if label != "le"))
        if service is None:
            continue
        if name == _TRAEFIK_DURATION:
            histograms[own][labels["le"]] = value
        elif name == "traefik_service_retries_total":
            samples.append(Sample(service.backend, RETRY, f"{name}{own}", value))
        elif name == "traefik_service_requests_total":
            what = _router_counter(service, labels["code"])
            samples += [Sample(service.backend, what, f"{name}{own}", value)] if what else []
            hung_up |= set() if what else {own}
    for own in hung_up - histograms.keys():
        raise ValueError(f"clients of {dict(own)['service']} hung up, and no histogram says after how long")
    for own, edges in histograms.items():
        labels, late = _Labels(own), _gave_up(edges)
        service = service_of(labels["service"])
        if service and not _router_counter(service, labels["code"]):
            samples.append(Sample(service.backend, GAVE_UP, f"{GAVE_UP} {own}", late))
    return _of_page(text, process, samples, now)


def replica_page(text: str, process: str, colour: Colour, *, router: bool, now: float | None = None) -> Scrape:
    """What a replica says of itself: its latency and overloads, and with ``router`` its answers as well.

    Args:
        text: its metrics page.
        process: its unique name.
        colour: the colour it belongs to.
        router: whether its own counts stand in for a router's. It does not know how long a client had waited that
            hung up, so those are not counted then.
        now: seconds since the epoch by the clock of its machine; None if nobody knows.

    Raises:
        ValueError: why the page gives no figures.
    """
    samples = []
    for name, labels, value in _lines(text, "banana_"):
        what = _replica_counter(name, labels, router=router)
        if what and labels.get("traffic") in set(TrafficSource):
            backend = Backend(colour=colour, source=TrafficSource(labels["traffic"])).key
            histogram = f"{name} {labels['route']} {backend}" if what.startswith(EDGE) else ""
            samples.append(Sample(backend, what, f"{name}{sorted(labels.items())}", value, histogram))
    return _of_page(text, process, samples, now)


def digest_of(text: str) -> str:
    """The digest that a replica's page says it runs; empty if it does not say."""
    return next((labels.get("digest", "") for _, labels, _ in _lines(text, "banana_model_info")), "")


@dataclass(frozen=True)
class Series:
    """One element of Prometheus' answer: its labels, when it was worked out by Prometheus' clock, and its value."""

    labels: Mapping[str, str]
    at: float
    value: float

    @property
    def count(self) -> int:
        """The value as a count.

        Raises:
            ValueError: if it is none.
        """
        return _count(self.value)


def prometheus_vector(answer: object) -> list[Series]:
    """The series in the JSON that Prometheus answers to a query.

    Raises:
        ValueError: what else it is; a scalar or a NaN is no count, and nothing that is missing is zero. Of several
            stores behind it one may not answer; then it warns.
    """
    answer = answer if isinstance(answer, dict) else {}
    data = answer.get("data")
    if not isinstance(data, dict) or "result" not in data:
        raise ValueError("it is no answer to a query")
    if warnings := promql_warnings(answer.get("warnings")):
        raise ValueError(f"it warns, so its answer may be a part: {one_line(warnings, 200)}")
    if data.get("resultType", "vector") != "vector" or not isinstance(data["result"], list):
        raise ValueError(f"it is a {data.get('resultType')} and must be a vector: one series for each status")
    return [_series(item) for item in data["result"]]


def router_counts(backend: str, requests: Iterable[Series], gave_up: Iterable[Series] | None) -> list[Scrape]:
    """What Prometheus says of one backend, router by router.

    Args:
        backend: ``Backend.key``.
        requests: cumulative requests by one label that holds the status, beside those that name the router.
        gave_up: cumulative requests whose client hung up: with a label ``le``, the buckets of a histogram; without,
            those that had waited too long. None if nobody asks for that.

    Raises:
        ValueError: why these are no figures.
    """
    samples: dict[str, list[Sample]] = defaultdict(list)
    for series in requests:
        code = _status_in(series)
        if code != _HUNG_UP:
            samples[_process_name(series)].append(Sample(backend, code, f"{backend} {code}", series.count))
    buckets: dict[str, dict[str, int]] = defaultdict(dict)
    for series in gave_up or ():
        buckets[_process_name(series)][series.labels.get("le", "")] = series.count
    for process, edges in buckets.items():
        late = edges[""] if "" in edges else _gave_up(edges)
        samples[process].append(Sample(backend, GAVE_UP, f"{backend} {GAVE_UP}", late))
    return [Scrape(process, tuple(counted), relayed=True) for process, counted in samples.items()]


def hung_up(requests: Iterable[Series]) -> bool:
    """Whether any client hung up, whenever it did."""
    return any(_status_in(series) == _HUNG_UP and series.count for series in requests)


def with_starts(scrapes: Iterable[Scrape], started: Iterable[Series]) -> list[Scrape]:
    """The scrapes, one a router, and when each router started; one that has counted nothing yet is among them.

    Args:
        scrapes: of several backends.
        started: start times, by the labels that name a router.

    Raises:
        ValueError: if a start time is no number.
    """
    known = {_process_name(item): item for item in started if item.count}
    samples: dict[str, list[Sample]] = {name: [] for name in known}
    for scrape in scrapes:
        samples.setdefault(scrape.process, []).extend(scrape.samples)
    found = {name: Scrape(name, tuple(counted), relayed=True) for name, counted in samples.items()}
    starts = {name: replace(found[name], start=item.value, age=item.at - item.value) for name, item in known.items()}
    return list({**found, **starts}.values())


def _router_counter(service: Service, code: str) -> str:
    """What a router's count of one status is of; empty for clients that hung up: their histogram says more."""
    if service.counted is Counted.LOST:
        return "502"
    if service.counted is Counted.TRIES and code == "502":
        return RETRY
    return "" if code == _HUNG_UP else code


def _replica_counter(name: str, labels: dict[str, str], *, router: bool) -> str:
    if name == "banana_overload_total":
        return OVERLOAD
    if name == "banana_unfinished_uploads_total":
        return UNFINISHED_LATE if labels.get("late") == "true" else UNFINISHED
    if labels.get("route") not in PREDICTION_ROUTES:
        return ""
    if name == "banana_request_duration_seconds_bucket":
        return EDGE + labels["le"]
    if router and name == "banana_requests_total" and labels["status"] != _HUNG_UP:
        return labels["status"]
    return ""


def _gave_up(edges: Mapping[str, int]) -> int:
    """Clients that hung up when the latency budget was over, from the buckets of those that hung up at all.

    Where the budget is no edge, the next one above it stands in: who left between the two is then not counted.

    Raises:
        ValueError: if there is no edge at or above the budget: all that is known is that they hung up.
    """
    usable = sorted((float(edge), count) for edge, count in edges.items() if GAVE_UP_SECONDS <= float(edge) < math.inf)
    if not usable or "+Inf" not in edges:
        raise ValueError(
            f"its histogram has the edges {', '.join(edges)}, and none at {GAVE_UP_SECONDS:g} s or above tells clients "
            f"that gave up from those that left early; add {GAVE_UP_SECONDS:g} to the router's buckets"
        )
    return max(0, edges["+Inf"] - usable[0][1])


def _of_page(text: str, process: str, samples: Iterable[Sample], now: float | None) -> Scrape:
    start = next((value for _, _, value in _values(text, "process_start_time_seconds")), None)
    age = None if start is None or now is None else now - start
    return Scrape(process, tuple(samples), start=start, age=age)


def _lines(text: str, prefix: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """Name, labels and count of the metrics that begin with a prefix, gauges and sums of seconds left out.

    Raises:
        ValueError: if it is no page of metrics, or a count is none.
    """
    for name, labels, value in _values(text, prefix):
        if name.endswith(("_total", "_bucket", "_info")):
            yield name, _Labels(labels), _count(value)


def _values(text: str, prefix: str) -> Iterator[tuple[str, dict[str, str], float]]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the page is empty")
    if strange := next((line for line in lines if not _METRICS_LINE.fullmatch(line.strip())), ""):
        raise ValueError(f"it is no page of metrics: {strange.strip()[:100]}")
    wanted = "".join(f"{line}\n" for line in lines if line.startswith(prefix))
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _series(item: object) -> Series:
    try:
        at, value = item["value"]  # type: ignore[index]
        labels = {str(name): str(text) for name, text in item["metric"].items() if name != "__name__"}  # type: ignore[index]
        return Series(labels, float(at), float(value))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"it has a series without a value: {str(item)[:100]}") from error


def _status_in(series: Series) -> str:
    """The one label's value that names no process."""
    labels = {label: text for label, text in series.labels.items() if label not in PROCESS_LABELS}
    if len(labels) > 1:
        raise ValueError(
            f"it is grouped by {', '.join(labels)}, and the status must be its only label beside "
            f"{' and '.join(PROCESS_LABELS)}"
        )
    status = next(iter(labels.values()), "")
    if not status.isdigit():
        raise ValueError(f"it has a series whose label is {status!r} where the HTTP status must be")
    return status


def _process_name(series: Series) -> str:
    return " ".join(series.labels[label] for label in PROCESS_LABELS if label in series.labels)


def _count(value: float) -> int:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} is no count")
    return int(value)
