"""The contract of the figures, kept by every way in which a rollout gets them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.replica_client import ReplicaClient
from banana_delivery.embedded.replicas import Replica, ReplicaSet
from banana_delivery.embedded.router.traefik import Router, service_name
from banana_delivery.embedded.router.traffic import LocalTraffic
from banana_delivery.policy.model import Colour, Environment, ImageRef, TrafficSnapshot, TrafficSource
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.kubernetes.traffic import TRAEFIK_QUERIES, RouterSource, Traffic, prometheus, traefik
from banana_delivery.targets.metrics import ROUTER_BUCKETS
from tests.contract.metrics_contract import (
    MetricsContract,
    MetricsSource,
    Process,
    http_server,
    replica_text,
    traefik_text,
)
from tests.support.kubeconfig import write_kubeconfig

PRODUCTION = Environment.PRODUCTION
TRAEFIK_BUCKETS = (0.1, 0.3, 1.2, 5.0)
"""Traefik's own choice."""
HTML = "<html>\n<h1>502</h1> upstream connect error\n</html>"
Nonsense = Callable[[int, str], tuple[int, str]]

PAGES: dict[str, Nonsense] = {
    "HTTP error": lambda _status, _text: (503, "no server\navailable"),
    "HTTP error without a text": lambda _status, _text: (500, ""),
    "empty": lambda _status, _text: (200, ""),
    "HTML": lambda _status, _text: (200, HTML),
    "NaN": lambda status, text: (status, re.sub(r"(_total\{.*\}) [0-9.e+]+", r"\1 NaN", text)),
}
"""What is no page of metrics."""


class EmbeddedSource(MetricsSource):
    """The local Traefik with its file provider, and replicas under supervisord."""

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__()
        port = stack.enter_context(http_server(self._answer, lambda: self.world.now))
        self._traffic = LocalTraffic(Router(LocalPaths(tmp_path), port), _Client(self), clock=lambda: self.world.now)

    def snapshot(self) -> TrafficSnapshot:
        return self._traffic.snapshot(PRODUCTION, [self._set(colour) for colour in ("blue", "green")], at=0.0)

    def nonsenses(self) -> dict[str, Nonsense]:
        return PAGES

    def page(self, number: int) -> str:
        return replica_text(self.world.replicas[number])

    def _set(self, colour: str) -> ReplicaSet:
        image = ImageRef(repository="r", digest="sha256:" + "a" * 64, version="1", key="1")
        found = [
            Replica(name=item.name, port=number + 1)
            for number, item in enumerate(self.world.replicas)
            if item.colour == colour
        ]
        return ReplicaSet(
            environment=PRODUCTION, colour=Colour(colour), image=image, directory=Path(), replicas=tuple(found)
        )

    def _answer(self, path: str) -> tuple[int, str]:
        del path
        if self.blind:
            return 502, ""
        text = traefik_text(
            self.world.routers[0], lambda colour, source: f"{service_name(colour, source)}@file", ROUTER_BUCKETS
        )
        return self.nonsense(200, text) if self.nonsense else (200, text)


class _Client(ReplicaClient):
    def __init__(self, source: EmbeddedSource) -> None:
        super().__init__()
        self._source = source

    def metrics(self, *ports: int, digest: str) -> str | None:
        (port,) = ports
        return self._source.page(port - 1)


class ClusterSource(MetricsSource):
    """A cluster's API with the pages of its pods, and a router's figures beside it."""

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        super().__init__()
        port = stack.enter_context(http_server(self._answer, lambda: self.world.now))
        url = f"http://127.0.0.1:{port}"
        kubeconfig = str(write_kubeconfig(tmp_path / "kubeconfig", {"here": url}))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setenv("KUBECONFIG", kubeconfig)
        patched.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        place = EnvironmentNamespace(PRODUCTION, "production")
        self._traffic = Traffic(KubernetesApi(), place, self.router(url), clock=lambda: self.world.now)

    def snapshot(self) -> TrafficSnapshot:
        return self._traffic.snapshot()

    def router(self, url: str) -> RouterSource | None:
        raise NotImplementedError

    def nonsenses(self) -> dict[str, Nonsense]:
        return PAGES

    def routed(self, path: str) -> tuple[int, str]:
        """What the router's figures come from."""
        raise NotImplementedError

    def pod_page(self, replica: Process) -> tuple[int, str]:
        return 200, replica_text(replica)

    def _answer(self, path: str) -> tuple[int, str]:
        if path.startswith("/api/v1/namespaces/production/pods?"):
            return 200, json.dumps({"items": [_pod(replica) for replica in self.world.replicas]})
        for replica in self.world.replicas:
            if path.startswith(f"/api/v1/namespaces/production/pods/{replica.name}:8000/"):
                return self.pod_page(replica)
        return self.routed(path)


def _pod(replica: Process) -> Json:
    return {
        "metadata": {
            "name": replica.name,
            "uid": f"uid-{replica.name}",
            "labels": {"banana-delivery/colour": replica.colour.value},
        },
        "spec": {"containers": [{"name": "api", "ports": [{"containerPort": 8000}]}]},
        "status": {"phase": "Running"},
    }


def gateway_text(router: Process) -> str:
    def name(colour: Colour, source: TrafficSource) -> str:
        route = "banana-api-probe" if source is TrafficSource.PROBE else "banana-api"
        return (
            f"httproute-production-{route}-gw-production-banana-ep-web-0-77d7bff9afa8-svc-production-banana-api-"
            f"{colour}-80@kubernetesgateway"
        )

    return traefik_text(router, name, TRAEFIK_BUCKETS)


class TraefikSource(ClusterSource):
    """The metrics page of a cluster's one Traefik."""

    def router(self, url: str) -> RouterSource:
        return traefik(f"{url}/metrics")

    def routed(self, path: str) -> tuple[int, str]:
        assert path == "/metrics"
        if self.blind:
            return 502, "Bad Gateway"
        text = gateway_text(self.world.routers[0])
        return self.nonsense(200, text) if self.nonsense else (200, text)


class PrometheusSource(ClusterSource):
    """A Prometheus that scrapes two Traefik pods and knows as much PromQL as the queries need."""

    routers: ClassVar[int] = 2
    queries: ClassVar[dict[str, str]] = TRAEFIK_QUERIES

    def router(self, url: str) -> RouterSource:
        return prometheus(url, self.queries, clock=lambda: self.world.now)

    def nonsenses(self) -> dict[str, Nonsense]:
        def data(**changes: object) -> Nonsense:
            def changed(status: int, text: str) -> tuple[int, str]:
                answer = json.loads(text)
                return status, json.dumps({**answer, "data": {**answer["data"], **changes}})

            return changed

        def values(change: Callable[[list[object]], list[object]]) -> Nonsense:
            def changed(status: int, text: str) -> tuple[int, str]:
                answer = json.loads(text)
                for series in answer["data"]["result"]:
                    series["value"] = change(series["value"])
                return status, json.dumps(answer)

            return changed

        refused = {"status": "error", "errorType": "timeout", "error": "query timed out\nin expression evaluation"}
        return {
            "HTTP error": PAGES["HTTP error"],
            "HTTP error without a text": PAGES["HTTP error without a text"],
            "empty": PAGES["empty"],
            "HTML": PAGES["HTML"],
            "refused": lambda _status, _text: (503, json.dumps(refused)),
            "null": lambda _status, _text: (200, "null"),
            "no data": lambda _status, _text: (200, '{"status": "success"}'),
            "no result": data(result=None),
            "scalar": data(resultType="scalar", result=[self.world.now, "5"]),
            "string": data(resultType="string", result=[self.world.now, "five"]),
            "matrix": data(resultType="matrix"),
            "NaN": values(lambda value: [value[0], "NaN"]),
            "infinite": values(lambda value: [value[0], "+Inf"]),
            "negative": values(lambda value: [value[0], "-1"]),
            "missing": values(lambda value: value[:1]),
            "stale": values(lambda value: [float(str(value[0])) - 60, value[1]]),
        }

    def routed(self, path: str) -> tuple[int, str]:
        (query,) = parse_qs(urlsplit(path).query)["query"]
        series = [] if self.blind else self._evaluate(query)
        result = [{"metric": dict(labels), "value": [self.world.now, str(value)]} for labels, value in series]
        text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})
        return self.nonsense(200, text) if self.nonsense else (200, text)

    def _evaluate(self, query: str) -> list[tuple[tuple[tuple[str, str], ...], float]]:
        found = re.fullmatch(r"(?:sum|max) by \((.+?)\) \((\w+)(?:\{(.*)\})?( and on \(job, instance\) \w+)?\)", query)
        assert found, query
        by, name, matchers, _ = found.groups()
        sums: Counter[tuple[tuple[str, str], ...]] = Counter()
        for sample in self._samples():
            wanted = re.findall(r'(\w+)(=~?)"([^"]*)"', matchers or "")
            if sample.name == name and all(
                (re.fullmatch if kind == "=~" else str.__eq__)(value, sample.labels.get(label, ""))
                for label, kind, value in wanted
            ):
                group = tuple((label, sample.labels[label]) for label in by.split(", ") if label in sample.labels)
                sums[group] += sample.value  # type: ignore[assignment]
        return list(sums.items())

    def _samples(self) -> Iterator[Sample]:
        for router in self.world.routers:
            scraped = {"instance": router.name, "job": "traefik", "pod": f"traefik-{router.name}"}
            for family in text_string_to_metric_families(gateway_text(router)):
                for sample in family.samples:
                    yield sample._replace(labels={**sample.labels, **scraped})


class ReplicasSource(ClusterSource):
    """The replicas' own figures, where there is no router to ask; nobody there knows who hung up, or when."""

    tells_who_hung_up: ClassVar[bool] = False

    def router(self, url: str) -> None:
        del url

    def nonsenses(self) -> dict[str, Nonsense]:
        # A pod that answers with an error is one that does not answer: it may be on its way up or down.
        return {name: nonsense for name, nonsense in PAGES.items() if not name.startswith("HTTP error")}

    def pod_page(self, replica: Process) -> tuple[int, str]:
        if self.blind:
            return 503, ""
        status, text = super().pod_page(replica)
        return self.nonsense(status, text) if self.nonsense else (status, text)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class TestEmbedded(MetricsContract):
    @pytest.fixture
    def source(self, stack: ExitStack, tmp_path: Path) -> MetricsSource:
        return EmbeddedSource(stack, tmp_path)


class TestTraefik(MetricsContract):
    @pytest.fixture
    def source(self, stack: ExitStack, tmp_path: Path) -> MetricsSource:
        return TraefikSource(stack, tmp_path)


class TestPrometheus(MetricsContract):
    @pytest.fixture
    def source(self, stack: ExitStack, tmp_path: Path) -> MetricsSource:
        return PrometheusSource(stack, tmp_path)


class TestReplicas(MetricsContract):
    @pytest.fixture
    def source(self, stack: ExitStack, tmp_path: Path) -> MetricsSource:
        return ReplicasSource(stack, tmp_path)
