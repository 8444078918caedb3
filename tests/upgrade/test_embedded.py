"""An upgrade and a downgrade in each phase of a delivery: it goes on, users notice nothing, each reads the other's."""

from __future__ import annotations

import pytest

from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.e2e.stack import Stack, until
from tests.support.phases import PhaseHook
from tests.upgrade.conftest import DELIVERY_SECONDS, Versions

pytestmark = pytest.mark.upgrade
PHASES = (
    PhaseHook(Environment.STAGING, Phase.TESTING),
    PhaseHook(Environment.PRODUCTION, Phase.COMPARING),
    PhaseHook(Environment.PRODUCTION, Phase.SHIFTING),
    PhaseHook(Environment.PRODUCTION, Phase.WATCHING),
)
RATE = 10.0
"""Requests of users a second."""


def deliver_under(stack: Stack, hook: PhaseHook) -> None:
    """Stage a version for whatever runs, and have another installation take the stack over in the middle of it."""
    version = stack.stage("better")

    def there() -> bool:
        assert stack.outcomes(version) == [], f"version {version} never came to {hook}"
        return stack.resources.release_target.record(hook.environment).phase is hook.phase

    until(there, str(hook), DELIVERY_SECONDS)
    stack.command("up")
    released(stack, version)
    live = stack.production.live
    assert live is not None and live.version == version
    assert live.digest[:19] in stack.command("status")


def released(stack: Stack, version: str) -> None:
    """Wait for the end of its delivery, which has to be this."""
    until(lambda: stack.outcomes(version) != [], f"the end of version {version}", DELIVERY_SECONDS)
    stack.until_released(version)


@pytest.mark.parametrize("hook", PHASES, ids=str)
def test_a_delivery_under_way_outlives_an_upgrade_and_the_next_one_a_downgrade(
    versions: Versions, hook: PhaseHook
) -> None:
    with versions.before.clients(rate=RATE) as users:
        deliver_under(versions.now, hook)
        deliver_under(versions.before, hook)
    assert users.failed_requests() == []


def test_each_takes_out_what_the_other_released(versions: Versions) -> None:
    with versions.before.clients(rate=RATE) as users:
        for one, other in ((versions.before, versions.now), (versions.now, versions.before)):
            one.command("up")
            first = one.production.live
            version = one.stage("better")
            released(one, version)
            other.command("up")
            other.command("rollback", version, "--reason", "It was played here.")
            assert other.production.live == first
            assert Outcome.ROLLED_BACK in other.outcomes(version)
    assert users.failed_requests() == []
