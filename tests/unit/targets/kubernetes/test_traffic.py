"""Where a cluster's figures come from, asked over real HTTP."""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Counters, Environment
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.kubernetes.target import kubernetes_target
from banana_delivery.targets.kubernetes.traffic import TRAEFIK_QUERIES, RouterSource, Traffic, prometheus, traefik
from banana_delivery.targets.meter import Meter
from tests.support.clock import HandClock
from tests.support.kubeconfig import write_kubeconfig

PRODUCTION = EnvironmentNamespace(Environment.PRODUCTION, "production")
SERVICE = "httproute-production-{route}-gw-production-banana-ep-web-0-77d7bff9afa8-svc-production-{backend}-1@x"
BLUE = SERVICE.format(route="banana-api", backend="banana-api-blue")
GREEN = SERVICE.format(route="banana-api", backend="banana-api-green")
PROBE = SERVICE.format(route="banana-api-probe", backend="banana-api-green")
STARTED = """
process_start_time_seconds{job="traefik",instance="a"} 1435700000
traefik_config_reloads_total{job="traefik",instance="a"} 4
"""
TRAEFIK = f"""
traefik_service_requests_total{{code="200",method="POST",service="{BLUE}"}} 900
traefik_service_requests_total{{code="200",method="POST",service="{GREEN}"}} 40
traefik_service_requests_total{{code="200",method="GET",service="{GREEN}"}} 2
traefik_service_requests_total{{code="500",method="POST",service="{GREEN}"}} 5
traefik_service_requests_total{{code="504",method="POST",service="{GREEN}"}} 6
traefik_service_requests_total{{code="499",method="POST",service="{GREEN}"}} 7
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{GREEN}",le="1"}} 1
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{GREEN}",le="5"}} 4
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{GREEN}",le="+Inf"}} 7
traefik_service_request_duration_seconds_count{{code="499",method="POST",service="{GREEN}"}} 7
traefik_service_requests_total{{code="502",method="POST",service="{PROBE}"}} 3
traefik_service_requests_total{{code="200",method="POST",service="{GREEN.replace("production", "elsewhere")}"}} 5000
traefik_service_requests_total{{code="200",method="GET",service="dashboard@internal"}} 5000
"""
POD = """
banana_requests_total{route="/predict",status="200",traffic="user"} 10.0
banana_model_info{colour="green",digest="sha256:aa",environment="production",version="7"} 1.0
"""
RUNNING: Json = {
    "metadata": {"name": "one", "uid": "u1", "labels": {"banana-delivery/colour": "green"}},
    "spec": {"containers": [{"name": "api", "ports": [{"containerPort": 8000}]}]},
    "status": {"phase": "Running"},
}
PAGE = re.compile(r"/api/v1/namespaces/production/pods/(?P<pod>\w+):(?P<port>\d+)/proxy/metrics")
SUM = re.compile(r"sum(?: by \((\w+(?:, \w+)*)\) )?\((\w+)\{([^}]*)\}\)")


@dataclass
class Servers:
    """Prometheus, Traefik's metrics page and the Kubernetes API, behind one address.

    Attributes:
        url: where they are.
        page: what Traefik shows, and Prometheus has scraped.
        broken: a status and a text with which everything is answered instead.
        queries: what Prometheus was asked.
        pods: those of production.
        pod_page: what each of them shows.
        pod_port: and on which port.
        ports: those on which pods were asked.
        before_a_page: what happens before a pod's page is answered.
        before_a_query: the same for Prometheus.
        at: when Prometheus works its answers out.
        warnings: what Prometheus says beside its answers.
        refused: what is said to whoever asks for a pod's page without the right to.
    """

    url: str = ""
    page: str = TRAEFIK
    broken: tuple[int, str] | None = None
    queries: list[str] = field(default_factory=list)
    pods: Sequence[Json] = (RUNNING,)
    pod_page: str = POD
    pod_port: int = 8000
    ports: list[int] = field(default_factory=list)
    before_a_page: Callable[[], object] = bool
    before_a_query: Callable[[], object] = bool
    at: float = 1435781451.781
    warnings: object = None
    refused: str = ""

    def answer(self, path: str) -> tuple[int, str]:
        asked = urlsplit(path)
        if self.broken:
            return self.broken
        if asked.path == "/api/v1/query":
            (query,) = parse_qs(asked.query)["query"]
            self.queries.append(query)
            self.before_a_query()
            return self._vector(query)
        if found := PAGE.fullmatch(asked.path):
            self.before_a_page()
            if self.refused:
                return 403, self.refused
            self.ports.append(int(found["port"]))
            known = [(pod["metadata"]["name"], self.pod_port) for pod in self.pods]
            return (200, self.pod_page) if (found["pod"], int(found["port"])) in known else (503, "{}")
        pages = {
            "/metrics": self.page,
            "/api/v1/namespaces/production/pods": json.dumps({"items": list(self.pods)}),
        }
        return (200, pages[asked.path]) if asked.path in pages else (404, "{}")

    def _vector(self, query: str) -> tuple[int, str]:
        """Sums, differences of sums and the start of routers are all the PromQL it knows."""
        if query == TRAEFIK_QUERIES["started"]:
            return self._starts()
        terms = SUM.findall(query)
        if not terms:
            error = 'invalid parameter "query": 1:3: parse error: unexpected end of input'
            return 400, json.dumps({"status": "error", "errorType": "bad_data", "error": error})
        by = terms[0][0].split(", ")
        first, *others = (self._sums(by, *term[1:]) for term in terms)
        for other in others:
            first = {key: first[key] - other[key] for key in first.keys() & other.keys()}
        series = [(dict(key), value) for key, value in first.items()]
        return self._answer([(labels, str(value)) for labels, value in series])

    def _answer(self, series: Sequence[tuple[dict[str, str], str]]) -> tuple[int, str]:
        result = [{"metric": labels, "value": [self.at, value]} for labels, value in series]
        said = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return 200, json.dumps(said if self.warnings is None else {**said, "warnings": self.warnings})

    def _sums(self, by: Sequence[str], name: str, matchers: str) -> dict[tuple[tuple[str, str], ...], int]:
        found: Counter[tuple[tuple[str, str], ...]] = Counter()
        for sample in self._samples():
            if sample.name == name and all(
                (re.fullmatch if kind == "=~" else str.__eq__)(value, sample.labels.get(label, ""))
                for label, kind, value in re.findall(r'(\w+)(=~?)"([^"]*)"', matchers)
            ):
                found[tuple((label, sample.labels[label]) for label in by if label in sample.labels)] += int(
                    sample.value
                )
        return dict(found)

    def _starts(self) -> tuple[int, str]:
        wanted = [item for item in self._samples() if item.name == "process_start_time_seconds"]
        return self._answer([({"instance": item.labels["instance"]}, str(item.value)) for item in wanted])

    def _samples(self) -> Iterator[Sample]:
        for family in text_string_to_metric_families(self.page):
            yield from family.samples


@contextmanager
def serving(servers: Servers) -> Iterator[Servers]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = servers.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.url = f"http://127.0.0.1:{server.server_port}"
        yield servers
        server.shutdown()


@pytest.fixture
def servers() -> Iterator[Servers]:
    with serving(Servers()) as opened:
        yield opened


@pytest.fixture
def api(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubernetesApi:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", {"here": servers.url})))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return KubernetesApi()


def measured(source: RouterSource, meter: Meter | None = None) -> dict[str, Counters]:
    meter = meter or Meter()
    meter.take(source(PRODUCTION), time.monotonic())
    return meter.snapshot(0.0, {}).backends


def test_prometheus_tells_what_each_colour_answered_users_and_the_probe(servers: Servers) -> None:
    seen = measured(prometheus(servers.url, TRAEFIK_QUERIES))
    assert {key: counters.requests for key, counters in seen.items()} == {
        "blue/user": 900,
        "green/user": 40 + 2 + 5 + 6 + 6,
        "green/probe": 3,
    }
    assert seen["green/user"].failures == {"5xx": 5, "connection": 0, "timeout": 6, "gave_up": 6}
    assert seen["green/probe"].failures["connection"] == 3


def test_prometheus_and_the_page_that_it_scrapes_say_the_same(servers: Servers) -> None:
    assert measured(prometheus(servers.url, TRAEFIK_QUERIES)) == measured(traefik(f"{servers.url}/metrics"))


def test_a_query_is_asked_for_each_backend_with_its_names_filled_in(servers: Servers) -> None:
    query = 'sum by (code) (answers{n="{namespace}",r="{route}",s="{service}"})'
    measured(prometheus(servers.url + "/", {"requests": query, "gave_up": ""}))
    assert Counter(servers.queries) == Counter(
        f'sum by (code) (answers{{n="production",r="{route}",s="{service}"}})'
        for service in ("banana-api-blue", "banana-api-green")
        for route in ("banana-api", "banana-api-probe")
    )


def test_what_prometheus_has_not_seen_yet_counts_nothing_and_later_as_a_whole(servers: Servers) -> None:
    meter, source = Meter(), prometheus(servers.url, TRAEFIK_QUERIES)
    servers.page = STARTED
    assert measured(source, meter) == {}
    servers.page = STARTED + TRAEFIK.replace("{code", '{job="traefik",instance="a",code')
    assert measured(source, meter)["blue/user"].requests == 900


def test_an_empty_answer_at_the_first_poll_makes_no_history_new(servers: Servers) -> None:
    meter, source = Meter(), prometheus(servers.url, TRAEFIK_QUERIES)
    servers.page = ""
    assert measured(source, meter) == {}
    for page in (TRAEFIK, TRAEFIK.replace("} 900", "} 903")):
        servers.page = STARTED + page.replace("{code", '{job="traefik",instance="a",code')
        seen = measured(source, meter)
    assert (seen["blue/user"].requests, seen["green/user"].failed) == (3, 0)


def test_a_look_without_a_series_forgets_nothing(servers: Servers) -> None:
    meter, source = Meter(), prometheus(servers.url, TRAEFIK_QUERIES)
    before = measured(source, meter)
    servers.page = ""
    assert measured(source, meter) == before
    servers.page = TRAEFIK.replace(" 900", " 950")
    assert measured(source, meter)["blue/user"].requests == 950


@pytest.mark.parametrize("warnings", [["a store is away"], "a store is away", ["PromQL info: x", "a store is away"]])
def test_an_answer_that_lacks_what_a_store_knows_is_none(servers: Servers, warnings: object) -> None:
    servers.page, servers.warnings = TRAEFIK.replace(" 900", " 10"), warnings
    with pytest.raises(TargetError, match="it warns, so its answer may be a part: a store is away"):
        measured(prometheus(servers.url, TRAEFIK_QUERIES))


@pytest.mark.parametrize("warnings", [None, [], ["PromQL info: metric might not be a counter"]])
def test_a_remark_on_how_a_query_is_written_takes_no_figures_away(servers: Servers, warnings: object) -> None:
    servers.warnings = warnings
    assert measured(prometheus(servers.url, TRAEFIK_QUERIES))


def test_a_query_that_prometheus_refuses_is_told_in_its_own_words(servers: Servers) -> None:
    with pytest.raises(TargetError) as raised:
        measured(prometheus(servers.url, {"requests": "sum("}))
    assert str(raised.value) == (
        f'Prometheus at {servers.url}/api/v1/query gave no figures (400 Bad Request: invalid parameter "query": 1:3: '
        "parse error: unexpected end of input); a release without figures is not judged. "
        "Bring it back, or set another source (docs/kubernetes.md)."
    )


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ((503, "upstream connect error\n"), "503 Service Unavailable: upstream connect error"),
        ((302, ""), "302 Found"),
        ((200, "<html>Sign in</html>"), "200 OK: <html>Sign in</html>"),
        ((200, '{"message": "no such tenant"}'), '200 OK: {"message": "no such tenant"}'),
    ],
)
def test_whatever_else_answers_there_is_one_sentence_with_the_url(
    servers: Servers, broken: tuple[int, str], why: str
) -> None:
    servers.broken = broken
    with pytest.raises(TargetError) as raised:
        measured(prometheus(servers.url, TRAEFIK_QUERIES))
    assert f"Prometheus at {servers.url}/api/v1/query gave no figures ({why}); a release" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nobody_at_the_address_is_one_sentence_with_the_url() -> None:
    with serving(Servers()) as gone:
        url = gone.url
    with pytest.raises(TargetError, match=rf"Traefik's metrics at {url}/metrics gave no figures \(.*refused.*\);"):
        measured(traefik(f"{url}/metrics"))


def test_a_restart_that_a_sum_over_routers_hides_makes_no_history_new(servers: Servers) -> None:
    own = {"requests": TRAEFIK_QUERIES["requests"].replace("code, pod, instance", "code"), "gave_up": ""}
    meter, source = Meter(), prometheus(servers.url, own)
    before = measured(source, meter)
    servers.page = TRAEFIK.replace("} 900", "} 450")
    assert measured(source, meter) == before
    servers.page = TRAEFIK.replace("} 900", "} 452")
    assert measured(source, meter)["blue/user"].requests == 902


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_asked_for_figures(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    for source in (prometheus(servers.url, TRAEFIK_QUERIES), traefik(f"{servers.url}/metrics")):
        assert measured(source)["blue/user"].requests == 900


def test_a_query_that_groups_by_two_labels_is_refused_since_nobody_knows_which_is_the_status(servers: Servers) -> None:
    two = {"code": "200", "method": "GET"}
    vector = {"resultType": "vector", "result": [{"metric": two, "value": [1435781451.781, "1"]}]}
    servers.broken = (200, json.dumps({"status": "success", "data": vector}))
    with pytest.raises(TargetError, match="grouped by code, method, and the status must be its only label"):
        measured(prometheus(servers.url, TRAEFIK_QUERIES))


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("routing", "configured", "requests"),
    [
        ("gateway", ("prometheus_url", "router_metrics_url"), 31),
        ("gateway", ("router_metrics_url",), 21),
        ("gateway", (), 10),
        ("endpoints", ("prometheus_url", "router_metrics_url"), 10),
    ],
    ids=["prometheus first", "then traefik's page", "then the pods", "the pods where there is no gateway"],
)
def test_the_best_source_that_is_configured_counts(
    servers: Servers, routing: str, configured: tuple[str, ...], requests: int
) -> None:
    count = f'traefik_service_requests_total{{code="200",service="{GREEN}"}}'
    servers.page = f"{count} 21\n"
    with serving(Servers(page=f"{count} 31\n")) as other:
        urls = {"prometheus_url": other.url, "router_metrics_url": f"{servers.url}/metrics"}
        settings = Settings.model_validate(
            {
                "kubernetes_routing": routing,
                **{f"kubernetes_{name}": url for name, url in urls.items() if name in configured},
            }
        )
        seen = kubernetes_target(settings).traffic(Environment.PRODUCTION)
    assert seen.backends["green/user"].requests == requests
    assert seen.digests == {"green": "sha256:aa"}


def test_pods_are_asked_together_so_that_none_keeps_the_others_waiting(servers: Servers, api: KubernetesApi) -> None:
    servers.pods = [a_pod("one"), a_pod("two")]
    together = threading.Barrier(len(servers.pods))
    servers.before_a_page = lambda: together.wait(timeout=30)
    assert Traffic(api, PRODUCTION, None).snapshot().backends["green/user"].requests == 20


def test_a_pod_that_takes_its_time_is_left_out_of_a_look_and_counted_in_the_next(
    servers: Servers, api: KubernetesApi
) -> None:
    traffic, awake = Traffic(api, PRODUCTION, None), threading.Event()
    servers.before_a_page = lambda: awake.wait(timeout=30)
    servers.pods = []
    assert traffic.snapshot().backends == {}
    servers.pods = [RUNNING]
    assert traffic.snapshot().backends == {}
    awake.set()
    assert traffic.snapshot().backends["green/user"].requests == 10


def test_what_a_pod_had_counted_that_was_there_at_the_first_poll_and_did_not_answer_is_history(
    servers: Servers, api: KubernetesApi
) -> None:
    traffic, awake = Traffic(api, PRODUCTION, None), threading.Event()
    servers.before_a_page = lambda: awake.wait(timeout=30)
    assert traffic.snapshot().backends == {}
    awake.set()
    assert traffic.snapshot().backends["green/user"].requests == 0
    servers.pod_page = POD.replace(" 10.0", " 14.0")
    assert traffic.snapshot().backends["green/user"].requests == 4


def test_backends_are_asked_for_together_so_that_a_slow_prometheus_delays_a_look_only_once(servers: Servers) -> None:
    together = threading.Barrier(4)
    servers.before_a_query = lambda: together.wait(timeout=30)
    assert measured(prometheus(servers.url, {"requests": TRAEFIK_QUERIES["requests"]}))["blue/user"].requests == 900


def test_pages_that_may_not_be_read_are_no_silence(servers: Servers, api: KubernetesApi) -> None:
    servers.refused = json.dumps({"message": 'cannot get resource "pods/proxy"'})
    with pytest.raises(TargetError, match=r"403.*pods/proxy.*Grant the verb"):
        Traffic(api, PRODUCTION, None).snapshot()


PORTS = [{"name": "http", "containerPort": 8000}, {"name": "internal", "containerPort": 9000}]


@pytest.mark.parametrize(
    ("ports", "shows", "asked"),
    [
        (PORTS, 9000, [9000, 9000]),
        (PORTS[::-1], 9000, [9000, 9000]),
        (PORTS, 8000, [9000, 8000, 8000]),
        (PORTS[::-1], 8000, [9000, 8000, 8000]),
        (PORTS[:1], 8000, [8000, 8000]),
        ([{"containerPort": 8000}], 8000, [8000, 8000]),
        ([{"containerPort": 8000}, {"containerPort": 8100}], 8000, [8000, 8000]),
        ([{"name": "web", "containerPort": 8000}, PORTS[1]], 8000, [9000, 8000, 8000]),
    ],
)
def test_a_pod_is_read_on_its_internal_port_and_an_image_from_before_there_was_one_where_it_answers_users(
    servers: Servers, api: KubernetesApi, ports: list[Json], shows: int, asked: list[int]
) -> None:
    pod = a_pod("one")
    pod["spec"]["containers"][0]["ports"] = ports
    servers.pods, servers.pod_port = [pod], shows
    traffic = Traffic(api, PRODUCTION, None)

    assert traffic.snapshot().backends["green/user"].requests == 10
    servers.pod_page = POD.replace(" 10.0", " 14.0")

    assert traffic.snapshot().backends["green/user"].requests == 14
    assert servers.ports == asked


def test_a_pod_that_shows_nothing_yet_is_asked_on_both_ports_again(servers: Servers, api: KubernetesApi) -> None:
    pod = a_pod("one")
    pod["spec"]["containers"][0]["ports"] = PORTS
    servers.pods, servers.pod_port = [pod], 0
    traffic = Traffic(api, PRODUCTION, None)
    assert traffic.snapshot().digests == {}

    servers.pod_port = 9000

    assert traffic.snapshot().digests == {"green": "sha256:aa"}
    servers.pod_page = "nonsense"
    with pytest.raises(TargetError, match=r"pod production/one cannot be read .* on port 9000"):
        traffic.snapshot()


def test_a_pod_that_has_ended_is_not_asked(servers: Servers, api: KubernetesApi) -> None:
    asked: list[object] = []
    servers.before_a_page = lambda: asked.append(1)
    servers.pods = [a_pod("one", deletionTimestamp="now", state={"terminated": {"exitCode": 0}})]
    assert Traffic(api, PRODUCTION, None).snapshot().backends == {}
    assert asked == []


def a_pod(name: str, state: Json | None = None, **metadata: str) -> Json:
    pod = copy.deepcopy(RUNNING)
    pod["metadata"].update(name=name, uid=name, **metadata)
    pod["status"]["containerStatuses"] = [{"name": "api", "state": state or {"running": {}}}]
    return pod


def test_prometheus_whose_clock_is_set_back_gives_figures_again_and_a_cache_that_is_stuck_does_not(
    servers: Servers,
) -> None:
    clock = HandClock()
    source = prometheus(servers.url, TRAEFIK_QUERIES, clock.monotonic)

    def gives_figures(seconds: float, *, goes_on: bool) -> bool:
        clock.now += seconds
        servers.at += seconds if goes_on else 0.0
        try:
            return bool(measured(source))
        except TargetError as error:
            assert "ask it without a cache" in str(error)
            return False

    assert gives_figures(0, goes_on=True)
    stuck = [gives_figures(1, goes_on=False) for _ in range(60)]
    assert (stuck[:15], any(stuck[15:])) == ([True] * 15, False)
    servers.at += 60
    assert gives_figures(1, goes_on=True)

    servers.at -= 3600
    set_back = [gives_figures(5, goes_on=True) for _ in range(6)]

    assert set_back == [False, False, False, False, True, True]
