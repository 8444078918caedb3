"""What the pages of routers and replicas and the answers of Prometheus mean in the project's own classes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from banana_delivery.embedded.router.traffic import file_services
from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.model import Colour, Counters, Environment
from banana_delivery.targets.kubernetes.traffic import gateway_services
from banana_delivery.targets.meter import Meter, Scrape
from banana_delivery.targets.metrics import (
    GAVE_UP_SECONDS,
    PREDICTION_ROUTES,
    ROUTER_BUCKETS,
    digest_of,
    prometheus_vector,
    replica_page,
    router_counts,
    traefik_page,
    with_starts,
)
from serving.http.predictions import ROUTES
from serving.metrics import DURATION_BUCKETS

FILE = file_services(Environment.PRODUCTION).get
PAGE = """
# HELP traefik_config_reloads_total Config reloads
# TYPE traefik_config_reloads_total counter
traefik_config_reloads_total 4
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79563950821e+09
# HELP traefik_service_requests_total How many HTTP requests processed on a service
# TYPE traefik_service_requests_total counter
traefik_service_requests_total{code="200",method="GET",protocol="http",service="blue-user@file"} 7
traefik_service_requests_total{code="200",method="POST",protocol="http",service="blue-user@file"} 93
traefik_service_requests_total{code="499",method="POST",protocol="http",service="blue-user@file"} 5
traefik_service_requests_total{code="502",method="POST",protocol="http",service="blue-user@file"} 1.2e+01
traefik_service_requests_total{code="502",method="GET",protocol="http",service="blue-user-lost@file"} 2
traefik_service_requests_total{code="200",method="POST",protocol="http",service="green-user@file"} 1
# HELP traefik_service_request_duration_seconds How long it took
# TYPE traefik_service_request_duration_seconds histogram
traefik_service_request_duration_seconds_bucket{code="200",method="POST",protocol="http",service="blue-user@file",le="1"} 93
traefik_service_request_duration_seconds_bucket{code="200",method="POST",protocol="http",service="blue-user@file",le="+Inf"} 93
traefik_service_request_duration_seconds_bucket{code="499",method="POST",protocol="http",service="blue-user@file",le="0.5"} 1
traefik_service_request_duration_seconds_bucket{code="499",method="POST",protocol="http",service="blue-user@file",le="1"} 3
traefik_service_request_duration_seconds_bucket{code="499",method="POST",protocol="http",service="blue-user@file",le="+Inf"} 5
traefik_service_request_duration_seconds_sum{code="499",method="POST",protocol="http",service="blue-user@file"} 7.25
traefik_service_request_duration_seconds_count{code="499",method="POST",protocol="http",service="blue-user@file"} 5
"""  # noqa: E501
GATEWAY = "httproute-production-{route}-gw-production-banana-ep-web-0-77d7bff9afa8-svc-production-{backend}-1@x"
USER = GATEWAY.format(route="banana-api", backend="banana-api-green")
PROBE = GATEWAY.format(route="banana-api-probe", backend="banana-api-blue")
POD = """
process_start_time_seconds 1.79563950821e+09
banana_requests_total{route="/predict",status="200",traffic="user"} 9.0
banana_requests_total{route="/predict/batch",status="200",traffic="user"} 4.0
banana_requests_total{route="/predict",status="503",traffic="user"} 2.0
banana_requests_total{route="/predict",status="499",traffic="user"} 6.0
banana_requests_total{route="/health",status="200",traffic="user"} 500.0
banana_requests_total{route="/predictions",status="200",traffic="user"} 500.0
banana_requests_total{route="/predict",status="200",traffic="none"} 500.0
banana_overload_total{traffic="user"} 2.0
banana_request_duration_seconds_bucket{le="1.0",route="/predict",traffic="user"} 8.0
banana_request_duration_seconds_bucket{le="+Inf",route="/predict",traffic="user"} 11.0
banana_request_duration_seconds_bucket{le="1.0",route="/predict/annotated",traffic="user"} 1.0
banana_request_duration_seconds_bucket{le="+Inf",route="/predict/annotated",traffic="user"} 2.0
banana_request_duration_seconds_bucket{le="+Inf",route="/predict/other",traffic="user"} 700.0
banana_request_duration_seconds_sum{route="/predict",traffic="user"} nan
banana_model_info{colour="green",digest="sha256:aa",environment="production",version="7"} 1.0
"""


def measured(*scrapes: Scrape) -> dict[str, Counters]:
    meter = Meter()
    meter.take(scrapes, 0.0)
    return meter.snapshot(0.0, {}).backends


def file_page(text: str) -> dict[str, Counters]:
    return measured(traefik_page(text, FILE, "router", None))


def line(code: str, count: int, service: str = USER, edge: str = "") -> str:
    """One line of a Traefik's page."""
    name = "request_duration_seconds_bucket" if edge else "requests_total"
    le = f',le="{edge}"' if edge else ""
    return f'traefik_service_{name}{{code="{code}",method="POST",protocol="http",service="{service}"{le}}} {count}\n'


def edges(code: str, **counts: int) -> str:
    """A histogram of one status, by edges such as ``le1_2``."""
    names = {name: name.removeprefix("le").replace("_", ".").replace("inf", "+Inf") for name in counts}
    return "".join(line(code, count, edge=names[name]) for name, count in counts.items())


def gateway_page(text: str) -> dict[str, Counters]:
    return measured(traefik_page(text, gateway_services("production"), "router", None))


def test_a_page_is_read_service_by_service() -> None:
    seen = file_page(PAGE)

    # 100 answered, 2 lost, 2 that gave up; 3 left early, and 10 of the 12 tries without a connection were made good.
    assert seen["blue/user"].requests == 104
    assert seen["blue/user"].failures == {"5xx": 0, "connection": 2, "timeout": 0, "gave_up": 2}
    assert seen["blue/user"].retries == 12
    assert seen["green/user"].requests == 1


def test_a_page_says_when_its_router_started_and_how_long_ago_that_was() -> None:
    scrape = traefik_page(PAGE, FILE, "router", now=1795639518.21)

    assert (scrape.start, scrape.age) == (1795639508.21, 10.0)


def test_traefiks_answers_are_told_apart_by_colour_and_by_who_asked() -> None:
    elsewhere = line("200", 1000, USER.replace("production", "elsewhere")) + line("200", 1000, "dashboard@internal")

    seen = gateway_page(line("200", 40) + line("504", 2) + line("500", 3, PROBE) + elsewhere)

    assert set(seen) == {"green/user", "blue/probe"}
    assert seen["blue/probe"].failures["5xx"] == 3
    assert seen["green/user"].failures == {"5xx": 0, "connection": 0, "timeout": 2, "gave_up": 0}


def test_behind_a_gateway_a_lost_connection_is_a_lost_request() -> None:
    assert gateway_page(line("502", 1))["green/user"].failures["connection"] == 1


def test_a_client_that_left_early_is_not_counted_at_all() -> None:
    page = line("499", 3) + edges("499", le1=3, leinf=3)

    assert gateway_page(page)["green/user"].requests == 0


@pytest.mark.parametrize(
    ("histogram", "gave_up"),
    [
        ({"le0_5": 1, "le1": 2, "le5": 4, "leinf": 7}, 5),
        # Traefik's own choice: the edge above the budget stands in for it.
        ({"le0_1": 1, "le0_3": 1, "le1_2": 3, "le5": 4, "leinf": 7}, 4),
        ({"le5": 4, "leinf": 7}, 3),
    ],
    ids=["the budget", "traefik's default", "the next one above"],
)
def test_a_client_gave_up_from_the_first_edge_on_that_is_not_below_the_budget(
    histogram: dict[str, int], gave_up: int
) -> None:
    seen = gateway_page(line("499", 7) + line("200", 40) + edges("499", **histogram))["green/user"]

    assert (seen.failures["gave_up"], seen.requests) == (gave_up, 40 + gave_up)


@pytest.mark.parametrize("code", ["499", "200"])
def test_edges_that_end_below_the_budget_are_no_figures_even_before_anybody_hangs_up(code: str) -> None:
    with pytest.raises(ValueError, match=r"the edges 0\.1, 0\.3, \+Inf, and none at 1 s or above .* add 1 to the"):
        gateway_page(line(code, 7) + edges(code, le0_1=1, le0_3=1, leinf=7))


def test_clients_that_hung_up_without_a_histogram_are_no_figures() -> None:
    with pytest.raises(ValueError, match="hung up, and no histogram says after how long"):
        gateway_page(line("499", 7))


def test_the_patience_of_clients_is_the_latency_budget_and_an_edge_that_is_kept_everywhere() -> None:
    assert GAVE_UP_SECONDS in ROUTER_BUCKETS
    assert GAVE_UP_SECONDS in DURATION_BUCKETS
    assert {plan.latency_budget_seconds for plan in PLANS.values()} == {GAVE_UP_SECONDS}


def test_the_routes_that_are_judged_are_those_that_predict() -> None:
    assert PREDICTION_ROUTES == ROUTES


def test_a_replica_tells_its_latency_on_the_routes_that_predict_and_its_overloads() -> None:
    router = traefik_page(line("503", 5), gateway_services("production"), "router", None)

    seen = measured(router, replica_page(POD, "p", Colour.GREEN, router=False))["green/user"]

    assert (seen.requests, seen.overloads, seen.failures["5xx"]) == (5, 2, 3)
    assert seen.latency == {"1.0": 9, "+Inf": 13}


def test_a_replica_tells_its_digest() -> None:
    assert digest_of(POD) == "sha256:aa"
    assert digest_of("banana_queue_depth 0.0\n") == ""


def test_without_a_router_the_replicas_own_answers_count() -> None:
    seen = measured(replica_page(POD, "p", Colour.GREEN, router=True))["green/user"]

    assert (seen.requests, seen.overloads, seen.failed) == (15, 2, 0)


@pytest.mark.parametrize(
    "page",
    [
        "<html>Not found</html>",
        "404 page not found\n",
        "",
        '{"status": "ok"}',
        line("200", 1).replace(" 1\n", " NaN\n"),
        line("200", 1).replace(" 1\n", " +Inf\n"),
        line("200", 1).replace(" 1\n", " -4\n"),
        f'traefik_service_requests_total{{service="{USER}"}} 3\n',
    ],
    ids=["html", "404", "empty", "json", "nan", "infinite", "negative", "no status"],
)
def test_a_page_of_something_else_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        gateway_page(page)


def vector(*series: tuple[dict[str, str], str], at: float = 1000.0) -> object:
    """What Prometheus answers."""
    result = [{"metric": labels, "value": [at, value]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def from_prometheus(requests: object, gave_up: object = None, started: object = None) -> list[Scrape]:
    seen: Iterable[Scrape] = router_counts(
        "green/user", prometheus_vector(requests), prometheus_vector(gave_up) if gave_up else None
    )
    return with_starts(seen, prometheus_vector(started) if started else [])


ONE, TWO = {"instance": "10.0.0.1:9100", "pod": "traefik-a"}, {"instance": "10.0.0.2:9100", "pod": "traefik-b"}


def test_prometheus_tells_routers_apart_and_when_each_of_them_started() -> None:
    scrapes = from_prometheus(
        vector(({"code": "200", **ONE}, "30"), ({"code": "500", **TWO}, "2")),
        vector(({"le": "1", **ONE}, "1"), ({"le": "+Inf", **ONE}, "4")),
        vector((ONE, "900"), (TWO, "990"), ({"instance": "10.0.0.3:9100"}, "999")),
    )

    assert [(item.process, item.start, item.age, len(item.samples)) for item in scrapes] == [
        ("10.0.0.1:9100 traefik-a", 900.0, 100.0, 2),
        ("10.0.0.2:9100 traefik-b", 990.0, 10.0, 1),
        ("10.0.0.3:9100", 999.0, 1.0, 0),
    ]
    assert measured(*scrapes)["green/user"].failures == {"5xx": 2, "connection": 0, "timeout": 0, "gave_up": 3}


def test_a_query_of_ones_own_that_names_no_router_is_read_as_a_sum() -> None:
    (scrape,) = from_prometheus(vector(({"response_code": "200"}, "30"), ({"response_code": "499"}, "9")))

    assert (scrape.process, scrape.start) == ("", None)
    assert measured(scrape)["green/user"].requests == 30


def test_a_query_of_ones_own_may_count_those_that_gave_up_itself() -> None:
    seen = measured(*from_prometheus(vector(({"code": "200"}, "30")), vector(({}, "3"))))

    assert seen["green/user"].failures["gave_up"] == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"data": {"resultType": "scalar", "result": [1435781451.781, "5"]}}, "it is a scalar and must be a vector"),
        ({"data": {"resultType": "string", "result": [1435781451.781, "5"]}}, "it is a string and must be a vector"),
        ({"data": {"resultType": "matrix", "result": []}}, "it is a matrix and must be a vector"),
        ({"data": {"resultType": "vector", "result": None}}, "must be a vector"),
        ({"data": {"resultType": "vector"}}, "no answer to a query"),
        ({"data": None}, "no answer to a query"),
        ([], "no answer to a query"),
        ({"data": {"result": [{"metric": {}}]}}, "a series without a value"),
        ({"data": {"result": [{"metric": {}, "value": [1.0, None]}]}}, "a series without a value"),
        ({"data": {"result": [{"metric": {}, "histogram": [1.0, {"count": "1"}]}]}}, "a series without a value"),
        ({"data": {"result": ["1"]}}, "a series without a value"),
        (vector(({"code": "200"}, "NaN")), "nan is no count"),
        (vector(({"code": "200"}, "+Inf")), "inf is no count"),
        (vector(({"code": "200"}, "-1")), "-1.0 is no count"),
        (vector(({}, "1")), "label is '' where the HTTP status must be"),
        (vector(({"method": "POST"}, "1")), "label is 'POST' where the HTTP status must be"),
        (vector(({"code": "200", "method": "GET"}, "1")), "grouped by code, method, and the status must be its only"),
    ],
)
def test_an_answer_without_figures_is_refused_and_nothing_in_it_is_zero(answer: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_prometheus(answer)
