"""A delivery goes by what the team measures itself, as long as that can be known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from banana_delivery.evaluation.own_metrics.fake import FakeMetrics
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.own_metrics.metric import Measurement
from tests.support.pipeline import PipelineHarness, open_pipeline

POLICY = """
name: bananas
plan: {ab_seconds: 14, ab_minimum_seconds: 5, step_seconds: 9, step_minimum_seconds: 2, watch_seconds: 13,
  watch_minimum_seconds: 8, probe_limit: 70, steps: [50, 100]}
metrics:
  - name: empty
    provider: prometheus
    address: http://prometheus.invalid
    kind: share
    query: sum(answers_total{version="$version", empty="true"})
    total: sum(answers_total{version="$version"})
    failure_condition: "> 0.2"
    interval_seconds: 1
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[PipelineHarness]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    with open_pipeline(tmp_path / "home", policy=str(tmp_path / "policy.yaml")) as opened:
        counting(opened, {})
        opened.run(opened.stage())
        assert opened.serving == "1"
        yield opened


def counting(pipeline: PipelineHarness, empty: Mapping[str, float]) -> None:
    """Counters that grow by 40 a second, of which a share is empty, by version."""
    began = pipeline.clock.monotonic()

    def says(name: str, names: Mapping[str, str]) -> Measurement:
        del name
        total = 40 * (pipeline.clock.monotonic() - began)
        return Measurement(value=empty.get(names["version"], 0.05) * total, total=total)

    pipeline.change(metric_source=FakeMetrics(says))


def test_figures_that_are_fine_change_nothing_and_stand_in_the_record(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(0.95)
    pipeline.run(second)
    attempt = pipeline.attempts(second)[0]
    assert attempt.outcome is Outcome.RELEASED
    for step in attempt.steps:
        [seen] = step.metrics.own
        assert (seen.name, seen.tested) == ("empty", True)
        assert "on the wrong side of > 0.2 (log E " in seen.said


def test_a_candidate_that_fails_them_goes_no_further(pipeline: PipelineHarness) -> None:
    counting(pipeline, {"2": 0.6})
    second = pipeline.stage(0.95)
    pipeline.run(second)
    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, pipeline.serving) == (Outcome.REJECTED, "1")
    assert "The metric empty fails: " in attempt.reason


def test_what_serves_fails_them_as_well_and_nothing_is_held_against_the_candidate(pipeline: PipelineHarness) -> None:
    counting(pipeline, {"1": 0.6, "2": 0.6})
    second = pipeline.stage(0.95)
    pipeline.run(second)
    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, attempt.revoked) == (Outcome.ERROR, False)
    assert "fails for the active release as well" in attempt.reason


def test_figures_that_nobody_gives_end_a_delivery_as_an_error_of_what_measures(pipeline: PipelineHarness) -> None:
    pipeline.change(metric_source=FakeMetrics(lambda name, names: Measurement(trouble=f"{name} is away")))
    second = pipeline.stage(0.95)
    pipeline.run(second)
    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, attempt.revoked, pipeline.serving) == (Outcome.ERROR, False, "1")
    assert "The metric empty cannot be judged: empty is away. The step waits for it; look at http" in attempt.reason
    assert "prometheus.invalid" in (attempt.policy.text if attempt.policy else "")
