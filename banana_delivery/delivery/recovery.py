"""What dead owners left behind: environments that belong to nobody who lives, brought back to one stable colour."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.delivery.lease import RECONCILER
from banana_delivery.delivery.rollback import restore_traffic, scale_down_idle_if_possible
from banana_delivery.errors import TargetError
from banana_delivery.policy import commands
from banana_delivery.policy.model import Environment, Phase, RolloutRecord
from banana_delivery.runs.lifecycle import Run, Runs, version_of
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.waiting import Clock


@dataclass(frozen=True)
class Recovery:
    """Finds and undoes what the dead left.

    Attributes:
        runs: knows which owners are dead.
        target: where releases run.
        settings: how long an owner may be silent.
        clock: tells how long it was.
    """

    runs: Runs
    target: ReleaseTarget
    settings: Settings
    clock: Clock

    def is_orphaned(self, record: RolloutRecord) -> bool:
        """Whether an environment belongs to somebody who is dead: silent for too long, or whose process is gone.

        One that nobody owns counts too if its last owner could not bring the traffic back before giving it away.
        """
        if record.owner is None:
            return is_unsettled(record)
        if self.runs.is_over(record.owner):
            return True
        silent = self.clock.time() - record.heartbeat > self.settings.stale_after_seconds
        return silent and self._is_still_silent(record)

    def take_back(self, record: RolloutRecord) -> None:
        """Take an environment over and bring it back to one stable colour; after a hand edit only the owner goes.

        Raises:
            TargetError: if the target cannot be reached; the next tick tries again.
        """
        if record.phase is Phase.DRIFTED:
            self.target.release(self.target.claim(record.environment, RECONCILER, takeover=True))
            return
        take_over(self.target, record.environment, RECONCILER, self.clock.time(), takeover=record.owner is not None)

    def fail(self, run: Run) -> None:
        """End a dead run and free its slot."""
        version = version_of(run)
        again = commands.deliver(version) if version else commands.rollback()
        self.runs.fail(
            run,
            "The process of this run died. Production and staging were brought back to one stable colour; "
            f"to try again, type: {again}",
        )

    def _is_still_silent(self, record: RolloutRecord) -> bool:
        """Whether an owner shows no life although it can: while a target is away, all of its owners are silent."""
        self.clock.sleep(2 * self.settings.heartbeat_seconds)
        return self.target.record(record.environment).heartbeat == record.heartbeat


def is_unsettled(record: RolloutRecord) -> bool:
    """Whether production rests with its traffic elsewhere than on the active colour."""
    resting = record.resting_weights
    split = any(record.weights.get(colour, 0) != weight for colour, weight in resting.items())
    return split and record.environment is Environment.PRODUCTION and record.phase is Phase.IDLE


def resume(target: ReleaseTarget, environment: Environment, owner: str, now: float) -> None:
    """End the hold after a hand edit: the active colour runs as recorded and has all traffic, and work may go on.

    Raises:
        TargetError: if the environment is not held, or the target cannot be reached.
    """
    record = target.record(environment)
    if record.phase is not Phase.DRIFTED:
        raise TargetError(f"{environment.capitalize()} is not held, so there is nothing to resume.")
    claim = target.claim(environment, owner, takeover=True)
    deployment = record.deployments.get(record.active) if record.active else None
    if record.active and deployment:
        observed = target.observed(environment)
        if observed.digests.get(record.active) != deployment.image.digest:
            target.deploy(claim, record.active, deployment.image, deployment.replicas)
        elif observed.replicas.get(record.active) != deployment.replicas:
            target.scale(claim, record.active, deployment.replicas)
    _settle(target, claim, now)


def take_over(
    target: ReleaseTarget, environment: Environment, owner: str, now: float, *, takeover: bool = True
) -> None:
    """Take an environment, by default from whoever has it, and bring it back to one stable colour at rest.

    Raises:
        TargetError: if the target cannot be reached, or production may not be taken over and somebody has it.
    """
    _settle(target, target.claim(environment, owner, takeover=takeover), now)


def _settle(target: ReleaseTarget, claim: Claim, now: float) -> None:
    if claim.environment is Environment.PRODUCTION:
        restore_traffic(target, claim)
        scale_down_idle_if_possible(target, claim, now)
    target.write(claim, target.record(claim.environment).replace(phase=Phase.IDLE, candidate=None, note=""))
    target.release(claim)
