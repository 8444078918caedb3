"""What a policy that only observes would have done to a delivery is all there, and nothing of it twice."""

from __future__ import annotations

from banana_delivery.policy.asset_records import AbRecord, Verdict
from banana_delivery.policy.hindsight.whole import observed_of
from banana_delivery.policy.hindsight.would_have import WouldHave
from tests.unit.reports.scenes import ab, image, quality

WAITS = WouldHave(what="wait", where="before the A/B", reason="Production is slow.")
BACK = WouldHave(what="roll_back", where="the A/B", reason="It fails.")


def report(verdict: Verdict, reason: str, users: WouldHave | None) -> AbRecord:
    made = ab(quality(3.0))
    said = made.verdict.replace(verdict=verdict, reason=reason, observed=True)
    return made.replace(verdict=said, observed=users)


def deeds(made: AbRecord) -> list[str]:
    return [one.what for one in observed_of(image(), None, made, ())]


def test_what_it_would_have_waited_for_hides_no_verdict_of_the_labelled_images() -> None:
    assert deeds(report(Verdict.INCONCLUSIVE, "Too few images.", WAITS)) == ["wait", "park"]
    assert deeds(report(Verdict.FAIL, "It misses leaves.", BACK)) == ["roll_back", "reject"]


def test_what_users_met_is_said_once() -> None:
    assert deeds(report(Verdict.FAIL, BACK.reason, BACK)) == ["roll_back"]
    assert deeds(report(Verdict.PASS, "Not worse.", WAITS)) == ["wait"]
    assert deeds(report(Verdict.FAIL, "It misses leaves.", None)) == ["reject"]
