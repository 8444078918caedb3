"""Environments brought back to one stable colour: those of dead owners, and what somebody else changed at rest."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from banana_delivery.delivery.lease import RECONCILER, Lease
from banana_delivery.delivery.live.ending import is_to_end
from banana_delivery.delivery.rollback import restore_traffic, scale_down_idle_if_possible
from banana_delivery.errors import FencedError, LostRecordError, TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.drift import Observed, find_drift, is_as_recorded, refuge
from banana_delivery.policy.model import COLOURS, Colour, Environment, Phase, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import SCORE
from banana_delivery.runs.lifecycle import Run, Runs, superseded_by
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim, ReleaseTarget, Takeover
from banana_delivery.targets.sightings import owner_watch
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
ANSWER_SECONDS = 10.0
"""How long one try waits for replicas to answer: whoever tries is a sensor that looks again, or a person."""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Recovery:
    """Finds and undoes what the dead left.

    Attributes:
        runs: knows which owners are dead.
        target: where releases run.
        settings: how long an owner may be silent, and where is kept what was seen of it before.
        clock: tells how long it was.
    """

    runs: Runs
    target: ReleaseTarget
    settings: Settings
    clock: Clock

    def is_orphaned(self, record: RolloutRecord) -> bool:
        """Whether an environment belongs to somebody who is dead: seen silent for too long, or whose process is gone.

        One that nobody owns counts too if its last owner could not bring the traffic back before giving it away.
        """
        if record.owner is None:
            return is_unsettled(record)
        if self.runs.is_over(record.owner):
            return True
        return owner_watch(self.target, self.settings, self.clock).is_silent(record)

    def take_back(self, record: RolloutRecord) -> None:
        """Take an environment over and bring it back to one stable colour; after a hand edit only the owner goes.

        Args:
            record: as it was found orphaned.

        Raises:
            ClaimRefusedError: if it has changed since: somebody is at work there after all.
            TargetError: if the target cannot be reached; the next tick tries again.
        """
        takeover = Takeover.SILENT if record.owner else None
        claim = self.target.claim(record.environment, RECONCILER, seen=record, takeover=takeover)
        if record.phase is Phase.DRIFTED:
            self.target.release(claim)
            return
        _settle(self.target, claim, self.clock)

    def fail(self, run: Run) -> None:
        """End a dead run and free its slot; a delivery that somebody had ended before it died, as he ended it."""
        version, log = self.runs.location.version_of(run), AuditLog(self.runs.instance, self.runs.location)
        if version and (superseded_by(run.tags) or is_to_end(log, run.run_id)):
            self.runs.end_as_cancelled(run, "The process of this run died after somebody had ended it.")
            return
        others = commands.scorecard() if run.job_name == SCORE else commands.rollback()
        again = commands.deliver(version) if version else others
        self.runs.fail(
            run,
            "The process of this run died. Production and staging were brought back to one stable colour; "
            f"to try again, type: {again}",
        )


def is_unsettled(record: RolloutRecord) -> bool:
    """Whether production rests with its traffic elsewhere than on the active colour."""
    resting = record.resting_weights
    split = any(record.weights.get(colour, 0) != weight for colour, weight in resting.items())
    return split and record.environment is Environment.PRODUCTION and record.phase is Phase.IDLE


def held(target: ReleaseTarget, environment: Environment) -> RolloutRecord:
    """The record of an environment that is held after a hand edit.

    Raises:
        TargetError: if it is not held, or the target cannot be reached.
    """
    record = target.record(environment)
    if record.phase is not Phase.DRIFTED:
        raise TargetError(f"{environment.capitalize()} is not held, so there is nothing to resume.")
    return record


def resume(target: ReleaseTarget, environment: Environment, owner: str, clock: Clock) -> None:
    """End the hold after a hand edit: the active colour runs as recorded and has all traffic, and work may go on.

    Raises:
        TargetError: if the environment is not held, somebody does the same at this moment, the target cannot be
            reached, or the active colour does not answer; then it stays held.
    """
    record = held(target, environment)
    claim = target.claim(environment, owner, seen=record, takeover=Takeover.ANYBODY)
    deployment = record.deployments.get(record.active) if record.active else None
    if record.active and deployment:
        observed = target.observed(environment)
        right = observed.digests.get(record.active) == deployment.image.digest
        if right and observed.replicas.get(record.active, 0) > deployment.replicas:
            target.scale(claim, record.active, deployment.replicas)
    if environment is Environment.PRODUCTION and not bring_back(target, claim, clock):
        target.release(claim)
        raise TargetError(
            f"{environment.capitalize()} stays held: {record.active} does not answer within {ANSWER_SECONDS:.0f} s of "
            f"being started as recorded. See what runs with: {commands.status()}, and type again: "
            f"{commands.resume(environment)}"
        )
    _rest(target, claim)


def restorable(target: ReleaseTarget, environment: Environment, active: Colour | None = None) -> RolloutRecord:
    """The record that ``restore`` is to store: what the copy says while that is known, else what runs.

    Args:
        target: where releases run.
        environment: whose record.
        active: the colour that a person says owns the traffic; then it is always rebuilt from what runs.

    Raises:
        TargetError: if it cannot be told which colour owns the traffic, or the target cannot be reached.
    """
    if active is None:
        with suppress(LostRecordError):
            damage = target.damage(environment)
            if damage and damage.restored:
                return target.record(environment)
    return target.rebuild(environment, active)


def restore(target: ReleaseTarget, record: RolloutRecord, owner: str) -> None:
    """Store a record in the place of one that was lost, give the users its weights, and leave the environment to all.

    Raises:
        ClaimRefusedError: if a record can be read that another owner has.
        TargetError: if the target cannot be reached, or the users do not get there.
    """
    claim = target.restore(record, owner)
    try:
        if record.environment is Environment.PRODUCTION and record.active:
            target.set_weights(claim, record.weights)
    finally:
        target.release(claim)


def take_over(target: ReleaseTarget, environment: Environment, owner: str, clock: Clock) -> None:
    """Take an environment from whoever has it, and bring it back to one stable colour at rest.

    Raises:
        ClaimRefusedError: if somebody else took it at this moment.
        TargetError: if the target cannot be reached.
    """
    seen = target.record(environment)
    _settle(target, target.claim(environment, owner, seen=seen, takeover=Takeover.ANYBODY), clock)


def make_good(target: ReleaseTarget, clock: Clock, heartbeat_seconds: float) -> bool:
    """Let production at rest be again what its record says.

    Returns:
        Whether the active colour answers and has all users.

    Raises:
        TargetError: if the target cannot be reached, or somebody has production or holds it.
    """
    environment = Environment.PRODUCTION
    with Lease(target, environment, RECONCILER, heartbeat_seconds=heartbeat_seconds) as lease:
        return bring_back(target, lease.claim, clock)


def bring_back(target: ReleaseTarget, claim: Claim, clock: Clock) -> bool:
    """Give the active colour all users, and every colour that is needed the replicas that the record says.

    Users are never moved to a colour that does not answer. Where the active one does not, they are sent to the other if
    that does, until the active one was brought up again.

    Returns:
        Whether the active colour has all users; if it does not answer in time, whoever tries again finds it started.

    Raises:
        FencedError: if somebody else has taken production over.
        TargetError: if the target cannot be reached.
    """
    record, observed = target.record(claim.environment), _observed(target, claim.environment)
    active = record.active
    if active and observed and not is_as_recorded(record, observed, active):
        served = any(observed.share(colour) and observed.answers(colour) for colour in COLOURS[claim.environment])
        sheltered = shelter(target, claim, record, observed)
        _start(target, claim, active)
        if not _answers_in_time(target, claim.environment, active, clock):
            if not served and not sheltered:
                # Nobody is served anyhow, and is again once it answers.
                target.set_weights(claim, record.resting_weights)
            return False
    restore_traffic(target, claim)
    if observed:
        _bring_up_the_rest(target, claim, observed)
    return True


def shelter(target: ReleaseTarget, claim: Claim, record: RolloutRecord, observed: Observed) -> Colour | None:
    """Send users who get no answer to the colour that answers; None if they need no other, or there is none.

    Raises:
        TargetError: if the router does not follow.
    """
    colour = refuge(record, observed)
    if colour:
        target.set_weights(claim, {one: 100 if one is colour else 0 for one in COLOURS[claim.environment]})
    return colour


def _observed(target: ReleaseTarget, environment: Environment) -> Observed | None:
    """What is there; None if that cannot be seen, since moving users back must not depend on it."""
    try:
        return target.observed(environment)
    except TargetError as error:
        LOG.warning("%s cannot be observed: %s", environment.capitalize(), error)
        return None


def _start(target: ReleaseTarget, claim: Claim, colour: Colour) -> None:
    """Let a colour run as recorded; what hinders it is seen by whoever waits for its answer."""
    deployment = target.record(claim.environment).deployments.get(colour)
    if deployment is None:
        return
    try:
        target.deploy(claim, colour, deployment.image, deployment.replicas)
    except FencedError:
        raise
    except TargetError as error:
        LOG.warning("%s could not be brought up as recorded: %s", colour.capitalize(), error)


def _answers_in_time(target: ReleaseTarget, environment: Environment, colour: Colour, clock: Clock) -> bool:
    until = clock.monotonic() + ANSWER_SECONDS
    while not target.readiness(environment, colour).ready:
        if clock.monotonic() > until:
            return False
        clock.sleep(POLL_SECONDS)
    return True


def _bring_up_the_rest(target: ReleaseTarget, claim: Claim, observed: Observed) -> None:
    """Replace what is missing beside what answers: of the active colour, and of the one that stays warm."""
    record = target.record(claim.environment)
    needed = {record.active} if record.scale_down_at is None else {record.active, record.idle}
    for colour in {drift.colour for drift in find_drift(record, observed) if drift.mendable} & needed:
        if colour:
            _start(target, claim, colour)


def _settle(target: ReleaseTarget, claim: Claim, clock: Clock) -> None:
    if claim.environment is Environment.PRODUCTION:
        bring_back(target, claim, clock)
    _rest(target, claim)


def _rest(target: ReleaseTarget, claim: Claim) -> None:
    if claim.environment is Environment.PRODUCTION:
        scale_down_idle_if_possible(target, claim)
    target.write(claim, target.record(claim.environment).replace(phase=Phase.IDLE, candidate=None, note=""))
    target.release(claim)
