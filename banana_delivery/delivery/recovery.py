"""What dead owners left behind: environments that belong to nobody who lives, brought back to one stable colour."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from banana_delivery.delivery.lease import RECONCILER
from banana_delivery.delivery.rollback import restore_traffic, scale_down_idle_if_possible
from banana_delivery.errors import LostRecordError, TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.model import Colour, Environment, Phase, RolloutRecord
from banana_delivery.runs.lifecycle import Run, Runs
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim, ReleaseTarget, Takeover
from banana_delivery.targets.sightings import owner_watch
from banana_delivery.waiting import Clock


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
        _settle(self.target, claim)

    def fail(self, run: Run) -> None:
        """End a dead run and free its slot."""
        self.runs.fail(
            run,
            "The process of this run died. Production and staging were brought back to one stable colour; "
            f"to try again, type: {commands.deliver(self.runs.location.version_of(run))}",
        )


def is_unsettled(record: RolloutRecord) -> bool:
    """Whether production rests with its traffic elsewhere than on the active colour."""
    resting = record.resting_weights
    split = any(record.weights.get(colour, 0) != weight for colour, weight in resting.items())
    return split and record.environment is Environment.PRODUCTION and record.phase is Phase.IDLE


def resume(target: ReleaseTarget, environment: Environment, owner: str) -> None:
    """End the hold after a hand edit: the active colour runs as recorded and has all traffic, and work may go on.

    Raises:
        TargetError: if the environment is not held, somebody does the same at this moment, or the target cannot be
            reached.
    """
    record = target.record(environment)
    if record.phase is not Phase.DRIFTED:
        raise TargetError(f"{environment.capitalize()} is not held, so there is nothing to resume.")
    claim = target.claim(environment, owner, seen=record, takeover=Takeover.ANYBODY)
    deployment = record.deployments.get(record.active) if record.active else None
    if record.active and deployment:
        observed = target.observed(environment)
        if observed.digests.get(record.active) != deployment.image.digest:
            target.deploy(claim, record.active, deployment.image, deployment.replicas)
        elif observed.replicas.get(record.active) != deployment.replicas:
            target.scale(claim, record.active, deployment.replicas)
    _settle(target, claim)


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


def take_over(target: ReleaseTarget, environment: Environment, owner: str) -> None:
    """Take an environment from whoever has it, and bring it back to one stable colour at rest.

    Raises:
        ClaimRefusedError: if somebody else took it at this moment.
        TargetError: if the target cannot be reached.
    """
    seen = target.record(environment)
    _settle(target, target.claim(environment, owner, seen=seen, takeover=Takeover.ANYBODY))


def _settle(target: ReleaseTarget, claim: Claim) -> None:
    if claim.environment is Environment.PRODUCTION:
        restore_traffic(target, claim)
        scale_down_idle_if_possible(target, claim)
    target.write(claim, target.record(claim.environment).replace(phase=Phase.IDLE, candidate=None, note=""))
    target.release(claim)
