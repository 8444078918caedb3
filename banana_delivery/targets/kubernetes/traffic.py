"""Where the figures come from: Prometheus or Traefik for what the router saw, the pods for what only they know."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import chain
from threading import Lock
from typing import TypeVar

import httpx

from banana_delivery.errors import TargetError
from banana_delivery.names import COLOUR_KEY
from banana_delivery.policy.model import COLOURS, Backend, Colour, TrafficSnapshot, TrafficSource
from banana_delivery.quoting import in_promql
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import CONNECTIONS, Json, KubernetesApi
from banana_delivery.targets.kubernetes.gateway import PROBE_ROUTE, USER_ROUTE
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, metrics_ports
from banana_delivery.targets.kubernetes.readiness import has_ended
from banana_delivery.targets.meter import Meter, Scrape
from banana_delivery.targets.metrics import (
    Series,
    Service,
    ServiceOf,
    digest_of,
    hung_up,
    prometheus_vector,
    replica_page,
    router_counts,
    traefik_page,
    with_starts,
)

TRAEFIK_QUERIES = {
    "requests": "sum by (code, pod, instance) (traefik_service_requests_total"
    '{service=~"httproute-{namespace}-{route}-gw-.+-svc-{namespace}-{service}-.*"})',
    "gave_up": "sum by (le, pod, instance) (traefik_service_request_duration_seconds_bucket"
    '{code="499",service=~"httproute-{namespace}-{route}-gw-.+-svc-{namespace}-{service}-.*"})',
    "started": "max by (pod, instance) "
    "(process_start_time_seconds and on (job, instance) traefik_config_reloads_total)",
}
"""For Traefik's Gateway API provider; docs/kubernetes.md has those for other Gateways."""

STALE_SECONDS = 15.0
"""An answer that lags so far behind the newest one is an old one; scrape intervals are 5 s at most."""

RouterSource = Callable[[EnvironmentNamespace], list[Scrape]]
"""Reads the cumulative figures of an environment's routers.

Raises ``TargetError`` if there are none.
"""

Result = TypeVar("Result")

_GATEWAY_SERVICE = re.compile(
    r"httproute-(?P<namespace>.+)-(?P<route>banana-api|banana-api-probe)-gw-.+-svc-(?P=namespace)-"
    r"banana-api-(?P<colour>blue|green)-\d+@"
)


class Traffic:
    """Measures one environment; keeps what it saw, so that pods and routers may come and go.

    Args:
        api: the cluster.
        place: the environment's namespace.
        router: reads the router's figures; None: the replicas' own answers stand in for them, and what never reached
            a replica is not seen.
        clock: in seconds, only goes forward.
    """

    def __init__(
        self,
        api: KubernetesApi,
        place: EnvironmentNamespace,
        router: RouterSource | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._place = place
        self._router = router
        self._clock = clock
        self._meter = Meter()
        self._first_pods: set[str] | None = None
        self._ports: dict[str, int] = {}

    def snapshot(self) -> TrafficSnapshot:
        """What was counted so far. The router is read first: its overloads are then known to the pods already.

        Raises:
            TargetError: if the router, or a pod that answers, gives no figures.
        """
        began = self._clock()
        scrapes = self._router(self._place) if self._router else []
        digests: dict[str, set[str]] = {}
        silent: set[Colour] = set()
        pods = self._pods()
        present = {pod["metadata"]["uid"] for pod in pods}
        self._ports = {uid: port for uid, port in self._ports.items() if uid in present}
        if self._first_pods is None:
            self._first_pods = present
        # Together, so that one that does not answer costs a look no more than its own patience.
        with ThreadPoolExecutor(CONNECTIONS, "pages") as readers:
            texts = list(readers.map(self._page, pods))
        for pod, text in zip(pods, texts, strict=True):
            colour = Colour(pod["metadata"]["labels"][COLOUR_KEY])
            if text is None:
                silent.add(colour)
                continue
            scrapes.append(self._scrape(pod, text, colour))
            if (digest := digest_of(text)) and not pod["metadata"].get("deletionTimestamp"):
                digests.setdefault(str(colour), set()).add(digest)
        self._meter.take(scrapes, began, silent=silent)
        # Two digests in one colour equal no single one, so nobody takes them for the one that was meant.
        return self._meter.snapshot(self._clock(), {colour: " ".join(sorted(seen)) for colour, seen in digests.items()})

    def _scrape(self, pod: Json, text: str, colour: Colour) -> Scrape:
        """A pod's figures. Whether it is younger than our first poll, the list of pods says and no machine's clock."""
        uid = pod["metadata"]["uid"]
        try:
            scrape = replica_page(text, uid, colour, router=self._router is None)
        except ValueError as error:
            name = f"{self._place.name}/{pod['metadata']['name']}"
            raise TargetError(
                f"The metrics of pod {name} cannot be read ({error}); see what answers there on port "
                f"{self._ports[uid]}."
            ) from error
        return scrape if uid in (self._first_pods or ()) else replace(scrape, age=0.0)

    def _page(self, pod: Json) -> str | None:
        """What a pod shows, on the port on which it did so before; a pod's image, and so its port, never changes."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        for port in [self._ports[uid]] if uid in self._ports else metrics_ports(pod):
            if (text := self._api.text(self._place.metrics(name, port))) is not None:
                self._ports[uid] = port
                return text
        return None

    def _pods(self) -> list[Json]:
        found = self._api.get(self._place.pods, labelSelector=self._place.selector()) or {"items": []}
        return [pod for pod in found["items"] if pod.get("status", {}).get("phase") == "Running" and not has_ended(pod)]


def gateway_services(namespace: str) -> ServiceOf:
    """What the services stand for that Traefik makes of an environment's HTTPRoutes."""

    def service_of(name: str) -> Service | None:
        found = _GATEWAY_SERVICE.match(name)
        if not found or found["namespace"] != namespace:
            return None
        source = TrafficSource.PROBE if found["route"] == PROBE_ROUTE else TrafficSource.USER
        return Service(Backend(colour=Colour(found["colour"]), source=source).key)

    return service_of


def traefik(url: str) -> RouterSource:
    """Traefik's own metrics page at ``url``."""

    def read(place: EnvironmentNamespace) -> list[Scrape]:
        what = "Traefik's metrics"
        answer = _asked(url, what, {})
        try:
            return [traefik_page(answer.text, gateway_services(place.name), "router", _date(answer))]
        except ValueError as error:
            raise _no_figures(url, what, str(error)) from error

    return read


def prometheus(url: str, queries: dict[str, str], clock: Callable[[], float] = time.monotonic) -> RouterSource:
    """A Prometheus server.

    Args:
        url: its address.
        queries: ``requests``: cumulative requests by status, grouped by one label that holds the status and, so that a
            router that restarts is told from the others, by ``instance`` or ``pod`` or both.
            ``gave_up`` (may be empty): cumulative requests whose client hung up after waiting too long, or of all that
            hung up the buckets of their durations, by ``le``; grouped by the same router.
            ``started`` (may be empty): when each router started, by the same labels.
            ``{namespace}``, ``{route}`` and ``{service}`` in the first two stand for a backend.
        clock: in seconds, only goes forward.
    """
    server = _Prometheus(url, clock)
    ask = server.ask

    def read(place: EnvironmentNamespace) -> list[Scrape]:
        backends, names = [], []
        for colour in COLOURS[place.environment]:
            for source, route in ((TrafficSource.USER, USER_ROUTE), (TrafficSource.PROBE, PROBE_ROUTE)):
                backends.append(Backend(colour=colour, source=source).key)
                names.append({"namespace": place.name, "route": route, "service": place.object_name(colour)})
        # First: of a router that Prometheus has begun to scrape meanwhile, the counts are then known as well.
        started = ask(queries["started"]) if queries.get("started") else []
        with ThreadPoolExecutor(len(backends), "queries") as askers:
            scrapes = list(chain.from_iterable(askers.map(answers, backends, names)))
        return server.figures(lambda: with_starts(scrapes, started))

    def answers(backend: str, names: dict[str, str]) -> list[Scrape]:
        requests = ask(_filled(queries["requests"], names))
        query = queries.get("gave_up", "")
        gave_up = ask(_filled(query, names)) if query else []
        if query == TRAEFIK_QUERIES["gave_up"] and not gave_up and server.figures(lambda: hung_up(requests)):
            raise server.no_figures(f"clients of {backend} hung up, and no histogram says after how long")
        return server.figures(lambda: router_counts(backend, requests, gave_up))

    return read


class _Prometheus:
    """A Prometheus server, and how far its clock was."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._clock = clock
        self._lock = Lock()
        self._lead = float("-inf")
        self._set_back: tuple[float, float] | None = None

    def ask(self, query: str) -> list[Series]:
        """What it answers.

        Raises:
            TargetError: if these are no figures, or old ones.
        """
        answer = _asked(self._url, "Prometheus", {"query": query})
        try:
            body = answer.json()
        except ValueError as error:
            raise self.no_figures(_said(answer)) from error
        if not isinstance(body, dict) or not body.get("data"):
            raise self.no_figures(_said(answer))
        series = self.figures(lambda: prometheus_vector(body), f"{query}: ")
        if series:
            self._check_age(min(item.at for item in series))
        return series

    def figures(self, read: Callable[[], Result], query: str = "") -> Result:
        """What ``read`` makes of answers; raises ``TargetError`` if these are no figures."""
        try:
            return read()
        except ValueError as error:
            raise self.no_figures(f"{query}{error}") from error

    def no_figures(self, why: str) -> TargetError:
        """What to say if there are none."""
        return _no_figures(self._url, "Prometheus", why)

    def _check_age(self, at: float) -> None:
        """Its clock against ours: how far it leads never shrinks, unless an answer is an old one.

        Or its clock was set back. Then its answers go on as fast as our clock does, which those of a cache do not.
        """
        with self._lock:
            now = self._clock()
            lead = at - now
            self._lead = max(self._lead, lead)
            if self._lead - lead <= STALE_SECONDS:
                self._set_back = None
            elif self._set_back is None or abs(self._set_back[0] - lead) > STALE_SECONDS / 2:
                self._set_back = lead, now
            elif now - self._set_back[1] > STALE_SECONDS:
                self._lead = lead
            late = self._lead - lead
        if late > STALE_SECONDS:
            raise self.no_figures(f"its answer is {late:.0f} s older than one before; ask it without a cache")


def _filled(query: str, names: dict[str, str]) -> str:
    """A query for one backend; braces that are PromQL's own stay as they are, and so does whatever a name holds."""

    def name(found: re.Match[str]) -> str:
        return in_promql(names[found[1]], pattern=_IN_PATTERN.search(query[: found.start()]) is not None)

    return re.sub(rf"\{{({'|'.join(map(re.escape, names))})\}}", name, query)


_IN_PATTERN = re.compile(r'[=!]~\s*"[^"]*$')


def _date(answer: httpx.Response) -> float | None:
    """When it was answered, by the clock of whoever answered."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None


@cache
def _client() -> httpx.Client:
    """One for all, since the certificates that it reads take longer than an answer; it keeps no connection.

    Certificates may be those of ``SSL_CERT_FILE``; a proxy of the environment is not meant for what is in the cluster.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=5.0, trust_env=False, verify=httpx.create_ssl_context(), limits=limits)


def _asked(url: str, what: str, params: dict[str, str]) -> httpx.Response:
    try:
        answer = _client().get(url, params=params)
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


def router_source(settings: Settings) -> RouterSource | None:
    """The best source of the router's figures that is configured; without a Gateway there is no router to ask."""
    if settings.kubernetes_routing == "endpoints":
        return None
    if settings.kubernetes_prometheus_url:
        queries = {**TRAEFIK_QUERIES, **settings.kubernetes_prometheus_queries}
        return prometheus(settings.kubernetes_prometheus_url, queries)
    return traefik(settings.kubernetes_router_metrics_url) if settings.kubernetes_router_metrics_url else None
