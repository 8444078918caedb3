"""A policy that only observes releases what it would have turned back, and says so everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.delivery.lease import Lease
from banana_delivery.policy.asset_records import AbRecord, Verdict
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness, open_pipeline

POLICY = """
name: careful
mode: observe
plan: {ab_seconds: 8, ab_minimum_seconds: 3, step_seconds: 6, step_minimum_seconds: 2, watch_seconds: 8,
  watch_minimum_seconds: 4, probe_limit: 70, steps: [50, 100]}
"""
COMPARING = PhaseHook(Environment.PRODUCTION, Phase.COMPARING)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[PipelineHarness]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    with open_pipeline(tmp_path / "home", policy=str(tmp_path / "policy.yaml")) as opened:
        opened.run(opened.stage())
        assert opened.serving == "1"
        yield opened


def watched(pipeline: PipelineHarness, looks: int) -> str:
    """What the watch of production says at some looks, a second apart."""
    cursor, said = None, ""
    for _ in range(looks):
        resources = pipeline.resources.by_key()
        context = dg.build_sensor_context(
            instance=pipeline.instance, resources=resources, sensor_name="production_watch", cursor=cursor
        )
        found = pipeline.defs.resolve_sensor_def("production_watch")(context)
        cursor, said = context.cursor, f"{said} {getattr(found, 'skip_message', '')}"
        pipeline.clock.sleep(1)
    return said


def test_what_would_have_been_turned_back_is_released_and_told(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, shown = pipeline.stage(0.95), list[str]()
    monkeypatch.setattr(Lease, "show", lambda _, look: shown.append(look))
    pipeline.target.at[COMPARING] = lambda: pipeline.break_candidate(error_rate=0.5)
    pipeline.run(second)

    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, pipeline.serving, attempt.revoked) == (Outcome.RELEASED, second, False)
    assert [one.where for one in attempt.observed] == [
        f"{step} with {weight} % of the users"
        for step, weight in [("the A/B", 10), ("the shift", 50), ("the shift", 100), ("the watch", 100)]
    ]
    assert {one.what for one in attempt.observed} == {"roll_back"}
    assert attempt.reason.startswith("The policy only observes; it would have sent its users back at the A/B with 10 %")
    assert attempt.basis == "observed"
    report = pipeline.audit_log.latest(AbRecord, "ab_report", second)
    assert report is not None
    assert (report.verdict.verdict, report.verdict.observed) == (Verdict.FAIL, True)
    assert any("Only observed; would have sent" in look for look in shown)
    notice = pipeline.sent[-1]
    assert (notice.title.endswith("is in production"), notice.look.value) == (True, "warning")
    assert "The policy only observes" in notice.body
    [page] = (pipeline.resources.settings.home / "reports").glob(f"version-{second}-*.html")
    assert "The policy only observes. It would have" in page.read_text()

    assert "it would have rolled back: " in watched(pipeline, 5)
    assert pipeline.serving == second
    assert [one.title for one in pipeline.sent if "only observes" in one.title]


def test_what_it_found_lets_nobody_in_once_it_acts(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(0.95)
    pipeline.target.at[COMPARING] = lambda: pipeline.break_candidate(error_rate=0.5)
    pipeline.run(second, assets=["model_artifact", "image", "staging_release", "ab_report"])
    settings = pipeline.resources.settings.model_copy(update={"policy": "demo"})
    pipeline.change(settings=settings)
    pipeline.run(second, assets=["production_release"])
    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, pipeline.serving) == (Outcome.REJECTED, "1")
    assert "The A/B report of version 2 failed" in attempt.reason


def test_a_loss_on_the_labelled_images_is_only_observed_too(pipeline: PipelineHarness) -> None:
    worse = pipeline.stage(0.8)
    pipeline.run(worse)
    attempt = pipeline.attempts(worse)[0]
    assert attempt.outcome is Outcome.RELEASED
    assert [(one.what, one.where) for one in attempt.observed] == [("reject", "staging"), ("reject", "the A/B report")]


def test_below_the_minimum_and_dead_are_no_matter_of_opinion(pipeline: PipelineHarness) -> None:
    useless = pipeline.stage(0.1)
    pipeline.run(useless)
    assert pipeline.attempts(useless)[0].outcome is Outcome.REJECTED

    third = pipeline.stage(0.95)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
        reports=f"sha256:{'f' * 64}"
    )
    pipeline.run(third)
    attempt = pipeline.attempts(third)[0]
    assert (attempt.outcome, pipeline.serving) == (Outcome.ERROR, "1")
    assert "would have released it" not in attempt.reason


def test_a_good_release_says_that_it_would_have_been_one(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(0.95)
    pipeline.run(second)
    attempt = pipeline.attempts(second)[0]
    assert attempt.observed == ()
    assert attempt.reason.startswith("The policy only observes, and would have released it as well.")
