"""A row of the outcome table, looked for in everything that it has consequences for."""

from __future__ import annotations

import dagster as dg

from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.outcomes import CONSEQUENCES
from tests.support.pipeline import PipelineHarness


def ends(pipeline: PipelineHarness, version: str, run: dg.DagsterRun, outcome: Outcome) -> None:
    """One attempt was logged, and everything that follows from its outcome is so."""
    (attempt,) = [one for one in pipeline.attempts(version) if one.run_id == run.run_id]
    row = CONSEQUENCES[outcome]
    assert attempt.outcome is outcome
    assert run.status.value == row.run_status
    described = pipeline.registry.describe(version)
    assert described.tags["banana.outcome"] == outcome
    assert (described.stage != "Staging") is row.clears_staging
    assert [notice.urgency for notice in pipeline.sent if notice.key.startswith(run.run_id)] == [row.urgency]
    record = pipeline.target.record(Environment.PRODUCTION)
    assert (record.owner, record.phase) == (None, Phase.IDLE)
    assert sorted(pipeline.weights.values()) in ([0, 100], [0, 0], [])
