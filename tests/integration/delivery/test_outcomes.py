"""Every row of the outcome table, played through real assets, checks and sensors on a SQLite instance."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from banana_delivery.names import SUPERSEDED_TAG, TRIGGER_TAG
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.999
OLD_ONE_ALONE = {Colour.BLUE: 100, Colour.GREEN: 0}


def test_a_first_release_takes_all_traffic_and_the_registry_says_so(empty_pipeline: PipelineHarness) -> None:
    version = empty_pipeline.stage()
    run = empty_pipeline.run(version)
    ends(empty_pipeline, version, run, Outcome.RELEASED)
    assert empty_pipeline.weights == OLD_ONE_ALONE
    described = empty_pipeline.registry.describe(version)
    assert (described.stage, described.aliases) == ("Production", ("production",))


@pytest.mark.usefixtures("unabridged")
def test_the_second_release_goes_step_by_step_to_the_other_colour(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    ends(pipeline, second, pipeline.run(second), Outcome.RELEASED)
    assert pipeline.weights == {Colour.BLUE: 0, Colour.GREEN: 100}
    assert pipeline.registry.describe(FIRST).stage == "Archived"
    shifted = [step.metrics.weight for step in pipeline.attempts(second)[0].steps]
    assert shifted == [20, 40, 60, 80, 100, 100]
    (report,) = (pipeline.resources.settings.home / "reports").glob(f"version-{second}-*.html")
    assert report.read_text().count("<svg ") == 2


@pytest.mark.usefixtures("unabridged")
def test_a_regressed_model_is_rejected_in_numbers_before_it_meets_a_user(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(found=0.7)
    run = pipeline.run(second)
    ends(pipeline, second, run, Outcome.REJECTED)
    assert "on 1,000 labelled images" in pipeline.attempts(second)[0].reason
    assert (pipeline.serving, pipeline.weights) == (FIRST, OLD_ONE_ALONE)


def test_a_release_that_fails_its_tests_is_rejected(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    pipeline.evaluator.broken[version] = "status 500 instead of 200"
    run = pipeline.run(version)
    ends(pipeline, version, run, Outcome.REJECTED)
    assert "status 500" in pipeline.attempts(version)[0].reason


def test_one_that_breaks_in_the_shift_is_rolled_back_and_revoked(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
        error_rate=0.5
    )
    ends(pipeline, second, pipeline.run(second), Outcome.ROLLED_BACK)
    attempt = pipeline.attempts(second)[0]
    assert (pipeline.serving, pipeline.weights) == (FIRST, OLD_ONE_ALONE)
    assert attempt.revoked
    assert attempt.rollback_seconds is not None
    assert pipeline.registry.describe(FIRST).stage == "Production"


def test_one_that_fails_under_a_tenth_of_the_users_is_rejected_by_the_report(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.COMPARING)] = lambda: pipeline.break_candidate(
        error_rate=1.0
    )
    ends(pipeline, second, pipeline.run(second), Outcome.REJECTED)
    assert (pipeline.serving, pipeline.weights) == (FIRST, OLD_ONE_ALONE)


def test_an_undecided_report_is_parked_until_a_person_approves(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(found=0.88)
    run = pipeline.run(second)
    ends(pipeline, second, run, Outcome.PARKED)
    assert f"banana-delivery approve {second}" in pipeline.attempts(second)[0].reason
    decision = ManualDecision(
        kind=DecisionKind.APPROVAL, version=second, by="Ada", reason="I looked.", at=pipeline.clock.far
    )
    pipeline.audit_log.record_decision(decision)
    ends(pipeline, second, pipeline.run(second, assets=("production_release",)), Outcome.RELEASED)
    assert pipeline.attempts(second)[0].basis == "approval"


def test_a_router_that_is_away_for_a_moment_is_asked_again(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.target.place.fail_next("set_weights", "The router does not answer.")
    ends(pipeline, second, pipeline.run(second), Outcome.RELEASED)


def test_a_place_that_fails_is_an_error_with_nothing_half_done(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.target.place.fail_next("deploy", "The disk of the router is full; make room and deliver again.")
    run = pipeline.run(second)
    ends(pipeline, second, run, Outcome.ERROR)
    assert "disk of the router" in pipeline.attempts(second)[0].reason
    assert (pipeline.serving, pipeline.weights) == (FIRST, OLD_ONE_ALONE)


@pytest.mark.parametrize(
    ("hook", "where"),
    [
        (PhaseHook(Environment.STAGING, Phase.DEPLOYING), "Staging sole"),
        (PhaseHook(Environment.PRODUCTION, Phase.DEPLOYING), "Production green"),
        (PhaseHook(Environment.PRODUCTION, Phase.SCALING), "Production green"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"unready": "the image cannot be pulled."}, "{} cannot get ready: the image cannot be pulled."),
        (
            {"starting": "No node takes them."},
            "{} was not ready after 0 s: 0 of {} replicas answer. No node takes them.",
        ),
    ],
    ids=["image cannot be pulled", "unschedulable"],
)
def test_a_place_that_keeps_replicas_from_starting_is_an_error_and_no_fault_of_the_model(
    pipeline: PipelineHarness, hook: PhaseHook, where: str, state: dict[str, str], sentence: str
) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"ready_timeout_seconds": 0.001}))
    version = pipeline.stage(BETTER)

    def keep_from_starting() -> None:
        candidate = pipeline.target.record(hook.environment).candidate
        assert candidate is not None
        pipeline.break_image(candidate.digest, place_at_fault=True, **state)

    pipeline.target.at[hook] = keep_from_starting
    ends(pipeline, version, pipeline.run(version), Outcome.ERROR)
    replicas = 2 if hook.phase is Phase.SCALING else 1
    reason = sentence.format(where, replicas)
    assert pipeline.attempts(version)[0].reason == reason
    assert pipeline.sent[-1].body.startswith(reason)
    is_at_rest(pipeline, FIRST)


@pytest.mark.parametrize("phase", [Phase.COMPARING, Phase.SHIFTING, Phase.WATCHING])
def test_another_digest_than_meant_is_an_error_and_no_fault_of_the_model(
    pipeline: PipelineHarness, phase: Phase
) -> None:
    version = pipeline.stage(BETTER)
    other = "sha256:" + "f" * 64
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, phase)] = lambda: pipeline.break_candidate(reports=other)
    ends(pipeline, version, pipeline.run(version), Outcome.ERROR)
    (attempt,) = pipeline.attempts(version)
    assert attempt.reason.startswith(f"Green runs {other[:19]}, not ")
    assert attempt.reason.endswith(": another release was measured.")
    assert pipeline.sent[-1].body.startswith(attempt.reason)
    assert not attempt.revoked
    is_at_rest(pipeline, FIRST)


def test_a_freeze_window_parks_what_would_enter_production(pipeline: PipelineHarness) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"freeze": True}))
    version = pipeline.stage(BETTER)
    ends(pipeline, version, pipeline.run(version), Outcome.PARKED)
    assert "freeze window" in pipeline.attempts(version)[0].reason


@pytest.mark.parametrize(
    ("tags", "outcome"), [({}, Outcome.CANCELLED), ({TRIGGER_TAG: "sensor", SUPERSEDED_TAG: "9"}, Outcome.SUPERSEDED)]
)
def test_a_cancelled_run_is_logged_by_the_sensor(
    pipeline: PipelineHarness, tags: dict[str, str], outcome: Outcome
) -> None:
    version = pipeline.stage()
    run = pipeline.cancelled(version, tags)
    ends(pipeline, version, run, outcome)


def test_redeploying_reuses_the_original_digest_and_waives_the_comparison(pipeline: PipelineHarness) -> None:
    digest = pipeline.attempts(FIRST)[0].digest
    second = pipeline.stage(BETTER)
    pipeline.run(second)
    asked = list(pipeline.evaluator.asked)
    run = pipeline.run(FIRST)
    ends(pipeline, FIRST, run, Outcome.RELEASED)
    assert asked == [second, FIRST] == pipeline.evaluator.asked, "a redeploy was compared anew"
    attempt = pipeline.attempts(FIRST)[0]
    assert (attempt.digest, attempt.basis, pipeline.serving) == (digest, "redeploy", FIRST)


def test_delivering_what_is_live_changes_nothing(pipeline: PipelineHarness) -> None:
    changes = [call for call in pipeline.target.calls if "production" in call]
    ends(pipeline, FIRST, pipeline.run(FIRST, assets=("production_release",)), Outcome.RELEASED)
    assert [call for call in pipeline.target.calls if "production" in call] == changes


def test_a_revoked_version_is_refused_until_somebody_overrides(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    pipeline.run(second)
    pipeline.roll_back(actor="Ada", reason="It looks wrong.")
    assert pipeline.serving == FIRST
    refused = pipeline.run(second)
    assert pipeline.attempts(second)[0].outcome is Outcome.REJECTED
    assert refused.status is dg.DagsterRunStatus.FAILURE
    decision = ManualDecision(
        kind=DecisionKind.OVERRIDE, version=second, by="Ada", reason="I was wrong.", at=pipeline.clock.far
    )
    pipeline.audit_log.record_decision(decision)
    ends(pipeline, second, pipeline.run(second), Outcome.RELEASED)
    assert pipeline.attempts(second)[0].basis == "override"


def test_production_release_alone_is_refused_for_what_nobody_vouches_for(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    pipeline.run(version, assets=("model_artifact", "image"))
    ends(pipeline, version, pipeline.run(version, assets=("production_release",)), Outcome.REJECTED)
    assert pipeline.serving == FIRST


def test_materializing_one_asset_alone_is_no_attempt(pipeline: PipelineHarness) -> None:
    version = pipeline.stage()
    run = pipeline.run(version, assets=("model_artifact",))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert pipeline.attempts(version) == []


def test_an_autoscaler_that_is_at_work_at_one_look_is_no_hand_edit(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed, odd = pipeline.target.observed, iter([1])

    def at_work(environment: Environment) -> Observed:
        seen = observed(environment)
        return replace(seen, replicas={colour: count + next(odd, 0) for colour, count in seen.replicas.items()})

    second = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: monkeypatch.setattr(
        pipeline.target, "observed", at_work
    )
    ends(pipeline, second, pipeline.run(second), Outcome.RELEASED)
    assert next(odd, None) is None


def test_a_hand_edit_during_the_shift_holds_production_and_touches_nothing_more(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    edited = {Colour.BLUE: 55, Colour.GREEN: 45}
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.target.place.edit_weights(
        Environment.PRODUCTION, edited
    )
    run = pipeline.run(second)
    record = pipeline.target.record(Environment.PRODUCTION)
    assert (record.phase, pipeline.weights) == (Phase.DRIFTED, edited)
    reason = pipeline.attempts(second)[0].reason
    assert "by hand" in reason
    (told,) = [notice for notice in pipeline.sent if notice.key.startswith(run.run_id)]
    assert told.body.startswith(reason)
    assert "banana-delivery resume production" in told.body
    again = pipeline.run(second)
    assert again.status is dg.DagsterRunStatus.FAILURE
    assert pipeline.weights == edited
