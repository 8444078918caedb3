"""What a rollback means to do, written before anything moves, and the line of the audit trail that comes of it."""

from __future__ import annotations

from banana_delivery.policy.asset_records import AttemptRecord, ShiftStep
from banana_delivery.policy.gate import somebody
from banana_delivery.policy.model import ImageRef, Outcome, Phase, RollbackIntent, RolloutRecord


def intent_of(
    before: RolloutRecord, bad: ImageRef, good: ImageRef | None, *, actor: str, reason: str, run_id: str, at: float
) -> RollbackIntent:
    """The intent, from how production was when it was decided; one that was begun and is not on record goes on.

    Args:
        before: production's record then.
        bad: has to go.
        good: serves instead; None if nothing did before.
        actor: who wants it.
        reason: why.
        run_id: the run that does it; empty for none.
        at: seconds since the epoch.
    """
    fresh = RollbackIntent(
        bad=bad,
        good=good,
        colour=before.active if serves(before, bad) else before.idle,
        actor=actor,
        reason=reason,
        run_id=run_id,
        at=at,
        earlier=_others(before, bad),
    )
    # A run whose release is taken from it while it has production ends by this, and not by an error besides.
    owner = before.owner or run_id
    begun = next((one for one in before.pending if one.bad.digest == bad.digest), None)
    revokes = (before.promoted_by or "") if serves(before, bad) else ""
    if begun:
        # The same rollback, whoever finishes it: its line may stand already, and only the intent says of which run.
        return begun.replace(good=good, seconds=None, revokes=begun.revokes or revokes, earlier=fresh.earlier)
    if serves(before, bad):
        return fresh.replace(run_id=owner if before.phase is Phase.PROMOTING else run_id, revokes=revokes)
    if before.candidate and before.candidate.digest == bad.digest:
        return fresh.replace(run_id=owner)
    return fresh


def serves(production: RolloutRecord, image: ImageRef) -> bool:
    """Whether an image owns the traffic at rest."""
    return production.live is not None and production.live.digest == image.digest


def _others(before: RolloutRecord, bad: ImageRef) -> tuple[RollbackIntent, ...]:
    """Rollbacks of other releases whose lines are still to come: the new one takes the place of their intent."""
    return tuple(one.replace(earlier=()) for one in before.pending if one.bad.digest != bad.digest)


def with_figures(attempt: AttemptRecord, steps: tuple[ShiftStep, ...]) -> AttemptRecord:
    """A rollback with what was seen of what it took out."""
    metrics = [step.metrics for step in steps]
    return attempt.replace(
        steps=steps,
        requests=sum(one.requests + one.active.requests for one in metrics),
        failed=sum(one.failed + one.active.failed for one in metrics),
    )


def attempt_of(intent: RollbackIntent) -> AttemptRecord:
    """The line of the audit trail about a rollback."""
    good, seconds = intent.good, intent.seconds or 0.0
    return AttemptRecord(
        version=intent.bad.version,
        outcome=Outcome.ROLLED_BACK,
        reason=f"{somebody(intent.actor)} rolled production back: {intent.reason}",
        digest=intent.bad.digest,
        previous_digest=good.digest if good else "",
        serving_version=good.version if good else "",
        colour=intent.colour,
        rollback_seconds=seconds,
        trigger="rollback",
        actor=intent.actor,
        run_id=intent.run_id,
        at=intent.at,
        seconds=seconds,
        revoked=True,
        revokes=intent.revokes,
    )
