"""The loop of a release where there is nothing yet that its candidate could be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.traffic_shift import TrafficShift
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import release_steps
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour
from tests.unit.policy.rollout.scene import QUICK

PRODUCTION, GREEN = Environment.PRODUCTION, Colour.GREEN
PLAN = QUICK.replace(steps=(100,), step_seconds=6, step_minimum_seconds=1, minimum_sample=30)
FIRST = ImageRef(repository="fake", digest="sha256:" + "1" * 64, version="1", key="key")


@dataclass
class Rate:
    """The probe's load, which is none."""

    def set_rate(self, requests_per_second: float) -> None:
        del requests_per_second


def test_a_first_release_keeps_its_users_where_a_few_more_fail_than_may() -> None:
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    target = FakeTarget(clock=lambda: now[0])
    target.place.load_per_look = 20
    target.place.behaviours[FIRST.digest] = Behaviour(error_rate=0.1)
    lease = Lease(target, PRODUCTION, "run", heartbeat_seconds=3600.0)
    with lease:
        target.deploy(lease.claim, GREEN, FIRST, 1)
        shift = TrafficShift(target, lease, PLAN, GREEN, FIRST, Rate(), lambda _: None, sleep)
        action = shift.run(release_steps(PLAN)[0])
    assert action.kind is ActionKind.SET_WEIGHT
    assert (action.weight, target.record(PRODUCTION).weights[GREEN]) == (100, 100)
    assert "which may be chance; look after it" in action.reason
