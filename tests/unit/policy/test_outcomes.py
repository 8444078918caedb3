from __future__ import annotations

import pytest

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import (
    CONSEQUENCES,
    RunStatus,
    Score,
    Urgency,
    decisive,
    is_redeploy,
    is_revoked,
    registry_mark,
)


@pytest.mark.parametrize(
    ("outcome", "run_status", "clears_staging", "urgency", "score"),
    [
        (Outcome.RELEASED, RunStatus.SUCCESS, True, Urgency.NORMAL, Score.GOOD),
        (Outcome.REJECTED, RunStatus.FAILURE, True, Urgency.NORMAL, Score.GOOD),
        (Outcome.ROLLED_BACK, RunStatus.FAILURE, True, Urgency.URGENT, Score.BAD_IF_HEALTHY),
        (Outcome.PARKED, RunStatus.SUCCESS, False, Urgency.ASKS, Score.GOOD),
        (Outcome.SUPERSEDED, RunStatus.CANCELED, True, Urgency.QUIET, Score.GOOD),
        (Outcome.CANCELLED, RunStatus.CANCELED, False, Urgency.NORMAL, Score.NEUTRAL),
        (Outcome.ERROR, RunStatus.FAILURE, False, Urgency.NORMAL, Score.BAD),
    ],
)
def test_every_outcome_has_its_consequences(
    outcome: Outcome, run_status: RunStatus, clears_staging: bool, urgency: Urgency, score: Score
) -> None:
    row = CONSEQUENCES[outcome]
    assert (row.run_status, row.clears_staging, row.urgency, row.score) == (run_status, clears_staging, urgency, score)


def test_no_outcome_lacks_a_row() -> None:
    assert set(CONSEQUENCES) == set(Outcome)


def test_only_a_release_promotes_and_only_a_rollback_revokes() -> None:
    assert [outcome for outcome, row in CONSEQUENCES.items() if row.promotes] == [Outcome.RELEASED]
    assert [outcome for outcome, row in CONSEQUENCES.items() if row.revokes] == [Outcome.ROLLED_BACK]


def attempt(outcome: Outcome, at: float, *, revoked: bool = False) -> AttemptRecord:
    return AttemptRecord(outcome=outcome, reason="", version="7", digest="", at=at, order=int(at), revoked=revoked)


def test_a_version_is_a_redeploy_from_its_release_until_it_is_revoked() -> None:
    released, parked = attempt(Outcome.RELEASED, 1.0), attempt(Outcome.PARKED, 2.0)
    revoked, again = attempt(Outcome.ROLLED_BACK, 3.0, revoked=True), attempt(Outcome.RELEASED, 4.0)
    assert not is_redeploy([parked])
    assert is_redeploy([parked, released])
    assert not is_redeploy([released, parked, revoked])
    assert is_revoked([revoked, released])
    assert is_redeploy([revoked, released, again])


def test_what_a_run_says_late_of_a_release_that_was_taken_out_is_no_release_since() -> None:
    taken_out = attempt(Outcome.ROLLED_BACK, 3.0, revoked=True).replace(revokes="slow")
    late, own = (attempt(Outcome.RELEASED, 4.0).replace(run_id=run_id) for run_id in ("slow", "another"))

    assert is_revoked([taken_out, late])
    assert not is_redeploy([taken_out, late])
    assert is_redeploy([taken_out, late, own])
    assert decisive([taken_out, late, own]) == [taken_out, own]


def test_a_rollback_that_does_not_know_whose_release_it_takes_out_silences_nobody() -> None:
    unknown = attempt(Outcome.ROLLED_BACK, 3.0, revoked=True)
    by_hand = attempt(Outcome.RELEASED, 4.0).replace(run_id="")

    assert is_redeploy([unknown, by_hand])


def test_the_registry_always_hears_what_really_serves() -> None:
    mark = registry_mark(Outcome.ROLLED_BACK, "It failed.", "sha256:1", "run", serving="6")
    assert (mark.serving, mark.clear_staging) == ("6", True)
