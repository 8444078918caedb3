"""A person deletes or replaces what carries the record: users get their colour back, and commands go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from banana_delivery.errors import LostRecordError
from banana_delivery.policy.model import Colour, ImageRef
from banana_delivery.targets.kubernetes.record_copy import NAME
from tests.cluster.cluster import PRODUCTION, Cluster, Production, Routed

BLUE, GREEN = Colour.BLUE, Colour.GREEN
CARRIERS = {"gateway": ("httproute", "banana-api"), "endpoints": ("service", "banana-api-service")}
PLATFORM = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture(autouse=True)
def applied_afterwards(cluster: Cluster) -> Iterator[None]:
    """Whatever a test has deleted is there for the next one."""
    yield
    cluster.apply(cluster.manifests)


def delete(cluster: Cluster, kind: str, name: str) -> None:
    cluster.kubectl("delete", kind, name, "-n", "production")


def replace(cluster: Cluster, kind: str, name: str) -> None:
    """With the manifest as it was applied, by force, as a GitOps tool replaces."""
    applied = cluster.get(kind, name, "-n", "production")["metadata"]["annotations"][PLATFORM]
    cluster.kubectl("delete", kind, name, "-n", "production")
    cluster.kubectl("create", "-f", "-", stdin=applied)


def released(routed: Routed, releases: dict[str, ImageRef]) -> Any:
    """Version 1 has all users, and nobody owns production."""
    target = routed.cluster.target(routed.way)
    production = Production(target)
    production.first_release(releases["1"])
    production.end()
    return target


@pytest.mark.parametrize("meddle", [delete, replace])
def test_users_and_commands_get_on_after_the_route_was_deleted_or_replaced(
    meddle: Callable[[Cluster, str, str], None], routed: Routed, releases: dict[str, ImageRef]
) -> None:
    target = released(routed, releases)
    record = target.record(PRODUCTION)

    meddle(routed.cluster, *CARRIERS[routed.way])

    # Another process, as a command would be.
    target = routed.cluster.target(routed.way)
    assert target.record(PRODUCTION) == record
    assert not any(target.observed(PRODUCTION).weights.values())
    second = Production(target, "another delivery")
    assert second.claim.generation == record.generation + 1
    target.set_weights(second.claim, record.resting_weights)
    assert target.observed(PRODUCTION).weights == record.weights
    assert target.damage(PRODUCTION) is None
    second.end()


def test_applying_the_manifests_again_leaves_the_copy_and_what_was_made_from_it(
    routed: Routed, releases: dict[str, ImageRef]
) -> None:
    target, cluster = released(routed, releases), routed.cluster
    delete(cluster, *CARRIERS[routed.way])
    Production(target, "another delivery").end()
    record = target.record(PRODUCTION)

    cluster.apply(cluster.manifests)

    assert json.loads(cluster.get("configmap", NAME, "-n", "production")["data"]["record.json"])
    assert cluster.target(routed.way).record(PRODUCTION) == record
    assert target.observed(PRODUCTION).weights == record.weights


def test_what_is_lost_with_its_copy_is_rebuilt_from_what_runs(routed: Routed, releases: dict[str, ImageRef]) -> None:
    target, cluster = released(routed, releases), routed.cluster
    record = target.record(PRODUCTION)
    replace(cluster, *CARRIERS[routed.way])
    cluster.kubectl("delete", "configmap", NAME, "-n", "production")
    with pytest.raises(LostRecordError, match="banana-delivery restore"):
        target.claim(PRODUCTION, "another delivery")

    rebuilt = target.rebuild(PRODUCTION, record.active)
    claim = target.restore(rebuilt, "a person")
    target.set_weights(claim, rebuilt.weights)
    target.release(claim)

    now = target.record(PRODUCTION)
    assert (now.active, now.weights, now.live) == (record.active, record.weights, record.live)
    assert target.claim(PRODUCTION, "another delivery").generation == now.generation + 1
