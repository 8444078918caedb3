"""What tests of the pipeline rely on in the fake beyond the contract."""

from __future__ import annotations

import pytest

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Colour, Environment, ImageRef, TrafficSource
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour

PRODUCTION = Environment.PRODUCTION
IMAGE = ImageRef(repository="fake", digest="sha256:" + "a" * 64, version="1", key="key")


def serving(behaviour: Behaviour) -> FakeTarget:
    target = FakeTarget()
    target.place.behaviours[IMAGE.digest] = behaviour
    claim = target.claim(PRODUCTION, "run-1")
    target.deploy(claim, Colour.BLUE, IMAGE, 1)
    target.set_weights(claim, {Colour.BLUE: 100})
    return target


def test_a_share_of_requests_fails_is_turned_away_or_slow() -> None:
    target = serving(Behaviour(error_rate=0.2, error_class="timeout", overload_rate=0.1, slow_rate=0.5))

    target.place.serve(PRODUCTION, 100)

    counters = target.traffic(PRODUCTION).of(Colour.BLUE, TrafficSource.USER)
    assert (counters.requests, counters.failures["timeout"], counters.failed) == (100, 20, 20)
    assert counters.latency["+Inf"] == 100 - 20 - counters.overloads
    assert 0 < counters.latency["1.0"] < counters.latency["+Inf"]


def test_users_arrive_whenever_the_traffic_is_looked_at() -> None:
    target = serving(Behaviour())
    target.place.load_per_look = 7

    seen = [target.traffic(PRODUCTION).of(Colour.BLUE, TrafficSource.USER).requests for _ in range(2)]

    assert seen == [7, 14]


def test_a_restarted_router_counts_from_zero() -> None:
    target = serving(Behaviour())
    target.place.serve(PRODUCTION, 5)

    target.place.restart_router()

    assert target.traffic(PRODUCTION).of(Colour.BLUE, TrafficSource.USER).requests == 0


def test_a_planned_error_strikes_once_and_changes_nothing() -> None:
    target = serving(Behaviour())
    claim = target.claim(PRODUCTION, "run-1")
    target.place.fail_next("set_weights", "The router is away.")

    with pytest.raises(TargetError, match="router is away"):
        target.set_weights(claim, {Colour.BLUE: 100})
    target.set_weights(claim, {Colour.BLUE: 100})

    assert target.calls == [
        "deploy production blue 1 x1",
        "set_weights production blue=100 green=0",
        "set_weights production blue=100 green=0",
    ]


def test_hand_edits_are_observed() -> None:
    target = serving(Behaviour(starting="loading", reports="sha256:other"))

    target.place.edit_replicas(PRODUCTION, Colour.BLUE, 5)

    assert target.observed(PRODUCTION).replicas == {Colour.BLUE: 5}
    assert target.record(PRODUCTION).deployments[Colour.BLUE].replicas == 1
    assert target.readiness(PRODUCTION, Colour.BLUE).waiting_for == "loading"
    assert target.traffic(PRODUCTION).digests == {Colour.BLUE: "sha256:other"}
