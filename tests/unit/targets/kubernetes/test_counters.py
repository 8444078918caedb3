"""From metrics pages to counters that never fall."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.model import Colour, Counters, TrafficSource
from banana_delivery.targets.kubernetes.counters import Meter, Sample, digest_of, pod_samples, traefik_samples

SERVICE = "httproute-production-{route}-gw-production-banana-ep-web-0-77d7bff9afa8-svc-production-{backend}-1@x"
USER = SERVICE.format(route="banana-api", backend="banana-api-green")
PROBE = SERVICE.format(route="banana-api-probe", backend="banana-api-blue")
TRAEFIK = f"""
# TYPE traefik_service_requests_total counter
traefik_service_requests_total{{code="200",method="POST",protocol="http",service="{USER}"}} 40
traefik_service_requests_total{{code="502",method="POST",protocol="http",service="{USER}"}} 1
traefik_service_requests_total{{code="504",method="POST",protocol="http",service="{USER}"}} 2
traefik_service_requests_total{{code="499",method="POST",protocol="http",service="{USER}"}} 7
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{USER}",le="1"}} 1
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{USER}",le="5"}} 4
traefik_service_request_duration_seconds_bucket{{code="499",method="POST",service="{USER}",le="+Inf"}} 7
traefik_service_requests_total{{code="500",method="POST",protocol="http",service="{PROBE}"}} 3
traefik_service_requests_total{{code="200",service="{USER.replace("production", "elsewhere")}"}} 1000
traefik_service_requests_total{{code="200",service="dashboard@internal"}} 1000
"""
POD = """
banana_requests_total{route="/predict",status="200",traffic="user"} 9.0
banana_requests_total{route="/predict",status="503",traffic="user"} 2.0
banana_requests_total{route="/health",status="200",traffic="user"} 500.0
banana_overload_total{traffic="user"} 2.0
banana_request_duration_seconds_bucket{le="1.0",route="/predict",traffic="user"} 8.0
banana_request_duration_seconds_bucket{le="+Inf",route="/predict",traffic="user"} 11.0
banana_model_info{colour="green",digest="sha256:aa",environment="production",version="7"} 1.0
"""


def measured(*scrapes: Iterable[Sample], meter: Meter | None = None) -> dict[str, Counters]:
    meter = meter or Meter()
    for scrape in scrapes:
        meter.take(scrape)
    return meter.snapshot(0.0, {}).backends


def test_traefiks_answers_are_told_apart_by_colour_and_by_who_asked() -> None:
    seen = measured(traefik_samples(TRAEFIK, "production"))

    assert set(seen) == {"green/user", "blue/probe"}
    assert seen["blue/probe"].failures["5xx"] == 3
    assert seen["green/user"].failures == {"5xx": 0, "connection": 1, "timeout": 2, "gave_up": 3}


def test_a_client_that_left_early_does_not_count_and_one_that_gave_up_does() -> None:
    assert measured(traefik_samples(TRAEFIK, "production"))["green/user"].requests == 40 + 1 + 2 + 3


def test_a_replica_tells_its_latency_and_the_overloads_that_the_router_takes_for_failures() -> None:
    router = Sample("green/user", "503", "r", 5)

    seen = measured([router], pod_samples(POD, "p", Colour.GREEN, router=False))["green/user"]

    assert (seen.requests, seen.overloads, seen.failures["5xx"]) == (5, 2, 3)
    assert seen.latency == {"1.0": 8, "+Inf": 11}
    assert digest_of(POD) == "sha256:aa"


def test_without_a_router_the_replicas_own_answers_count() -> None:
    seen = measured(pod_samples(POD, "p", Colour.GREEN, router=True))["green/user"]

    assert (seen.requests, seen.overloads, seen.failed) == (11, 2, 0)


def test_a_router_that_restarts_is_counted_on_from_where_it_was() -> None:
    scrapes = [[Sample("blue/user", "200", "r", count)] for count in (100, 120, 5, 9)]

    assert measured(*scrapes)["blue/user"].requests == 120 + 9


def test_a_pod_that_goes_takes_no_count_with_it() -> None:
    old, new = (pod_samples(POD, pod, Colour.GREEN, router=True) for pod in ("old", "new"))

    seen = measured(old, new)["green/user"]

    assert seen.requests == 22


def test_an_overload_that_the_router_told_of_first_is_never_taken_back() -> None:
    meter = Meter()
    before = measured([Sample("blue/user", "503", "r", 1)], meter=meter)["blue/user"]
    after = measured([Sample("blue/user", "overload", "p", 1)], meter=meter)["blue/user"]

    assert before.failures["5xx"] == after.failures["5xx"] == 1


@given(st.lists(st.tuples(st.sampled_from(["200", "503", "overload", "499", "le 1"]), st.integers(0, 50)), max_size=30))
def test_nothing_that_is_shown_ever_falls(scrapes: list[tuple[str, int]]) -> None:
    meter = Meter()
    backend = f"{Colour.BLUE}/{TrafficSource.USER}"
    last = Counters()
    for what, value in scrapes:
        now = measured([Sample(backend, what, what, value)], meter=meter)[backend]
        assert now.requests >= last.requests
        assert now.overloads >= last.overloads
        assert all(now.failures[name] >= count for name, count in last.failures.items())
        assert all(now.latency[edge] >= count for edge, count in last.latency.items())
        last = now
