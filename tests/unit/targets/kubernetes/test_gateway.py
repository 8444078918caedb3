"""The rules that the pipeline writes into HTTPRoutes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.kubernetes.gateway import key_in, probe_rules, token_in, user_rules, weights_in
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace

PLACE = EnvironmentNamespace(Environment.PRODUCTION, "production")


def route(rules: list[Any]) -> dict[str, Any]:
    return {"spec": {"rules": rules}}


@given(st.integers(0, 100))
def test_the_weights_that_are_written_are_the_weights_that_are_read(percent: int) -> None:
    weights = {Colour.BLUE: 100 - percent, Colour.GREEN: percent}

    assert weights_in(route(user_rules(weights, "k", "t", 10, PLACE))) == weights


def test_a_route_without_rules_gives_nobody_any_traffic() -> None:
    assert weights_in({"spec": {}}) == {Colour.BLUE: 0, Colour.GREEN: 0}
    assert token_in({"spec": {}}) == key_in({"spec": {}}) == ""


def test_weights_somebody_wrote_by_hand_are_read_as_they_are() -> None:
    by_hand = [{"backendRefs": [{"name": "banana-api-blue"}, {"name": "banana-api-green", "weight": 3}]}]

    assert weights_in(route(by_hand)) == {Colour.BLUE: 1, Colour.GREEN: 3}


def test_the_name_of_a_change_comes_back_from_the_route_that_carries_it() -> None:
    rules = user_rules({Colour.BLUE: 100}, "k", "blue100-0f3a", 10, PLACE)

    assert token_in(route(rules)) == "blue100-0f3a"
    assert key_in(route(probe_rules("s3cret", PLACE))) == "s3cret"


def test_both_kinds_of_traffic_are_named_by_the_router_whatever_the_client_says() -> None:
    said = [
        rule["filters"][0]["requestHeaderModifier"]["set"]
        for rule in (user_rules({}, "k", "t", 10, PLACE)[0], *probe_rules("k", PLACE))
    ]

    assert said == [[{"name": "X-Banana-Traffic", "value": value}] for value in ("user", "probe", "probe")]


@pytest.mark.parametrize(("seconds", "written"), [(2.5, {"request": "2500ms"}), (0, None)])
def test_a_hanging_replica_is_given_up_by_the_router_if_a_timeout_is_set(seconds: float, written: object) -> None:
    assert user_rules({}, "k", "t", seconds, PLACE)[0].get("timeouts") == written
