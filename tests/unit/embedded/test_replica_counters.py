"""Adding up what replicas say, though they restart, come and go."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from banana_delivery.embedded.replica_counters import ReplicaLedger, read_report
from banana_delivery.policy.model import Colour, Environment

PRODUCTION, STAGING = Environment.PRODUCTION, Environment.STAGING


def page(fast: int = 0, slow: int = 0, traffic: str = "user", route: str = "/predict", digest: str = "sha256:a") -> str:
    """What a replica shows after so many predictions below and above a second."""
    registry = CollectorRegistry()
    duration = Histogram(
        "banana_request_duration_seconds", ".", ["route", "traffic"], buckets=(0.1, 1), registry=registry
    )
    info = Gauge("banana_model_info", ".", ["version", "digest", "environment", "colour"], registry=registry)
    info.labels("1", digest, "production", "blue").set(1)
    for seconds in [0.01] * fast + [2.0] * slow:
        duration.labels(route, traffic).observe(seconds)
    return generate_latest(registry).decode()


def user(ledger: ReplicaLedger) -> dict[str, int]:
    return ledger.latency(PRODUCTION)["blue/user"]


def test_a_report_holds_predictions_of_known_traffic_and_the_digest() -> None:
    report = read_report(page(fast=3, slow=1, digest="sha256:b"))

    assert report.digest == "sha256:b"
    assert report.latency == {"user": {"0.1": 3, "1.0": 3, "+Inf": 4}}
    assert read_report(page(fast=3, route="/health")).latency == {}
    assert read_report(page(fast=3, traffic="none")).latency == {}


def test_replicas_of_a_colour_are_added_up_and_strata_kept_apart() -> None:
    ledger = ReplicaLedger()
    ledger.enter(PRODUCTION, Colour.BLUE, "one", page(fast=2))
    ledger.enter(PRODUCTION, Colour.BLUE, "two", page(fast=1, slow=1))
    ledger.enter(PRODUCTION, Colour.GREEN, "three", page(fast=5, traffic="probe"))
    ledger.enter(STAGING, Colour.SOLE, "four", page(fast=9))

    assert user(ledger) == {"0.1": 3, "1.0": 3, "+Inf": 4}
    assert ledger.latency(PRODUCTION)["green/probe"]["+Inf"] == 5
    assert "sole/user" not in ledger.latency(PRODUCTION)


def test_a_restarted_replica_keeps_what_it_had_counted() -> None:
    ledger = ReplicaLedger()
    for seen in (page(fast=10, slow=2), page(fast=1), page(fast=3)):
        ledger.enter(PRODUCTION, Colour.BLUE, "one", seen)

    assert user(ledger) == {"0.1": 13, "1.0": 13, "+Inf": 15}


def test_a_replica_that_restarted_and_was_not_asked_yet_by_users_keeps_it_too() -> None:
    ledger = ReplicaLedger()
    ledger.enter(PRODUCTION, Colour.BLUE, "one", page(fast=10))
    ledger.enter(PRODUCTION, Colour.BLUE, "one", page())

    assert user(ledger)["+Inf"] == 10


def test_a_replica_that_is_gone_stays_in_the_sum() -> None:
    ledger = ReplicaLedger()
    ledger.enter(PRODUCTION, Colour.BLUE, "one", page(fast=10))
    ledger.enter(PRODUCTION, Colour.BLUE, "two", page(fast=1))

    assert user(ledger)["+Inf"] == 11
    assert ledger.digest("two") == "sha256:a"
    assert ledger.digest("never seen") == ""
