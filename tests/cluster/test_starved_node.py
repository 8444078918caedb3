"""Something else takes all of the node while a good version is on its way: nobody blames the version for it.

The greedy processes stand beside the pods, not within one: the API server, etcd and the kubelet are starved, too.
`STARVED_DELIVERIES=5` plays so many of each kind.
"""

from __future__ import annotations

from collections import Counter

import pytest

from banana_delivery.policy.model import Outcome, Phase
from tests.cluster.cluster import PRODUCTION
from tests.cluster.load import Users
from tests.cluster.world import ClusterWorld
from tests.integration.delivery.test_every_phase import GOOD
from tests.support.starving import DELIVERIES, KINDS, starved

pytestmark = pytest.mark.long
DELIVERY_SECONDS = 300.0


@pytest.mark.timeout(DELIVERY_SECONDS * DELIVERIES)
@pytest.mark.parametrize("phases", KINDS.values(), ids=KINDS)
def test_a_good_version_is_never_blamed_for_a_starved_node(
    here: ClusterWorld, phases: set[Phase], measured: list[str]
) -> None:
    ends: Counter[Outcome | None] = Counter()
    onlooker = here.cluster.target("gateway")
    for _ in range(DELIVERIES):
        target, version = here.connect(), here.pipeline.stage(GOOD)
        with (
            Users(target.url(PRODUCTION), per_second=5.0) as users,
            starved(lambda: onlooker.record(PRODUCTION).phase, phases),
        ):
            here.pipeline.run(version)
        ends.update(one.outcome for one in here.pipeline.attempts(version))
        measured.append(f"{here.pipeline.attempts(version)[-1].outcome}; {users.summary()}")
    assert set(ends) <= {Outcome.RELEASED, Outcome.ERROR}
    assert sum(ends.values()) == DELIVERIES
