"""An autoscaler that moves replicas during a shift confuses neither the share nor the end of a colour."""

from __future__ import annotations

from banana_delivery.policy.drift import detect_drift
from banana_delivery.policy.model import Colour, ImageRef
from tests.cluster.cluster import PRODUCTION, Production, Routed, is_going, until

BLUE, GREEN = Colour.BLUE, Colour.GREEN


def test_replicas_added_by_the_autoscaler_are_nobodys_hand_edit_and_change_no_share(
    routed: Routed, releases: dict[str, ImageRef]
) -> None:
    cluster, target = routed.cluster, routed.target
    production = Production(target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    production.weigh(GREEN, 50)
    before = target.observed(PRODUCTION)

    for colour in (BLUE, GREEN):
        autoscaler = f"hpa/banana-api-{colour}"
        cluster.kubectl("patch", autoscaler, "-n", "production", "--type=merge", "-p", '{"spec":{"minReplicas":2}}')
    until(lambda: _live(routed, BLUE) == _live(routed, GREEN) == 2, "the autoscaler adding replicas")

    # It says how many it wants a moment after it has asked for them.
    until(lambda: target.observed(PRODUCTION) == before, "the autoscaler saying what it wants")
    assert detect_drift(target.record(PRODUCTION), target.observed(PRODUCTION)) == ""
    assert target.default_replicas(PRODUCTION) == 2

    production.weigh(GREEN, 100)
    production.promote(GREEN)
    target.scale(production.claim, BLUE, 0)
    until(lambda: all(map(is_going, cluster.pods("production", "blue"))), "blue's replicas being told to go")
    assert target.observed(PRODUCTION).replicas[BLUE] == 0


def _live(routed: Routed, colour: Colour) -> int:
    found = routed.cluster.get(f"deployment/banana-api-{colour}", "-n", "production")
    return int(found["spec"]["replicas"])
