"""Something else takes all of the machine while a good version is on its way: nobody blames the version for it.

`STARVED_DELIVERIES=7` plays so many of each kind; one each is part of the long suite.
"""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.e2e.stack import Stack, until
from tests.support.starving import DELIVERIES, KINDS, starved

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.long
DELIVERY_SECONDS = 600.0


def delivered_to_a_starved_machine(stack: Stack, phases: set[Phase]) -> Outcome:
    """How the delivery of a good version ends."""
    target = stack.resources.release_target
    with starved(lambda: target.record(Environment.PRODUCTION).phase, phases):
        version = stack.stage("better")
        until(lambda: bool(stack.outcomes(version)), "the delivery's end", DELIVERY_SECONDS)
        until(lambda: stack.production.owner is None, "giving production back", 120)
    (outcome,) = stack.outcomes(version)
    return outcome


@pytest.mark.timeout(DELIVERY_SECONDS * DELIVERIES)
@pytest.mark.parametrize("phases", KINDS.values(), ids=KINDS)
def test_a_good_version_is_never_blamed_for_a_starved_machine(stack: Stack, phases: set[Phase]) -> None:
    ends: Counter[str] = Counter()
    with stack.clients(rate=5.0) as clients:
        for _ in range(DELIVERIES):
            ends[delivered_to_a_starved_machine(stack, phases)] += 1
    LOG.info("%s; of users: %s", dict(ends), clients.counts())
    assert set(ends) <= {Outcome.RELEASED, Outcome.ERROR}
    assert clients.failed_requests() == []
