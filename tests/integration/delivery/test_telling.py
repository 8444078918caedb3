"""People are told once and the registry ends right, whoever settles first and whatever is away at that moment."""

from __future__ import annotations

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

PROMOTING = PhaseHook(Environment.PRODUCTION, Phase.PROMOTING)


def test_an_outcome_that_the_registry_could_not_be_told_is_made_good_by_the_sensor(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.999)
    pipeline.target.at[PROMOTING] = pipeline.registry.go_down
    run = pipeline.run_alone(version)
    pipeline.registry.come_back()
    assert (pipeline.serving, pipeline.registry.describe(FIRST).stage) == (version, "Production")
    told = pipeline.sent
    assert told[-1].title.endswith(f"version {version} is in production")
    pipeline.after(run)
    ends(pipeline, version, run, Outcome.RELEASED)
    assert (pipeline.registry.describe(version).stage, pipeline.registry.describe(FIRST).stage) == (
        "Production",
        "Archived",
    )
    assert pipeline.sent == told


def test_a_registry_that_is_away_for_op_and_sensor_is_told_once_it_is_back(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.999)
    pipeline.target.at[PROMOTING] = pipeline.registry.go_down
    pipeline.run(version)
    pipeline.resources.publisher.catch_up()
    told = pipeline.sent
    pipeline.registry.come_back()
    assert pipeline.registry.describe(version).stage == "Staging"
    pipeline.resources.publisher.catch_up()
    assert (pipeline.registry.describe(version).stage, pipeline.registry.describe(FIRST).stage) == (
        "Production",
        "Archived",
    )
    assert pipeline.registry.describe(version).tags["banana.outcome"] == Outcome.RELEASED
    assert pipeline.resources.publisher.pending.attempts() == []
    assert pipeline.sent == told


def test_an_attempt_that_the_registry_never_heard_of_is_not_told_after_a_later_one(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.5)
    pipeline.target.at[PhaseHook(Environment.STAGING, Phase.TESTING)] = pipeline.registry.go_down
    pipeline.run(version)
    assert pipeline.attempts(version)[0].outcome is Outcome.REJECTED
    pipeline.registry.come_back()
    pipeline.evaluator.found[version] = 0.999
    pipeline.run(version)
    pipeline.resources.publisher.catch_up()
    assert pipeline.registry.describe(version).stage == "Production"
    assert pipeline.registry.describe(version).tags["banana.outcome"] == Outcome.RELEASED


def test_what_the_registry_is_told_late_is_the_last_of_the_audit_trail_whatever_its_clock_said(
    pipeline: PipelineHarness,
) -> None:
    """An overtaken version waits to be told; it is staged again, and delivered by a clock that was set back."""
    version, now = pipeline.stage(0.999), pipeline.clock.time()
    overtaken = AttemptRecord(version=version, outcome=Outcome.SUPERSEDED, reason="7 came later.", run_id="a", at=now)
    pipeline.resources.recorder.record(pipeline.audit_log, overtaken.replace(at=now + 86_400), mark_later=True)
    pipeline.run(version)

    pipeline.tick("staged_versions")
    assert pipeline.registry.describe(version).tags["banana.outcome"] == Outcome.RELEASED
    assert pipeline.resources.publisher.pending.attempts() == []


def test_a_version_that_was_deleted_is_not_looked_for_again_and_again(pipeline: PipelineHarness) -> None:
    deleted = pipeline.attempts(FIRST)[0].replace(version="99", run_id="")
    pipeline.resources.publisher.publish(deleted)
    gone, ended = pipeline.sent[-2:]
    assert gone.title.endswith("version 99 was deleted from the model registry while it was delivered")
    assert "version 99 is in production" in ended.title
    assert pipeline.resources.publisher.pending.attempts() == []


def test_a_disk_that_cannot_be_written_does_not_fail_what_was_done(pipeline: PipelineHarness) -> None:
    (pipeline.resources.settings.home / "untold").write_text("in the way")
    version = pipeline.stage(0.999)
    pipeline.target.at[PROMOTING] = pipeline.registry.go_down
    run = pipeline.run_alone(version)
    assert run.is_success
    assert pipeline.serving == version


def test_a_sensor_that_comes_late_says_what_serves_now_and_not_what_served_then(pipeline: PipelineHarness) -> None:
    second, third = pipeline.stage(0.999), pipeline.stage(0.999)
    late = pipeline.run_alone(second)
    pipeline.run(third)
    pipeline.after(late)
    assert [pipeline.registry.describe(version).stage for version in (FIRST, second, third)] == [
        "Archived",
        "Archived",
        "Production",
    ]
    assert pipeline.registry.describe(second).tags["banana.outcome"] == Outcome.RELEASED


def test_a_rejected_run_is_told_once_although_op_and_sensor_both_settle(pipeline: PipelineHarness) -> None:
    without_checkpoint = pipeline.stage(checkpoint=None)
    by_the_op = pipeline.run(without_checkpoint)
    pipeline.after(by_the_op)
    regressed = pipeline.stage(found=0.5)
    by_the_sensor = pipeline.run(regressed)
    pipeline.after(by_the_sensor)
    ends(pipeline, without_checkpoint, by_the_op, Outcome.REJECTED)
    ends(pipeline, regressed, by_the_sensor, Outcome.REJECTED)
