"""Where the figures come from: Prometheus or Traefik for what the router saw, the pods for what only they know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import httpx

from banana_delivery.errors import TargetError
from banana_delivery.names import COLOUR_KEY
from banana_delivery.policy.model import COLOURS, Backend, Colour, TrafficSnapshot, TrafficSource
from banana_delivery.targets.kubernetes.api import CONNECTIONS, Json, KubernetesApi
from banana_delivery.targets.kubernetes.counters import (
    LEFT_EARLY,
    LEFT_EARLY_SOON,
    Meter,
    Sample,
    digest_of,
    pod_samples,
    traefik_samples,
)
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, container_port
from banana_delivery.targets.kubernetes.readiness import has_ended

TRAEFIK_QUERIES = {
    "requests": "sum by (code) (traefik_service_requests_total"
    '{service=~"httproute-{namespace}-{route}-gw-.+-svc-{namespace}-{service}-.*"})',
    "gave_up": "sum(traefik_service_request_duration_seconds_count"
    '{code="499",service=~"httproute-{namespace}-{route}-gw-.+-svc-{namespace}-{service}-.*"})'
    " - sum(traefik_service_request_duration_seconds_bucket"
    '{code="499",le=~"5([.]0)?",service=~"httproute-{namespace}-{route}-gw-.+-svc-{namespace}-{service}-.*"})',
}
"""For Traefik's Gateway API provider; docs/kubernetes.md has those for other Gateways."""

RouterSource = Callable[[EnvironmentNamespace], Iterator[Sample]]
"""Reads the cumulative figures of an environment's router.

Raises ``TargetError`` if it does not answer.
"""


class Traffic:
    """Measures one environment; keeps what it saw, so that pods and routers may come and go.

    Args:
        api: the cluster.
        place: the environment's namespace.
        router: reads the router's figures; None: the replicas' own answers stand in for them, and what never reached
            a replica is not seen.
    """

    def __init__(self, api: KubernetesApi, place: EnvironmentNamespace, router: RouterSource | None) -> None:
        self._api = api
        self._place = place
        self._router = router
        self._meter = Meter()

    def snapshot(self) -> TrafficSnapshot:
        """What was counted so far. The router is read first: its overloads are then known to the pods already."""
        if self._router:
            self._meter.take(list(self._router(self._place)))
        digests: dict[str, set[str]] = {}
        pods = self._pods()
        # Together, so that one that does not answer costs a look no more than its own patience.
        with ThreadPoolExecutor(CONNECTIONS, "pages") as readers:
            texts = list(readers.map(self._page, pods))
        for pod, text in zip(pods, texts, strict=True):
            colour = Colour(pod["metadata"]["labels"][COLOUR_KEY])
            if text is None:
                continue
            self._meter.take(pod_samples(text, pod["metadata"]["uid"], colour, router=self._router is None))
            if digest_of(text) and not pod["metadata"].get("deletionTimestamp"):
                digests.setdefault(str(colour), set()).add(digest_of(text))
        # Two digests in one colour equal no single one, so nobody takes them for the one that was meant.
        return self._meter.snapshot(time.time(), {colour: " ".join(sorted(seen)) for colour, seen in digests.items()})

    def _page(self, pod: Json) -> str | None:
        return self._api.text(self._place.metrics(pod["metadata"]["name"], container_port(pod)))

    def _pods(self) -> list[Json]:
        found = self._api.get(self._place.pods, labelSelector=self._place.selector()) or {"items": []}
        return [pod for pod in found["items"] if pod.get("status", {}).get("phase") == "Running" and not has_ended(pod)]


def traefik(url: str) -> RouterSource:
    """Traefik's own metrics page at ``url``."""

    def read(place: EnvironmentNamespace) -> Iterator[Sample]:
        return traefik_samples(_asked(url, "Traefik's metrics", {}).text, place.name)

    return read


def prometheus(url: str, queries: dict[str, str]) -> RouterSource:
    """A Prometheus server.

    Args:
        url: its address.
        queries: ``requests``: cumulative requests by status, grouped by exactly one label that holds the status.
            ``gave_up`` (may be empty): cumulative requests whose client hung up after waiting too long, one number.
            ``{namespace}``, ``{route}`` and ``{service}`` in them stand for a backend.
    """

    def read(place: EnvironmentNamespace) -> Iterator[Sample]:
        backends, names = [], []
        for colour in COLOURS[place.environment]:
            for source, route in ((TrafficSource.USER, USER_ROUTE), (TrafficSource.PROBE, PROBE_ROUTE)):
                backends.append(Backend(colour=colour, source=source).key)
                names.append({"namespace": place.name, "route": route, "service": place.object_name(colour)})
        with ThreadPoolExecutor(len(backends), "queries") as askers:
            yield from chain.from_iterable(askers.map(answers, backends, names))

    def answers(backend: str, names: dict[str, str]) -> list[Sample]:
        samples = [
            Sample(backend, status, f"requests {backend} {status}", value)
            for status, value in _query(url, _filled(queries["requests"], names))
            if status != LEFT_EARLY
        ]
        for _, value in _query(url, _filled(queries["gave_up"], names)) if queries.get("gave_up") else []:
            samples += [
                Sample(backend, LEFT_EARLY, f"gave_up {backend}", value),
                Sample(backend, LEFT_EARLY_SOON, f"soon {backend}", 0),
            ]
        return samples

    return read


def _filled(query: str, names: dict[str, str]) -> str:
    """A query for one backend; braces that are PromQL's own stay as they are."""
    for name, value in names.items():
        query = query.replace(f"{{{name}}}", value)
    return query


def _query(url: str, query: str) -> Iterator[tuple[str, int]]:
    """The one label's value, empty if there is none, and the count, for each series that Prometheus answers."""
    where = f"{url.rstrip('/')}/api/v1/query"
    answer = _asked(where, "Prometheus", {"query": query})
    try:
        found = answer.json()["data"]["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise _no_figures(where, "Prometheus", _said(answer)) from error
    for series in found:
        labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
        if len(labels) > 1:
            why = f"{query} is grouped by {', '.join(labels)}, and the status must be its only label"
            raise _no_figures(where, "Prometheus", why)
        yield next(iter(labels.values()), ""), int(float(series["value"][1]))


def _asked(url: str, what: str, params: dict[str, str]) -> httpx.Response:
    try:
        answer = httpx.get(url, params=params, timeout=5.0)
    except httpx.HTTPError as error:
        raise _no_figures(url, what, str(error) or repr(error)) from error
    if not answer.is_success:
        raise _no_figures(url, what, _said(answer))
    return answer


def _said(answer: httpx.Response) -> str:
    """An answer without figures in one line: Prometheus' own words if there are any, else how its text begins."""
    try:
        words = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = answer.text
    return f"{answer.status_code} {answer.reason_phrase}: {' '.join(words.split())[:200]}".removesuffix(": ")


def _no_figures(url: str, what: str, why: str) -> TargetError:
    return TargetError(
        f"{what} at {url} gave no figures ({why}); a release without figures is not judged. "
        "Bring it back, or set another source (docs/kubernetes.md)."
    )
