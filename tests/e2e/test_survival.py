"""A stack that somebody works with: stage, kill, restart, ask. One stack for the whole file: starting it is slow."""

from __future__ import annotations

import os
import signal

import dagster as dg
import pytest

from banana_delivery.names import WORKER_TAG
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.e2e.stack import Stack, until


def told(stack: Stack, run_id: str) -> list[str]:
    """What people were told of a run."""
    return [notice.title for notice in stack.resources.notifier.sent() if notice.key.startswith(run_id)]


@pytest.mark.long
def test_a_run_that_is_killed_in_the_shift_leaves_one_stable_colour_and_loses_no_request(stack: Stack) -> None:
    live = stack.production.live
    assert live is not None
    with stack.clients(rate=15.0) as clients:
        version = stack.stage("better")
        until(lambda: stack.production.phase is Phase.SHIFTING, "the shift")
        run_id = stack.production.owner
        assert run_id is not None
        os.kill(int(stack.run_of(run_id).tags[WORKER_TAG].split(":")[2]), signal.SIGKILL)
        until(lambda: stack.production.owner is None, "taking production back", 90)
        until(lambda: stack.run_of(run_id).is_finished, "failing the run", 60)
        until(lambda: stack.outcomes(version) == [Outcome.ERROR], "writing the attempt down", 60)
    record = stack.production
    assert (record.phase, record.live) == (Phase.IDLE, live)
    assert record.weights == record.resting_weights
    assert stack.run_of(run_id).status is dg.DagsterRunStatus.FAILURE
    assert clients.failed_requests() == []
    until(lambda: len(told(stack, run_id)) == 1, "telling people, once", 30)


@pytest.mark.e2e
def test_production_serves_the_same_release_after_down_and_up(stack: Stack) -> None:
    before = stack.production
    stack.command("down")
    stack.command("up")
    after = stack.production
    assert (after.live, after.weights) == (before.live, before.weights)
    assert before.live is not None
    observed = stack.resources.release_target.observed(Environment.PRODUCTION)
    assert observed.weights == before.weights
    assert before.live.digest[:19] in stack.command("status")
