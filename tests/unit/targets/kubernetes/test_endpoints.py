"""Which pods stand behind the Service where there is no Gateway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.errors import TargetError
from banana_delivery.names import COLOUR_KEY
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.endpoints import (
    EndpointRouting,
    closed,
    free_key,
    members,
    selecting,
    shares,
    weights_in,
    whole,
)
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace

BLUE, GREEN = Colour.BLUE, Colour.GREEN
PLACE = EnvironmentNamespace(Environment.PRODUCTION, "production")


@pytest.mark.parametrize(
    ("green", "ready", "chosen", "share"),
    [
        (10, {BLUE: 3, GREEN: 1}, {BLUE: 3, GREEN: 1}, 25.0),
        (20, {BLUE: 3, GREEN: 3}, {BLUE: 3, GREEN: 1}, 25.0),
        (40, {BLUE: 3, GREEN: 3}, {BLUE: 3, GREEN: 2}, 40.0),
        (50, {BLUE: 3, GREEN: 3}, {BLUE: 3, GREEN: 3}, 50.0),
        (80, {BLUE: 3, GREEN: 3}, {BLUE: 1, GREEN: 3}, 75.0),
        (20, {BLUE: 4, GREEN: 4}, {BLUE: 4, GREEN: 1}, 20.0),
    ],
)
def test_the_head_count_comes_as_near_to_the_share_as_the_pods_allow(
    green: int, ready: dict[Colour, int], chosen: dict[Colour, int], share: float
) -> None:
    counts = members({BLUE: 100 - green, GREEN: green}, ready)

    assert counts == chosen
    assert shares(counts)[GREEN] == share


@given(st.integers(1, 99), st.integers(1, 6), st.integers(1, 6))
def test_no_other_head_count_is_nearer(green: int, blue_pods: int, green_pods: int) -> None:
    weights, ready = {BLUE: 100 - green, GREEN: green}, {BLUE: blue_pods, GREEN: green_pods}
    chosen = members(weights, ready)
    error = abs(shares(chosen)[GREEN] - green)

    assert all(1 <= chosen[colour] <= ready[colour] for colour in ready)
    for blue in range(1, blue_pods + 1):
        for other in range(1, green_pods + 1):
            assert error <= abs(shares({BLUE: blue, GREEN: other})[GREEN] - green) + 1e-9


def test_a_colour_without_ready_pods_gets_no_traffic_and_says_so() -> None:
    with pytest.raises(TargetError, match="green is to get 20 % of the traffic, but has no ready replica"):
        members({BLUE: 80, GREEN: 20}, {BLUE: 3})


@pytest.mark.parametrize("weights", [{BLUE: 80, GREEN: 20}, {BLUE: 5, GREEN: 95}])
def test_a_selector_by_label_stands_for_the_weights_it_was_made_for(weights: dict[Colour, int]) -> None:
    value = f"blue{weights[BLUE]}-green{weights[GREEN]}-0f3a"

    assert weights_in(selecting(PLACE, free_key({}, 7), value)) == weights


def test_a_selector_by_colour_stands_for_everything_or_nothing() -> None:
    assert weights_in(selecting(PLACE, COLOUR_KEY, whole({BLUE: 0, GREEN: 100}))) == {BLUE: 0, GREEN: 100}
    assert weights_in(selecting(PLACE, "banana-delivery/member-7-a", "somebody-else")) == {BLUE: 0, GREEN: 0}


@pytest.mark.parametrize("selector", [{}, {"app.kubernetes.io/name": "banana-api"}])
def test_a_service_about_which_the_pipeline_never_decided_lets_nobody_in(selector: dict[str, str]) -> None:
    assert weights_in(selector) == {BLUE: 0, GREEN: 0}
    assert closed(PLACE, selector) == {**PLACE.labels, COLOUR_KEY: "none"}


def test_a_service_without_a_selector_gives_nobody_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for pods without one would find them all."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    pods = {"items": [{"metadata": {"name": "p", "labels": {COLOUR_KEY: "green"}}, "status": ready}]}
    monkeypatch.setattr(KubernetesApi, "get", lambda *_, **__: pods)
    service: Json = {"spec": {}}
    routing = EndpointRouting(KubernetesApi(), PLACE)

    assert routing.shares(service) == {BLUE: 0, GREEN: 0}
    routing.initialise(service)
    assert routing.shares(service) == {BLUE: 0, GREEN: 100}, "what the cluster finds for a selector is what counts"


def test_each_step_selects_by_one_label_of_the_environments_own_replicas() -> None:
    first = selecting(PLACE, free_key({}, 7), "x")
    second = selecting(PLACE, free_key(first, 7), "y")

    ours = {"app.kubernetes.io/name": "banana-api", "banana-delivery/environment": "production"}
    assert first == {**ours, "banana-delivery/member-7-a": "x"}
    assert second == {**ours, "banana-delivery/member-7-b": "y"}
    assert closed(PLACE, second) == second


def test_labels_of_another_generation_can_never_be_selected_by_mistake() -> None:
    keys = {free_key({}, 7), free_key({free_key({}, 7): "x"}, 7)}

    assert not keys & {free_key({}, 8), free_key({free_key({}, 8): "x"}, 8)}
