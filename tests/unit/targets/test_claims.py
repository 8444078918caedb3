"""The rules that no real place can easily be brought to break; the contract suite covers the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.errors import ClaimRefusedError, FencedError, TargetError
from banana_delivery.policy.model import Colour, Environment, Phase, RolloutRecord
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim, Takeover

RECORD = RolloutRecord(environment=Environment.PRODUCTION)
Step = tuple[str, str, float]


def test_a_claim_given_back_is_worth_nothing() -> None:
    mine = claims.claimed(RECORD, "run-1", 0.0)
    claim = claims.claim_on(mine)

    given_back = claims.released(mine, claim)

    with pytest.raises(FencedError, match="given back"):
        claims.check(given_back, claim)
    assert claims.released(given_back, claim) == given_back


@pytest.mark.parametrize("now", [10.0, 1_000.0, 1e9, 1e18])
def test_no_clock_makes_an_owner_stale(now: float) -> None:
    mine = claims.claimed(RECORD, "run-1", 1_000.0)

    with pytest.raises(ClaimRefusedError, match="belongs to run-1, which showed life at 01 January 00:16:40 UTC"):
        claims.claimed(mine, "run-2", now)


@pytest.mark.parametrize("heartbeat", [-1e18, 1e18, float("inf"), float("nan")])
def test_a_refusal_is_one_sentence_whatever_the_owners_clock_has_written(heartbeat: float) -> None:
    mine = claims.claimed(RECORD, "run-1", heartbeat)

    with pytest.raises(ClaimRefusedError, match="wait until its delivery ends"):
        claims.claimed(mine, "run-2", 0.0)


def test_nobody_claims_on_behalf_of_nobody() -> None:
    with pytest.raises(ValueError, match="Nobody owns"):
        claims.claim_on(RECORD)


def test_an_old_claim_stays_dead_when_its_owner_comes_back() -> None:
    first = claims.claimed(RECORD, "run-1", 0.0)
    second = claims.claimed(first, "run-2", 1.0, seen=first, takeover=Takeover.ANYBODY)
    again = claims.claimed(second, "run-1", 2.0, seen=second, takeover=Takeover.SILENT)

    with pytest.raises(FencedError):
        claims.check(again, claims.claim_on(first))


def test_a_hold_survives_being_given_back_and_claimed() -> None:
    held = claims.claimed(RECORD, "run-1", 0.0).replace(phase=Phase.DRIFTED)

    resting = claims.released(held, claims.claim_on(held))

    assert claims.claimed(resting, "run-2", 1.0).phase is Phase.DRIFTED


def test_all_weights_at_nothing_is_a_state_before_the_first_release_only() -> None:
    assert claims.weighted(RECORD, {}).weights == {Colour.BLUE: 0, Colour.GREEN: 0}
    with pytest.raises(TargetError, match="sum to 100"):
        claims.weighted(RECORD.replace(active=Colour.BLUE), {})


@given(st.lists(st.tuples(st.sampled_from(["claim", "steal", "release"]), st.sampled_from("abc"), st.floats(0, 50))))
def test_at_no_time_do_two_claims_hold(steps: list[Step]) -> None:
    record, now = RECORD, 0.0
    made: set[Claim] = set()
    for step, owner, seconds in steps:
        now += seconds
        try:
            if step == "release":
                for claim in [claim for claim in made if claim.owner == owner]:
                    record = claims.released(record, claim)
            else:
                takeover = Takeover.ANYBODY if step == "steal" else None
                record = claims.claimed(record, owner, now, seen=record, takeover=takeover)
                made.add(claims.claim_on(record))
        except ClaimRefusedError:
            assert step == "claim"
        assert sum(_holds(record, claim) for claim in made) <= 1


def _holds(record: RolloutRecord, claim: Claim) -> bool:
    try:
        claims.check(record, claim)
    except FencedError:
        return False
    return True
