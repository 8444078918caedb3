"""What Traefik's page of counters means in the project's own classes."""

from __future__ import annotations

import pytest

from banana_delivery.embedded.router_counters import (
    BUCKETS,
    GAVE_UP_AFTER_SECONDS,
    ServiceCounts,
    count_services,
    counters,
)
from banana_delivery.policy.model import Counters
from banana_delivery.policy.rollout.counters import delta

PAGE = """
# HELP traefik_config_reloads_total Config reloads
# TYPE traefik_config_reloads_total counter
traefik_config_reloads_total 4
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
traefik_service_request_duration_seconds_bucket{code="200",method="POST",service="blue-user@file",le="1"} 93
traefik_service_request_duration_seconds_bucket{code="499",method="POST",service="blue-user@file",le="0.5"} 1
traefik_service_request_duration_seconds_bucket{code="499",method="POST",service="blue-user@file",le="1"} 3
traefik_service_request_duration_seconds_bucket{code="499",method="POST",service="blue-user@file",le="+Inf"} 5
"""


def counted(lost: int = 0, left_early: int = 0, **codes: int) -> Counters:
    """The counters of a service, by codes such as ``c200``."""
    service = ServiceCounts(by_code={code[1:]: count for code, count in codes.items()}, left_early=left_early)
    return counters(service, ServiceCounts(by_code={"502": lost}))


def test_a_page_is_read_service_by_service() -> None:
    services = count_services(PAGE)

    blue = counters(services["blue-user@file"], services["blue-user-lost@file"])

    # 100 answered, 2 lost, 2 that gave up; 3 left early, and 10 of the 12 tries without a connection were made good.
    assert blue.requests == 104
    assert blue.failures == {"5xx": 0, "connection": 2, "timeout": 0, "gave_up": 2}
    assert blue.retries == 12
    assert counters(services["green-user@file"], ServiceCounts()).requests == 1


@pytest.mark.parametrize(("code", "kind"), [("c500", "5xx"), ("c501", "5xx"), ("c505", "5xx"), ("c504", "timeout")])
def test_an_answer_of_the_server_class_is_a_failure(code: str, kind: str) -> None:
    found = counted(c200=3, **{code: 2})

    assert (found.requests, found.failed, found.failures[kind]) == (5, 2, 2)


@pytest.mark.parametrize("code", ["c200", "c302", "c413", "c415", "c422"])
def test_a_clients_own_mistake_is_an_answer(code: str) -> None:
    found = counted(**{code: 2})

    assert (found.requests, found.failed) == (2, 0)


def test_being_turned_away_is_counted_apart_from_failures() -> None:
    found = counted(c200=1, c503=4)

    assert (found.requests, found.overloads, found.failed) == (5, 4, 0)


def test_a_client_that_left_early_is_not_counted_at_all() -> None:
    assert counted(c499=3, left_early=3).requests == 0


def test_tries_that_were_made_good_are_no_requests() -> None:
    found = counted(c200=10, c502=6, lost=0)

    assert (found.requests, found.failed, found.retries) == (10, 0, 6)


def test_no_count_falls_between_the_last_try_and_the_page_for_the_lost() -> None:
    before, after = counted(c200=10, c502=15, lost=0), counted(c200=10, c502=15, lost=1)

    assert delta(after, before).failures["connection"] == 1
    assert delta(after, before).requests == 1


def test_every_class_is_named_even_before_the_first_request() -> None:
    assert set(counted().failures) == {"5xx", "connection", "timeout", "gave_up"}


def test_the_patience_of_clients_is_an_edge_that_traefik_keeps() -> None:
    assert GAVE_UP_AFTER_SECONDS in BUCKETS


def test_a_page_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        count_services("<html>Not found</html>")
