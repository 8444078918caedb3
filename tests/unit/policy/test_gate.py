from __future__ import annotations

import pytest

from banana_delivery.policy.asset_records import AbVerdict, AttemptRecord, DecisionKind, ManualDecision, Verdict
from banana_delivery.policy.gate import (
    Approvers,
    GateDecision,
    GateStatus,
    ab_verdict,
    counts,
    evaluate_gate,
)
from banana_delivery.policy.hindsight.would_have import TRY, WouldHave
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import StepKind
from tests.unit.reports.scenes import quality, step

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def verdict(kind: Verdict, digest: str = DIGEST, at: float = 10.0) -> AbVerdict:
    return AbVerdict(verdict=kind, digest=digest, reason=f"It was a {kind}.", at=at, order=int(at))


def attempt(outcome: Outcome, at: float, *, revoked: bool = False) -> AttemptRecord:
    return AttemptRecord(outcome=outcome, reason="", version="7", digest=DIGEST, at=at, order=int(at), revoked=revoked)


def decision(kind: DecisionKind, at: float, digest: str = "") -> ManualDecision:
    return ManualDecision(kind=kind, version="7", digest=digest, by="Ada", reason="I looked.", at=at, order=int(at))


RELEASED = attempt(Outcome.RELEASED, 1.0)
REVOKED = attempt(Outcome.ROLLED_BACK, 5.0, revoked=True)


@pytest.mark.parametrize(
    ("verdicts", "history", "decisions", "frozen", "status", "basis"),
    [
        ([], [], [], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.PASS)], [], [], False, GateStatus.OPEN, "verdict"),
        ([verdict(Verdict.PASS, OTHER)], [], [], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.PASS, at=1.0), verdict(Verdict.FAIL, at=2.0)], [], [], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.FAIL)], [], [decision(DecisionKind.APPROVAL, 11.0)], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.INCONCLUSIVE)], [], [], False, GateStatus.PARKED, ""),
        (
            [verdict(Verdict.INCONCLUSIVE)],
            [],
            [decision(DecisionKind.APPROVAL, 11.0)],
            False,
            GateStatus.OPEN,
            "approval",
        ),
        ([verdict(Verdict.INCONCLUSIVE)], [], [decision(DecisionKind.APPROVAL, 9.0)], False, GateStatus.PARKED, ""),
        (
            [verdict(Verdict.INCONCLUSIVE)],
            [],
            [decision(DecisionKind.APPROVAL, 11.0, OTHER)],
            False,
            GateStatus.PARKED,
            "",
        ),
        ([], [RELEASED], [], False, GateStatus.OPEN, "redeploy"),
        ([], [RELEASED.replace(digest=OTHER)], [], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.PASS)], [RELEASED, REVOKED], [], False, GateStatus.REFUSED, ""),
        ([], [RELEASED, REVOKED], [decision(DecisionKind.OVERRIDE, 6.0)], False, GateStatus.OPEN, "override"),
        ([], [RELEASED, REVOKED], [decision(DecisionKind.OVERRIDE, 4.0)], False, GateStatus.REFUSED, ""),
        ([verdict(Verdict.PASS)], [], [], True, GateStatus.PARKED, ""),
        ([verdict(Verdict.PASS)], [], [decision(DecisionKind.OVERRIDE, 11.0)], True, GateStatus.OPEN, "override"),
    ],
)
def test_the_gate_opens_only_for_a_reason(
    verdicts: list[AbVerdict],
    history: list[AttemptRecord],
    decisions: list[ManualDecision],
    frozen: bool,
    status: GateStatus,
    basis: str,
) -> None:
    decision = evaluate_gate("7", DIGEST, verdicts=verdicts, history=history, decisions=decisions, frozen=frozen)
    assert (decision.status, decision.basis) == (status, basis)


@pytest.mark.parametrize("clock", [-3600.0, 0.0, 120.0, 1e9])
def test_what_was_decided_last_is_told_by_the_audit_trail_and_by_no_clock(clock: float) -> None:
    released = RELEASED.replace(at=1000.0)
    revoked = REVOKED.replace(at=1000.0 + clock)
    override = decision(DecisionKind.OVERRIDE, 6.0).replace(at=1000.0 - clock)
    spent = decision(DecisionKind.OVERRIDE, 4.0).replace(at=1000.0 + 2 * clock)

    def status(*said: ManualDecision) -> GateStatus:
        history = [revoked, released]
        return evaluate_gate("7", DIGEST, verdicts=[], history=history, decisions=said, frozen=False).status

    assert status() is GateStatus.REFUSED
    assert status(override) is GateStatus.OPEN
    assert status(spent) is GateStatus.REFUSED


def test_a_decision_without_a_reason_is_none_and_a_claimed_name_is_said_to_be_claimed() -> None:
    def said(by: str, reason: str) -> GateDecision:
        word = decision(DecisionKind.OVERRIDE, 9.0, DIGEST).replace(by=by, reason=reason)
        return evaluate_gate("7", DIGEST, verdicts=[], history=[REVOKED], decisions=[word], frozen=True)

    assert said("Ada", "").status is said("Ada", " \n").status is GateStatus.REFUSED
    assert said("Ada", "I looked.").reason == "Ada overrode the gate: I looked."
    assert said("claimed by ada on host", "I looked.").reason == (
        "Somebody (claimed by ada on host) overrode the gate: I looked."
    )


def test_whoever_is_kept_out_is_told_what_to_type() -> None:
    refused = evaluate_gate("7", DIGEST, verdicts=[], history=[], decisions=[], frozen=False)
    revoked = evaluate_gate("7", DIGEST, verdicts=[], history=[RELEASED, REVOKED], decisions=[], frozen=False)
    parked = evaluate_gate(
        "7", DIGEST, verdicts=[verdict(Verdict.INCONCLUSIVE)], history=[], decisions=[], frozen=False
    )
    assert "banana-delivery deliver 7" in refused.reason
    assert "banana-delivery override 7" in revoked.reason
    assert "banana-delivery approve 7" in parked.reason


def said_by(by: str, kind: DecisionKind, at: float = 11.0, digest: str = "") -> ManualDecision:
    return decision(kind, at, digest).replace(by=by)


ADA, BOB = "ada@example.com (Kubernetes user)", "bob@example.com (Kubernetes user)"
NAMED = ("ada@example.com", "bob@example.com")


@pytest.mark.parametrize(
    ("approvers", "people", "opens"),
    [
        (Approvers(needed=2), [ADA], False),
        (Approvers(needed=2), [ADA, ADA], False),
        (Approvers(needed=2), [ADA, BOB], True),
        (Approvers(who=NAMED), [ADA], True),
        (Approvers(who=NAMED), ["claimed by ada@example.com on desk"], False),
        (Approvers(who=NAMED), ["ada@example.community (Kubernetes user)"], False),
        (Approvers(who=NAMED), ["ada@example.com (not really) (Kubernetes user)"], False),
        (Approvers(needed=2, who=NAMED), [ADA, "ada@example.com (abroad) (Kubernetes user)"], False),
        (Approvers(needed=2, who=NAMED), [ADA, "eve@example.com (Kubernetes user)"], False),
        (Approvers(needed=2, who=NAMED), [BOB, ADA], True),
        (Approvers(needed=2), [ADA, "ada@example.com (via page)"], False),
        (Approvers(needed=2, who=NAMED), [BOB, "ada@example.com (via page)"], True),
    ],
)
@pytest.mark.parametrize("kind", [DecisionKind.APPROVAL, DecisionKind.OVERRIDE])
def test_as_many_of_those_who_may_have_to_say_so_as_the_policy_wants(
    approvers: Approvers, people: list[str], opens: bool, kind: DecisionKind
) -> None:
    waits = [verdict(Verdict.INCONCLUSIVE)] if kind is DecisionKind.APPROVAL else [verdict(Verdict.FAIL)]
    history = [] if kind is DecisionKind.APPROVAL else [RELEASED, REVOKED]
    found = evaluate_gate(
        "7",
        DIGEST,
        verdicts=waits,
        history=history,
        decisions=[said_by(by, kind, 11.0 + number) for number, by in enumerate(people)],
        frozen=False,
        approvers=approvers,
    )
    assert (found.status is GateStatus.OPEN) is opens
    if not opens:
        assert f"{approvers.needed} " in found.reason
        assert all(by in found.reason for by in people if approvers.may(by))


def test_a_word_about_another_image_or_from_before_the_report_is_none_of_those_that_are_needed() -> None:
    kind = DecisionKind.APPROVAL
    for stale in (said_by(BOB, kind, 9.0), said_by(BOB, kind, 12.0, OTHER)):
        found = evaluate_gate(
            "7",
            DIGEST,
            verdicts=[verdict(Verdict.INCONCLUSIVE)],
            history=[],
            decisions=[said_by(ADA, kind), stale],
            frozen=False,
            approvers=Approvers(needed=2),
        )
        assert found.status is GateStatus.PARKED
        assert found.reason.endswith(f"(2 people have to; so far: {ADA})")


@pytest.mark.parametrize(
    ("one", "standing"),
    [
        (decision(DecisionKind.APPROVAL, 11.0), True),
        (decision(DecisionKind.APPROVAL, 9.0), False),
        (decision(DecisionKind.APPROVAL, 11.0, OTHER), False),
        (decision(DecisionKind.OVERRIDE, 11.0), True),
        (decision(DecisionKind.OVERRIDE, 2.0), False),
        (decision(DecisionKind.OVERRIDE, 11.0, OTHER), False),
    ],
)
def test_a_decision_counts_for_its_image_until_a_later_report_or_until_it_is_spent(
    one: ManualDecision, standing: bool
) -> None:
    assert counts(one, DIGEST, [RELEASED, REVOKED], [verdict(Verdict.INCONCLUSIVE)]) is standing


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (ActionKind.ROLL_BACK, Verdict.FAIL),
        (ActionKind.PARK, Verdict.INCONCLUSIVE),
        (ActionKind.STAND_BACK, Verdict.INCONCLUSIVE),
        (TRY, Verdict.INCONCLUSIVE),
        ("wait", Verdict.PASS),
    ],
)
def test_a_report_by_a_policy_that_only_observes_says_what_the_users_met(what: str, said: Verdict) -> None:
    would = WouldHave(what=what, where="the A/B", reason="So it was.")
    went_on = step(10, 30.0, ActionKind.SET_WEIGHT, kind=StepKind.AB).replace(observed=would)
    found, reason = ab_verdict(went_on, quality(3.0), None)
    assert found is said
    assert (reason == would.reason) is (said is not Verdict.PASS)


PARKED = attempt(Outcome.PARKED, 10.0)


@pytest.mark.parametrize("verdict_", [Verdict.INCONCLUSIVE, Verdict.FAIL])
def test_of_what_is_approved_and_frozen_it_is_said_that_it_goes_on_by_itself(verdict_: Verdict) -> None:
    kept_out = evaluate_gate(
        "7",
        DIGEST,
        verdicts=[verdict(verdict_)],
        history=[PARKED],
        decisions=[decision(DecisionKind.APPROVAL, 11.0)],
        frozen=True,
    )
    assert (kept_out.status, kept_out.frozen) == (GateStatus.PARKED, True)
    assert ("goes on by itself" in kept_out.reason) == (verdict_ is Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("said", [Verdict.INCONCLUSIVE, Verdict.PASS])
def test_in_a_freeze_one_of_two_who_have_to_approve_is_not_told_to_make_another_report(said: Verdict) -> None:
    kept_out = evaluate_gate(
        "7",
        DIGEST,
        verdicts=[verdict(said)],
        history=[PARKED],
        decisions=[decision(DecisionKind.APPROVAL, 11.0)],
        frozen=True,
        approvers=Approvers(needed=2),
    )
    assert (kept_out.status, kept_out.frozen) == (GateStatus.PARKED, True)
    assert "goes on by itself" in kept_out.reason
    assert ("2 people have to; so far: Ada" in kept_out.reason) == (said is Verdict.INCONCLUSIVE)
    assert "type: banana-delivery deliver" not in kept_out.reason.partition("; if it cannot wait")[0]


def test_of_what_is_put_off_it_is_said_how_to_take_that_back() -> None:
    kept_out = evaluate_gate(
        "7",
        DIGEST,
        verdicts=[verdict(Verdict.INCONCLUSIVE)],
        history=[PARKED],
        decisions=[decision(DecisionKind.APPROVAL, 11.0)],
        frozen=True,
    )
    assert "banana-delivery withdraw 7" in kept_out.reason
