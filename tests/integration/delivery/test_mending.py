"""What is broken now can be mended: production that fails or is down keeps no fix away from its users."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from banana_delivery.policy.asset_records import DecisionKind, ManualDecision, StagingRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support import phases
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999
DOWN = 1000


def break_production(pipeline: PipelineHarness, unanswered: int, **behaviour: object) -> None:
    """The release that serves fails its users, and so many of the labelled images."""
    pipeline.break_image(pipeline.attempts(FIRST)[0].digest, **behaviour)
    pipeline.evaluator.unanswered[FIRST] = unanswered


def override(pipeline: PipelineHarness, version: str) -> None:
    word = ManualDecision(
        kind=DecisionKind.OVERRIDE, version=version, by="Ada", reason="Production is down.", at=pipeline.clock.far
    )
    pipeline.audit_log.record_decision(word)


@pytest.mark.parametrize(("how", "kept"), [("5xx", False), ("connection", True), ("timeout", False)])
def test_a_fix_reaches_a_production_that_is_down(pipeline: PipelineHarness, how: str, kept: bool) -> None:
    break_production(pipeline, DOWN, error_rate=1.0, error_class=how)
    pipeline.evaluator.kept = kept
    fix = pipeline.stage(BETTER)
    ends(pipeline, fix, pipeline.run(fix), Outcome.RELEASED)
    assert pipeline.serving == fix


def test_production_that_fails_one_request_in_two_hundred_ends_no_delivery(pipeline: PipelineHarness) -> None:
    break_production(pipeline, 5, error_rate=0.005)
    pipeline.evaluator.kept = False
    version = pipeline.stage(BETTER)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)
    record = pipeline.audit_log.latest(StagingRecord, "staging_release", version)
    assert record is not None
    assert record.quality.unanswered == 5
    assert "Production left 5 of 1,000 images unanswered, which count as" in record.quality.reason


def test_a_worse_version_does_not_slip_in_because_production_is_down(pipeline: PipelineHarness) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    worse = pipeline.stage(found=0.7)
    ends(pipeline, worse, pipeline.run(worse), Outcome.REJECTED)
    assert "the candidate loses more than" in pipeline.attempts(worse)[0].reason


def test_a_persons_word_will_do_instead_of_a_comparison_with_a_production_that_is_down(
    pipeline: PipelineHarness,
) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    pipeline.evaluator.kept = False
    emergency = pipeline.stage(found=0.7)
    override(pipeline, emergency)
    ends(pipeline, emergency, pipeline.run(emergency), Outcome.RELEASED)
    assert pipeline.attempts(emergency)[0].basis == "override"


def test_a_persons_word_excuses_no_worse_version_while_production_answers(pipeline: PipelineHarness) -> None:
    worse = pipeline.stage(found=0.7)
    override(pipeline, worse)
    ends(pipeline, worse, pipeline.run(worse), Outcome.REJECTED)


def test_a_fix_that_is_below_the_minimum_stays_out_of_a_production_that_is_down(pipeline: PipelineHarness) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    pipeline.evaluator.kept = False
    useless = pipeline.stage(found=0.2)
    override(pipeline, useless)
    ends(pipeline, useless, pipeline.run(useless), Outcome.REJECTED)


PRODUCTION = Environment.PRODUCTION
BUSY: dict[str, dict[str, Any]] = {
    "slow": {"slow_rate": 0.6},
    "overloaded": {"overload_rate": 0.5},
    "failing": {"error_rate": 0.5},
    "dead": {"error_rate": 1.0, "error_class": "connection"},
}


def trouble_for_all(pipeline: PipelineHarness, behaviour: dict[str, Any]) -> None:
    """Whatever runs on the node suffers, the release that serves and the candidate alike."""
    for deployment in pipeline.target.place.deployments[PRODUCTION].values():
        pipeline.break_image(deployment.image.digest, **behaviour)


@pytest.mark.parametrize(
    ("phase", "how", "users"),
    [
        (Phase.COMPARING, "slow", 0),
        (Phase.COMPARING, "failing", 40),
        (Phase.SHIFTING, "slow", 40),
        (Phase.SHIFTING, "overloaded", 40),
        (Phase.WATCHING, "slow", 40),
        (Phase.WATCHING, "dead", 0),
    ],
)
def test_what_the_node_does_to_both_colours_is_an_error_of_the_delivery_and_revokes_nothing(
    pipeline: PipelineHarness,
    monkeypatch: pytest.MonkeyPatch,
    phase: Phase,
    how: str,
    users: int,
) -> None:
    monkeypatch.setattr(phases, "USERS_PER_SECOND", users)
    version = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(PRODUCTION, phase)] = lambda: trouble_for_all(pipeline, BUSY[how])
    ends(pipeline, version, pipeline.run(version), Outcome.ERROR)
    (attempt,) = pipeline.attempts(version)
    assert attempt.reason.startswith("Production itself ")
    assert not attempt.revoked
    is_at_rest(pipeline, FIRST)


def test_no_user_is_given_away_while_production_itself_is_slow(pipeline: PipelineHarness) -> None:
    break_production(pipeline, 0, slow_rate=0.5)
    version = pipeline.stage(BETTER)
    weighed = [call for call in pipeline.target.calls if call.startswith("set_weights")]
    ends(pipeline, version, pipeline.run(version), Outcome.ERROR)
    after = [call for call in pipeline.target.calls if call.startswith("set_weights")]
    assert set(after[len(weighed) :]) <= {"set_weights production blue=100 green=0"}
    assert pipeline.attempts(version)[0].reason.startswith("Production itself is slow: blue took over 1 s for ")


def test_a_persons_word_delivers_to_a_production_that_is_slow(pipeline: PipelineHarness) -> None:
    break_production(pipeline, 0, slow_rate=0.5)
    version = pipeline.stage(BETTER)
    override(pipeline, version)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)


def test_an_outage_that_ends_is_waited_for(pipeline: PipelineHarness) -> None:
    version, looks = pipeline.stage(BETTER), iter(range(1000))

    def over() -> None:
        if next(looks) == 6:
            trouble_for_all(pipeline, {})

    def begins() -> None:
        trouble_for_all(pipeline, BUSY["failing"])
        pipeline.clock.on_sleep.append(over)

    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = begins
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.WATCHING])
def test_a_candidate_that_fails_alone_is_still_rolled_back_whatever_production_did_before(
    pipeline: PipelineHarness, phase: Phase
) -> None:
    break_production(pipeline, 5, error_rate=0.02, slow_rate=0.03)
    version = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(PRODUCTION, phase)] = lambda: pipeline.break_candidate(error_rate=0.5)
    ends(pipeline, version, pipeline.run(version), Outcome.ROLLED_BACK)


def test_what_serves_already_is_not_judged_against_itself_while_production_fails(pipeline: PipelineHarness) -> None:
    break_production(pipeline, 500, error_rate=0.5)
    changes = list(pipeline.target.calls)
    ends(pipeline, FIRST, pipeline.run(FIRST), Outcome.RELEASED)
    assert "is in production already" in pipeline.attempts(FIRST)[0].reason
    assert pipeline.target.calls == changes


@pytest.mark.parametrize("broken_off", [0.3, 0.9])
def test_uploads_that_clients_break_off_end_no_delivery(pipeline: PipelineHarness, broken_off: float) -> None:
    version = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(PRODUCTION, Phase.COMPARING)] = lambda: trouble_for_all(
        pipeline, {"unfinished_rate": broken_off}
    )
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)


@pytest.mark.parametrize("together", [True, False], ids=["both slow", "the new one alone"])
def test_the_watch_after_a_promotion_asks_the_release_before_whether_it_would_do_better(
    pipeline: PipelineHarness, together: bool
) -> None:
    version = pipeline.stage(BETTER)
    assert pipeline.run(version).is_success
    sensor = pipeline.defs.resolve_sensor_def("production_watch")
    context = dg.build_sensor_context(instance=pipeline.instance, resources=pipeline.resources.by_key())
    assert isinstance(sensor(context), dg.SkipReason)
    if together:
        trouble_for_all(pipeline, BUSY["slow"])
    else:
        pipeline.break_image(pipeline.attempts(version)[0].digest, **BUSY["slow"])
    pipeline.clock.sleep(3.0)
    assert isinstance(sensor(context), dg.SkipReason)
    assert (pipeline.serving == version) is together
    assert pipeline.attempts(version)[0].revoked is not together
    assert pipeline.evaluator.loads == []
