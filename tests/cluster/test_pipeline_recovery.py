"""Killed or cancelled at one phase after the other on a real cluster: one stable colour, told once, no request lost."""

from __future__ import annotations

import dagster as dg
import pytest

from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.cluster.cluster import PRODUCTION
from tests.cluster.load import Users
from tests.cluster.world import ClusterWorld
from tests.integration.delivery.moments import cancel_at
from tests.integration.delivery.test_every_phase import GOOD, run_of_version, was_told_once
from tests.support.phases import PhaseHook

KILLED = (
    PhaseHook(Environment.STAGING, Phase.DEPLOYING),
    pytest.param(PhaseHook(PRODUCTION, Phase.DEPLOYING), marks=pytest.mark.long),
    pytest.param(PhaseHook(PRODUCTION, Phase.COMPARING), marks=pytest.mark.long),
    PhaseHook(PRODUCTION, Phase.SHIFTING),
    pytest.param(PhaseHook(PRODUCTION, Phase.WATCHING), marks=pytest.mark.long),
)
"""Every one that has a way back of its own; tests/integration/delivery strikes the others, at a place in memory."""
SETTLED = 50
"""Requests that users send after a recovery; whatever it broke would show in them."""


@pytest.mark.parametrize("hook", KILLED, ids=str)
def test_a_killed_run_is_found_and_undone(here: ClusterWorld, hook: PhaseHook, measured: list[str]) -> None:
    pipeline = here.pipeline
    live, version = pipeline.serving, pipeline.stage(GOOD)
    with Users(pipeline.resources.release_target.url(PRODUCTION)) as users:
        here.kill_at(hook, version)
        dead = run_of_version(pipeline, version)
        record = pipeline.resources.release_target.record(hook.environment)
        assert (dead.status, record.owner, record.phase) == (dg.DagsterRunStatus.STARTED, dead.run_id, hook.phase)
        pipeline.tick("reconcile")
        users.more(SETTLED)
    measured.append(users.summary())
    here.is_at_rest(live)
    failed = pipeline.run_of(dead.run_id)
    assert failed.status is dg.DagsterRunStatus.FAILURE
    pipeline.after(failed)
    was_told_once(pipeline, failed, Outcome.ERROR)
    assert users.failures == []


@pytest.mark.long
def test_a_cancelled_run_restores_the_traffic(here: ClusterWorld, measured: list[str]) -> None:
    pipeline = here.pipeline
    live, version = pipeline.serving, pipeline.stage(GOOD)
    with Users(pipeline.resources.release_target.url(PRODUCTION)) as users:
        cancel_at(PhaseHook(PRODUCTION, Phase.SHIFTING), pipeline, version)
        run = pipeline.run(version)
        users.more(SETTLED)
    measured.append(users.summary())
    assert run.status is dg.DagsterRunStatus.CANCELED
    here.is_at_rest(live)
    was_told_once(pipeline, run, Outcome.CANCELLED)
    assert users.failures == []
