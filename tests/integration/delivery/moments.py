"""Every moment at which a delivery can be struck, and the ways to strike it."""

from __future__ import annotations

import os
import signal
import warnings

import dagster as dg

from banana_delivery.names import PARTITION_TAG
from banana_delivery.policy.model import COLOURS, Environment, Phase
from tests.integration.delivery.serving import outside, put_outside
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

MOMENTS = (
    PhaseHook(Environment.STAGING, Phase.DEPLOYING),
    PhaseHook(Environment.STAGING, Phase.TESTING),
    PhaseHook(Environment.PRODUCTION, Phase.DEPLOYING),
    PhaseHook(Environment.PRODUCTION, Phase.COMPARING),
    PhaseHook(Environment.PRODUCTION, Phase.ROLLING_BACK),
    PhaseHook(Environment.PRODUCTION, Phase.SCALING),
    PhaseHook(Environment.PRODUCTION, Phase.SHIFTING),
    PhaseHook(Environment.PRODUCTION, Phase.WATCHING),
    PhaseHook(Environment.PRODUCTION, Phase.PROMOTING),
)
"""In the order in which a delivery passes them; the A/B report rolls its tenth of the users back."""

PROMOTED = MOMENTS[-1]
"""From here on production serves the candidate, whatever becomes of the run."""


def kill_at(hook: PhaseHook, pipeline: PipelineHarness, version: str) -> None:
    """Deliver a version in a process of its own, which SIGKILL ends at a moment.

    What the process did to the fake place and image store it hands over as it dies, since real ones outlive it.
    """
    handover = pipeline.resources.settings.home / "handover"

    def die() -> None:
        handover.write_bytes(outside(pipeline))
        os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child here never comes back to whatever they hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            pipeline.target.at[hook] = die
            pipeline.run_alone(version)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"The delivery of version {version} never came to {hook}."
    put_outside(pipeline, handover.read_bytes())


def cancel_at(hook: PhaseHook, pipeline: PipelineHarness, version: str, *, told: bool = True) -> None:
    """Let somebody press Terminate at a moment of a delivery: Dagster notes it and interrupts the run, if it can."""

    def cancel() -> None:
        filters = dg.RunsFilter(tags={PARTITION_TAG: version}, statuses=[dg.DagsterRunStatus.STARTED])
        (run,) = pipeline.instance.get_runs(filters=filters)
        pipeline.instance.report_run_canceling(run)
        if told:
            signal.raise_signal(signal.SIGINT)

    pipeline.target.at[hook] = cancel


def is_at_rest(pipeline: PipelineHarness, serving: str | None) -> None:
    """Nobody owns anything, all users are on one colour, which serves this version, and nothing else runs for long."""
    for environment in COLOURS:
        record = pipeline.target.record(environment)
        assert (record.owner, record.phase, record.candidate) == (
            None,
            Phase.IDLE,
            None if environment is Environment.PRODUCTION else record.candidate,
        )
    production = pipeline.target.record(Environment.PRODUCTION)
    assert pipeline.serving == serving
    assert pipeline.weights == production.resting_weights
    running = {colour for colour, deployment in production.deployments.items() if deployment.replicas}
    assert running == {production.active} or production.scale_down_at is not None
