"""What must hold once faults have stopped and time has passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from banana_delivery.delivery.lease import Lease
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency, is_revoked
from tests.chaos.actors import Cast
from tests.chaos.world import THEIRS, World

MOST_TIMES_TOLD = 2


def broken(world: World, cast: Cast) -> list[str]:
    """Every invariant that does not hold, as a sentence."""
    found = [
        *world.monitor.broken,
        *_mistakes(world),
        *_production_is_stable(world),
        *_staging_is_free(world),
        *_nothing_revoked_serves(world),
        *_the_trail_knows_what_was_revoked(world),
        *_every_effect_is_on_record_once(world, cast),
        *_the_trail_knows_who_released(world),
        *_nothing_foreign_is_on_record(world),
        *_people_were_told(world),
        *_the_registry_says_what_serves(world),
        *_nobody_is_locked_out(world),
    ]
    return list(dict.fromkeys(found))


def _mistakes(world: World) -> Iterator[str]:
    for where, error in [*world.unexpected, *world.kernel.crashes]:
        yield f"{where} met what nothing explains: {type(error).__name__}: {error}"


def _production_is_stable(world: World) -> Iterator[str]:
    record, state = world.production, world.place.state(Environment.PRODUCTION)
    if record.owner is not None:
        yield f"Production still belongs to {record.owner}."
    if record.phase is not Phase.IDLE:
        yield f"Production is not at rest but {record.phase}."
    if record.candidate is not None:
        yield f"Production still has the candidate {record.candidate.version}."
    if record.intent is not None:
        yield f"The rollback of version {record.intent.bad.version} was never finished."
    if state.weights != record.weights or record.weights != record.resting_weights:
        yield f"Users are on {state.weights}, on record {record.weights}, and {record.active} is active."
    active = state.deployments.get(record.active) if record.active else None
    if active is None or active.replicas < 1 or active != record.deployments.get(record.active):
        yield f"The active colour {record.active} runs {active}, on record {record.deployments.get(record.active)}."


def _staging_is_free(world: World) -> Iterator[str]:
    record = world.target._record(Environment.STAGING)
    if record.owner is not None:
        yield f"Staging still belongs to {record.owner}."


def _nothing_revoked_serves(world: World) -> Iterator[str]:
    live = world.production.live
    if live and live.version in world.monitor.revoked:
        yield f"Version {live.version} serves although it was rolled back."


def _the_trail_knows_what_was_revoked(world: World) -> Iterator[str]:
    live = world.production.live
    for version in sorted(world.monitor.revoked):
        if not is_revoked(world.audit_log.attempts(version)):
            yield f"Version {version} was rolled back, and the audit trail would let it in again."
    if live and is_revoked(world.audit_log.attempts(live.version)):
        yield f"Version {live.version} serves, and the audit trail says that it was rolled back."


def _every_effect_is_on_record_once(world: World, cast: Cast) -> Iterator[str]:
    attempts = world.audit_log.attempts()
    lines = Counter(_identity(attempt) for attempt in attempts)
    for (who, version, revoked), number in lines.items():
        if number > 1:
            yield f"{number} lines say how {who} ended with version {version}, revoked {revoked}."
    for run_id, record in world.instance.runs.items():
        run = record.dagster_run
        if run_id.startswith(THEIRS):
            continue
        if not run.is_finished:
            yield f"Run {run_id} never ended: {run.status.value}, worker {run.tags.get('worker', 'unknown')}."
        elif run.job_name != "rollback" and not any(attempt.run_id == run_id for attempt in attempts):
            yield f"Run {run_id} ended {run.status.value} and has no line."
    for done in cast.rollbacks:
        if _identity(done) not in lines:
            yield f"The rollback of version {done.version} by {done.actor} has no line."
    revocations = {attempt.version for attempt in attempts if attempt.revoked}
    for intent in world.monitor.intents:
        if intent.bad.version not in revocations and intent.bad.version in world.monitor.revoked:
            yield f"Version {intent.bad.version} was taken out by {intent.actor}, and no line revokes it."


def _nothing_foreign_is_on_record(world: World) -> Iterator[str]:
    for attempt in world.audit_log.attempts():
        if attempt.run_id.startswith(THEIRS):
            yield f"Run {attempt.run_id}, which is not ours, has a line."


def _the_trail_knows_who_released(world: World) -> Iterator[str]:
    promoted = {who.partition(" ")[0] for who, _ in world.monitor.promoted}
    said = {attempt.run_id for attempt in world.audit_log.attempts() if _is_promotion(attempt)} - set(_BASE)
    for run_id in sorted(said - promoted):
        yield f"A line says that {run_id} released a version, which it did not."
    run_id = world.production.promoted_by
    if run_id and run_id not in said and run_id not in _BASE:
        yield f"Production serves what {run_id} released, and no line says so."


_BASE = ("run1", "run2")
"""Runs that released something before the seed begins."""


def _is_promotion(attempt: AttemptRecord) -> bool:
    return attempt.outcome is Outcome.RELEASED and attempt.previous_digest != attempt.digest


def _identity(attempt: AttemptRecord) -> tuple[str, str, bool]:
    return attempt.run_id or f"{attempt.actor} {attempt.at}", attempt.version, attempt.revoked


def _people_were_told(world: World) -> Iterator[str]:
    told = Counter(notice.key for notice in world.notifier.sent())
    for attempt in world.audit_log.attempts():
        if CONSEQUENCES[attempt.outcome].urgency is Urgency.QUIET:
            continue
        key = f"{attempt.run_id or attempt.at}/{attempt.version}/{attempt.outcome}"
        if not told[key]:
            who = attempt.run_id or attempt.actor
            yield f"Nobody was told that version {attempt.version} {attempt.outcome} ({who})."
        elif told[key] > MOST_TIMES_TOLD:
            yield f"People were told {told[key]} times that version {attempt.version} {attempt.outcome}."


def _the_registry_says_what_serves(world: World) -> Iterator[str]:
    live, says = world.production.live, world.registry.aliases.get("production")
    if live and says != live.version:
        yield f"The registry says that version {says} serves, and version {live.version} does."


def _nobody_is_locked_out(world: World) -> Iterator[str]:
    for environment in Environment:
        try:
            with Lease(world.target, environment, "the next one", heartbeat_seconds=2.0):
                pass
        except Exception as error:  # noqa: BLE001 - whatever keeps the next one out
            yield f"Nobody can work on {environment}: {error}"
