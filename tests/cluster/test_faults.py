"""What clusters do to releases, done for real: each fault is named in a sentence, and users have a way back.

How a whole delivery ends that is struck by them: test_pipeline_faults.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.errors import NotReadyError
from banana_delivery.policy.model import Colour, ImageRef
from banana_delivery.targets.kubernetes.objects import container_of
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from tests.cluster.cluster import AT_ONCE, PRODUCTION, Cluster, Production, until
from tests.cluster.faults import changed_template, frozen
from tests.cluster.load import Users

BLUE, GREEN = Colour.BLUE, Colour.GREEN


@pytest.fixture
def production(behind_gateway: KubernetesTarget, releases: dict[str, ImageRef]) -> Production:
    """Blue serves; green is free."""
    production = Production(behind_gateway)
    production.first_release(releases["1"])
    return production


@pytest.fixture
def no_secret(cluster: Cluster) -> Iterator[None]:
    """Green's replicas want a Secret that nobody has made."""
    missing = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "token"}}}
    with changed_template(cluster, PRODUCTION, GREEN, lambda spec: container_of(spec)["env"].append(missing)):
        yield


@pytest.fixture
def no_room(cluster: Cluster, production: Production) -> Iterator[None]:
    """Production may not have any more pods than it has."""
    cluster.kubectl("create", "quota", "full", "-n", "production", "--hard=pods=1")
    until(lambda: "hard" in cluster.get("quota", "full", "-n", "production")["status"], "the quota being counted")
    yield
    cluster.kubectl("delete", "quota", "full", "-n", "production")


def _wait(production: Production, image: ImageRef) -> str:
    """Deploy green as a delivery does; returns the sentence with which it gives up, without a reproach to the release.

    ``NeverReadyError``, its subclass, would reject it.
    """
    with (
        Lease(production.target, PRODUCTION, "a test", heartbeat_seconds=1) as lease,
        pytest.raises(NotReadyError) as gave_up,
    ):
        production.target.deploy(lease.claim, GREEN, image, 1)
        wait_until_ready(production.target, lease, PRODUCTION, GREEN, 60, lambda _: None)
    assert type(gave_up.value) is NotReadyError
    return str(gave_up.value)


@pytest.mark.usefixtures("no_secret")
def test_a_secret_that_is_missing_ends_the_wait_and_is_named(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    assert "no-such-secret" in _wait(production, releases["2"])


def test_a_template_that_was_repaired_takes_effect_though_the_image_is_the_same(
    cluster: Cluster, production: Production, releases: dict[str, ImageRef]
) -> None:
    broken = {"command": ["no-such-program"]}
    with changed_template(cluster, PRODUCTION, GREEN, lambda spec: container_of(spec).update(broken)):
        production.target.deploy(production.claim, GREEN, releases["2"], 1)
        until(lambda: bool(production.target.readiness(PRODUCTION, GREEN).failure), "the fault to show")

    Production(production.target, "the next attempt", takeover=True).deploy(GREEN, releases["2"])


@pytest.mark.usefixtures("no_room")
def test_a_quota_that_is_used_up_ends_the_wait_and_is_named(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    assert "exceeded quota: full" in _wait(production, releases["2"])


def test_a_new_colour_whose_pods_are_all_killed_in_a_shift_leaves_the_way_back_open(
    empty: Cluster, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    """Without a Gateway, where the way back needs pods that can be relabelled."""
    production = Production(empty.target("endpoints"))
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"], 2)
    with Users(production.target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 60)
        users.more(100)
        empty.kubectl("delete", "pods", "-n", "production", "-l", "banana-delivery/colour=green", *AT_ONCE)
        users.more(60)
        production.weigh(GREEN, 0)
        back = time.monotonic()
        users.more(150)
        production.wait(GREEN)
    measured.append(users.summary())

    assert [answer for answer in users.failures if answer.sent > back] == []
    assert production.target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0}


def test_an_api_server_away_for_15_seconds_delays_a_shift_and_costs_users_nothing(
    empty: Cluster, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    """Without a Gateway, where a shift is more than one write."""
    production = Production(empty.target("endpoints"))
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    with Users(production.target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 20)
        with frozen("kube-apiserver", 15):
            production.weigh(GREEN, 60)
        users.more(100)
        production.weigh(GREEN, 100)
        users.more(100)
    measured.append(users.summary())

    assert users.failures == []
    assert production.target.record(PRODUCTION).weights == {BLUE: 0, GREEN: 100}
