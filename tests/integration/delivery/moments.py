"""Every moment at which a delivery can be struck, and the ways to strike it."""

from __future__ import annotations

import os
import signal
import warnings

import dagster as dg

from banana_delivery.names import PARTITION_TAG
from banana_delivery.policy.model import COLOURS, Environment, Phase
from tests.integration.delivery.serving import outside, put_outside
from tests.support.phases import Moment
from tests.support.pipeline import World

MOMENTS = (
    Moment(Environment.STAGING, Phase.DEPLOYING),
    Moment(Environment.STAGING, Phase.TESTING),
    Moment(Environment.PRODUCTION, Phase.DEPLOYING),
    Moment(Environment.PRODUCTION, Phase.COMPARING),
    Moment(Environment.PRODUCTION, Phase.ROLLING_BACK),
    Moment(Environment.PRODUCTION, Phase.SCALING),
    Moment(Environment.PRODUCTION, Phase.SHIFTING),
    Moment(Environment.PRODUCTION, Phase.WATCHING),
    Moment(Environment.PRODUCTION, Phase.PROMOTING),
)
"""In the order in which a delivery passes them; the A/B report rolls its tenth of the users back."""

PROMOTED = MOMENTS[-1]
"""From here on production serves the candidate, whatever becomes of the run."""


def kill_at(moment: Moment, world: World, version: str) -> None:
    """Deliver a version in a process of its own, which SIGKILL ends at a moment.

    What the process did to the fake place and image store it hands over as it dies, since real ones outlive it.
    """
    handover = world.services.settings.home / "handover"

    def die() -> None:
        handover.write_bytes(outside(world))
        os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child here never comes back to whatever they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            world.target.at[moment] = die
            world.run_alone(version)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"The delivery of version {version} never came to {moment}."
    put_outside(world, handover.read_bytes())


def cancel_at(moment: Moment, world: World, version: str) -> None:
    """Let somebody press Terminate at a moment of a delivery: Dagster notes it and interrupts the run."""

    def cancel() -> None:
        filters = dg.RunsFilter(tags={PARTITION_TAG: version}, statuses=[dg.DagsterRunStatus.STARTED])
        (run,) = world.instance.get_runs(filters=filters)
        world.instance.report_run_canceling(run)
        signal.raise_signal(signal.SIGINT)

    world.target.at[moment] = cancel


def is_at_rest(world: World, serving: str | None) -> None:
    """Nobody owns anything, all users are on one colour, which serves this version, and nothing else runs for long."""
    for environment in COLOURS:
        record = world.target.record(environment)
        assert (record.owner, record.phase, record.candidate) == (
            None,
            Phase.IDLE,
            None if environment is Environment.PRODUCTION else record.candidate,
        )
    production = world.target.record(Environment.PRODUCTION)
    assert world.serving == serving
    assert world.weights == production.resting_weights
    running = {colour for colour, deployment in production.deployments.items() if deployment.replicas}
    assert running == {production.active} or production.warm_until is not None
