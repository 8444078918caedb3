"""What clusters do to releases, done for real: each fault is named in a sentence, and users have a way back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.ready import NeverReadyError, NotReadyError, wait_until_ready
from banana_delivery.delivery.shift import hand_edit
from banana_delivery.policy.records import Colour, ImageRef
from banana_delivery.targets.kubernetes import KubernetesTarget
from banana_delivery.targets.kubernetes_api import Json
from banana_delivery.targets.kubernetes_objects import Place, container_of
from tests.cluster.cluster import PRODUCTION, Cluster, Production, Routed
from tests.cluster.faults import frozen, restart
from tests.cluster.load import Users

BLUE, GREEN = Colour.BLUE, Colour.GREEN


@pytest.fixture
def production(behind_gateway: KubernetesTarget, releases: dict[str, ImageRef]) -> Production:
    """Blue serves; green is free."""
    production = Production(behind_gateway)
    production.first_release(releases["1"])
    return production


@contextmanager
def green_with(cluster: Cluster, change: Callable[[Json], None]) -> Iterator[None]:
    """Green's replicas are made from a PodTemplate that somebody has changed."""
    path = Place(PRODUCTION, "production").template(GREEN)
    before = cluster.api.get(path)
    assert before is not None
    changed = copy.deepcopy(before)
    change(changed["template"]["spec"])
    cluster.api.replace(path, changed)
    yield
    del before["metadata"]["resourceVersion"]
    cluster.api.replace(path, before)


@pytest.fixture
def no_node(cluster: Cluster) -> Iterator[None]:
    """Green's replicas want a node that does not exist."""
    with green_with(cluster, lambda spec: spec.update(nodeSelector={"no-such": "node"})):
        yield


@pytest.fixture
def no_secret(cluster: Cluster) -> Iterator[None]:
    """Green's replicas want a Secret that nobody has made."""
    missing = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "token"}}}
    with green_with(cluster, lambda spec: container_of(spec)["env"].append(missing)):
        yield


@pytest.fixture
def no_room(cluster: Cluster, production: Production) -> Iterator[None]:
    """Production may not have any more pods than it has."""
    cluster.kubectl("create", "quota", "full", "-n", "production", "--hard=pods=1")
    yield
    cluster.kubectl("delete", "quota", "full", "-n", "production")


def _wait(production: Production, image: ImageRef, seconds: float, error: type[NotReadyError]) -> str:
    """Deploy green as a delivery does; returns the sentence with which it gives up.

    ``NeverReadyError`` rejects a release; ``NotReadyError`` itself blames the cluster, and the version stays staged.
    """
    with (
        Lease(production.target, PRODUCTION, "a test", heartbeat_seconds=1) as lease,
        pytest.raises(error) as gave_up,
    ):
        production.target.deploy(lease.claim, GREEN, image, 1)
        wait_until_ready(production.target, lease, PRODUCTION, GREEN, seconds, lambda _: None)
    assert type(gave_up.value) is error
    return str(gave_up.value)


def test_an_image_that_cannot_be_pulled_ends_the_wait_at_once(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    missing = releases["2"].but(digest="sha256:" + "0" * 64)

    assert "the image cannot be pulled" in _wait(production, missing, 120, NotReadyError)


def test_a_crash_loop_ends_the_wait_and_names_the_exit_code(empty: Cluster, releases: dict[str, ImageRef]) -> None:
    production = Production(empty.target("gateway", drill_faults={"2": "no such fault"}))

    assert "exit code 2" in _wait(production, releases["2"], 120, NeverReadyError)


def test_a_replica_that_never_gets_ready_is_given_up_at_the_deadline(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    sentence = _wait(production, releases["sick"], 15, NeverReadyError)

    assert "was not ready after 15 s: 0 of 1 replicas answer. 1 x running, but not ready." in sentence


@pytest.mark.usefixtures("no_node")
def test_a_replica_that_no_node_takes_is_given_up_with_the_schedulers_words(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    assert "Unschedulable" in _wait(production, releases["2"], 5, NotReadyError)


@pytest.mark.usefixtures("no_secret")
def test_a_secret_that_is_missing_ends_the_wait_and_is_named(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    assert "no-such-secret" in _wait(production, releases["2"], 60, NotReadyError)


@pytest.mark.usefixtures("no_room")
def test_a_quota_that_is_used_up_ends_the_wait_and_is_named(
    production: Production, releases: dict[str, ImageRef]
) -> None:
    assert "exceeded quota: full" in _wait(production, releases["2"], 60, NotReadyError)


def test_another_image_put_there_by_hand_is_noticed(
    production: Production, releases: dict[str, ImageRef], cluster: Cluster
) -> None:
    production.deploy(GREEN, releases["2"])
    deployment = ("deployment/banana-api-green", "-n", "production")
    cluster.kubectl("set", "image", *deployment, f"api={releases['3'].pinned}")

    observed = production.target.observed(PRODUCTION)

    assert "green runs" in hand_edit(production.target.record(PRODUCTION), observed)


@pytest.mark.parametrize(
    ("routed", "all_of_them"),
    [("gateway", False), ("gateway", True), ("endpoints", True)],
    indirect=["routed"],
    ids=["gateway-one", "gateway-all", "endpoints-all"],
)
def test_pods_of_the_new_colour_killed_in_a_shift_are_counted_and_the_way_back_is_open(
    routed: Routed, releases: dict[str, ImageRef], measured: list[str], *, all_of_them: bool
) -> None:
    production = Production(routed.target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"], 2)
    with Users(routed.target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 60)
        users.more(100)
        killed = [pod["metadata"]["name"] for pod in routed.cluster.pods("production", "green")]
        force = ("--grace-period=0", "--force", "--wait=false")
        routed.cluster.kubectl("delete", "pods", "-n", "production", *killed[: 2 if all_of_them else 1], *force)
        users.more(60)
        production.weigh(GREEN, 0)
        back = time.monotonic()
        users.more(150)
        production.wait(GREEN)
    measured.append(users.summary())

    assert [answer for answer in users.failures if answer.sent > back] == []
    assert production.target.observed(PRODUCTION).weights == {BLUE: 100, GREEN: 0}


def test_an_api_server_away_for_15_seconds_delays_a_shift_and_costs_users_nothing(
    routed: Routed, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    production = Production(routed.target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    with Users(routed.target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 20)
        with frozen("kube-apiserver", 15):
            production.weigh(GREEN, 60)
        users.more(100)
        production.weigh(GREEN, 100)
        users.more(100)
    measured.append(users.summary())

    assert users.failures == []
    assert production.target.record(PRODUCTION).weights == {BLUE: 0, GREEN: 100}


def test_a_router_restarted_in_a_shift_comes_back_with_the_weights_and_its_counts_go_on(
    production: Production, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    target = production.target
    production.deploy(GREEN, releases["2"])
    with Users(target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 50)
        users.more(100)
        before = target.traffic(PRODUCTION)
        restart("traefik")
        production.weigh(GREEN, 60)
        # A router that has just started answers 404 until it knows its routes; now it has named this change.
        back = time.monotonic()
        users.more(200)
        after = target.traffic(PRODUCTION)
    measured.append(users.summary())

    assert [answer for answer in users.failures if answer.sent > back] == []
    for key, counters in before.backends.items():
        assert after.backends[key].requests >= counters.requests
    assert sum(counters.failed for counters in after.backends.values()) == 0
