"""Rows of the outcome table as people meet them: by the sensor, the daemon, the pages' API and the command line."""

from __future__ import annotations

import httpx
import pytest

from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import PIPELINE
from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.long
TERMINATE_RUN = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
CANCEL_BACKFILL = "mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"


def ask_dagster(stack: Stack, mutation: str, thing: str) -> None:
    """What a button in the pages does."""
    request = {"query": mutation, "variables": {"id": thing}}
    answer = httpx.post(f"{stack.resources.settings.dagster_url}/graphql", json=request, timeout=30).json()
    assert "Success" in str(answer), answer


def comes_to(stack: Stack, environment: Environment, phase: Phase) -> str:
    """Wait for a phase and say which run it is in."""
    until(lambda: stack.resources.release_target.record(environment).phase is phase, f"{phase} in {environment}")
    owner = stack.resources.release_target.record(environment).owner
    assert owner is not None
    return owner


def test_a_version_staged_later_supersedes_one_that_is_not_in_production_yet(stack: Stack) -> None:
    earlier = stack.stage("better")
    run_id = comes_to(stack, Environment.STAGING, Phase.TESTING)
    later = stack.stage("better")
    until(lambda: stack.outcomes(earlier) == [Outcome.SUPERSEDED], "superseding")
    stack.until_released(later)
    assert stack.run_of(run_id).status.value == "CANCELED"
    assert stack.resources.model_registry.describe(earlier).stage != "Staging"
    until(lambda: stack.resources.model_registry.describe(later).stage == "Production", "telling the registry")


def test_terminating_a_run_in_the_pages_restores_the_traffic_and_is_not_retried(stack: Stack) -> None:
    live = stack.production.live
    version = stack.stage("better")
    run_id = comes_to(stack, Environment.PRODUCTION, Phase.SHIFTING)
    with stack.clients(rate=10.0) as clients:
        ask_dagster(stack, TERMINATE_RUN, run_id)
        until(lambda: stack.production.weights == stack.production.resting_weights, "restoring the traffic", 30)
        until(lambda: stack.outcomes(version) == [Outcome.CANCELLED], "writing it down", 60)
    assert clients.failed_requests() == []
    assert (stack.production.live, stack.production.phase, stack.production.owner) == (live, Phase.IDLE, None)
    assert stack.run_of(run_id).status.value == "CANCELED"
    assert stack.resources.model_registry.describe(version).stage == "Staging"


def test_cancelling_a_backfill_leaves_one_stable_colour_and_the_rest_unlaunched(stack: Stack) -> None:
    before = stack.production.live
    assert before is not None
    newer = stack.stage("better")
    stack.until_released(newer)
    live = stack.production.live
    client = DagsterClient(stack.resources.settings.dagster_url)
    backfill = client.backfill(PIPELINE, [before.version, newer], {})
    # Dagster cancels the runs with the next look of its daemon, up to 30 s later: the first one is in production then.
    run_id = comes_to(stack, Environment.STAGING, Phase.TESTING)
    ask_dagster(stack, CANCEL_BACKFILL, backfill)
    until(lambda: set(client.backfill_runs(backfill).values()) == {"CANCELED"}, "the end of its runs")
    until(lambda: stack.production.owner is None, "giving production back", 60)
    assert [run for run in client.backfill_runs(backfill) if stack.has_started(run)] == [run_id]
    assert stack.production.live == live
    assert stack.production.weights == stack.production.resting_weights


def test_a_backfill_goes_on_after_the_stack_was_down(stack: Stack) -> None:
    live = stack.production.live
    assert live is not None
    client = DagsterClient(stack.resources.settings.dagster_url)
    backfill = client.backfill(PIPELINE, [live.version], {})
    stack.command("down")
    stack.command("up")
    until(lambda: set(client.backfill_runs(backfill).values()) == {"SUCCESS"}, "the end of its run", 120)
    assert stack.outcomes(live.version)[0] is Outcome.RELEASED


def test_what_was_delivered_by_command_can_be_rolled_back_by_command(stack: Stack) -> None:
    first = stack.production.live
    stack.command("deliver", "latest")
    second = stack.production.live
    assert first is not None
    assert second is not None
    assert second.digest != first.digest
    stack.command("rollback", "--reason", "The night shift did not like it.")
    assert stack.production.live == first
    assert stack.outcomes(second.version)[0] is Outcome.ROLLED_BACK


def test_a_revoked_version_is_refused_until_somebody_overrides(stack: Stack) -> None:
    version = stack.stage("better")
    stack.until_released(version)
    stack.command("rollback", "--reason", "The night shift did not like it.")
    refused = stack.try_command("deliver", version)
    assert refused.returncode == 1
    assert f"banana-delivery override {version}" in " ".join(refused.stdout.split())
    stack.command("override", version, "--reason", "The night shift looked at the wrong page.")
    stack.command("deliver", version)
    assert stack.outcomes(version)[0] is Outcome.RELEASED
    live = stack.production.live
    assert live is not None
    assert live.version == version


def test_a_freeze_parks_a_delivery_until_somebody_overrides(stack: Stack) -> None:
    live = stack.production.live
    stack.command("down")
    stack.environment["BANANA_FREEZE"] = "true"
    stack.command("up")
    version = stack.stage("better")
    until(lambda: stack.outcomes(version) == [Outcome.PARKED], "parking")
    assert stack.production.live == live
    assert stack.resources.model_registry.describe(version).stage == "Staging"
    stack.command("override", version, "--reason", "The freeze is for the web shop.")
    stack.command("deliver", version)
    assert stack.outcomes(version)[0] is Outcome.RELEASED
