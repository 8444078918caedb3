"""Game days on a real cluster: a bad release has to go while somebody has deleted something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from banana_delivery.policy.model import Colour, Outcome
from tests.cluster.cluster import AT_ONCE, PRODUCTION
from tests.cluster.load import Users
from tests.cluster.world import ClusterWorld
from tests.integration.delivery.test_every_phase import GOOD

pytestmark = pytest.mark.long
SETTLED = 50
"""Requests that users send afterwards; whatever is broken would show in them."""
AT_ONCE_SECONDS = 5.0
"""Far less than the start of a replica; what it takes on a quiet machine, under 2 s, is among the figures."""


@pytest.fixture(autouse=True)
def applied_afterwards(here: ClusterWorld) -> Iterator[None]:
    """Whatever a test has deleted is there for the next one."""
    yield
    here.cluster.apply(here.cluster.manifests)


def old_deployment_deleted(here: ClusterWorld, old: Colour) -> None:
    here.cluster.kubectl("delete", "deployment", f"banana-api-{old}", "-n", "production")


def route_deleted(here: ClusterWorld, old: Colour) -> None:
    here.cluster.kubectl("delete", "httproute", "banana-api", "-n", "production")


def one_old_replica_gone(here: ClusterWorld, old: Colour) -> None:
    pods = here.cluster.pods("production", old)
    assert len(pods) == 2
    here.cluster.kubectl("delete", "pod", pods[0]["metadata"]["name"], "-n", "production", *AT_ONCE)


@pytest.mark.parametrize(
    ("fault", "warm", "served"),
    [
        (old_deployment_deleted, False, True),
        (route_deleted, True, False),
        (one_old_replica_gone, True, True),
    ],
)
def test_a_bad_release_goes(
    here: ClusterWorld,
    fault: Callable[[ClusterWorld, Colour], None],
    warm: bool,
    served: bool,
    measured: list[str],
) -> None:
    pipeline = here.pipeline
    target = pipeline.resources.release_target
    good, bad = pipeline.serving, pipeline.stage(GOOD)
    assert pipeline.run(bad).is_success, pipeline.attempts(bad)
    old = target.record(PRODUCTION).idle
    with Users(target.url(PRODUCTION)) as users:
        fault(here, old)
        # Another process, as the command is.
        target = here.connect()
        done = pipeline.roll_back(reason="It harms users.")
        assert target.observed(PRODUCTION).weights == {old: 100, old.other: 0}
        users.more(SETTLED)
    measured.append(f"{done.rollback_seconds:.1f} s; {users.summary()}")
    pipeline.tick("reconcile")

    here.is_at_rest(good)
    if warm:
        assert done.rollback_seconds is not None
        assert done.rollback_seconds <= AT_ONCE_SECONDS
    if served:
        assert users.failures == []
    assert [one.outcome for one in pipeline.attempts(bad) if one.revoked] == [Outcome.ROLLED_BACK]
    told = [one.title for one in pipeline.sent if f"version {bad} was ROLLED BACK" in one.title]
    assert len(told) == 1
    assert target.readiness(PRODUCTION, old).ready
    # The next delivery can have it.
    target.release(target.claim(PRODUCTION, "the next one"))
