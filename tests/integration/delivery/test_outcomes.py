"""Every row of the outcome table, played through real assets, checks and sensors on a SQLite instance."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from banana_delivery.delivery.rollback import roll_back
from banana_delivery.names import SUPERSEDED_TAG, TRIGGER_TAG
from banana_delivery.policy.asset_records import Word, WordKind
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from banana_delivery.runs.audit_log import History
from banana_delivery.targets.base import Observed
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World

BETTER = 0.999
OLD_ONE_ALONE = {Colour.BLUE: 100, Colour.GREEN: 0}


def test_a_first_release_takes_all_traffic_and_the_registry_says_so(empty_world: World) -> None:
    version = empty_world.stage()
    run = empty_world.run(version)
    ends(empty_world, version, run, Outcome.RELEASED)
    assert empty_world.weights == OLD_ONE_ALONE
    described = empty_world.registry.describe(version)
    assert (described.stage, described.aliases) == ("Production", ("production",))


@pytest.mark.usefixtures("unabridged")
def test_the_second_release_goes_step_by_step_to_the_other_colour(world: World) -> None:
    second = world.stage(BETTER)
    ends(world, second, world.run(second), Outcome.RELEASED)
    assert world.weights == {Colour.BLUE: 0, Colour.GREEN: 100}
    assert world.registry.describe(FIRST).stage == "Archived"
    shifted = [step.figures.weight for step in world.attempts(second)[0].steps]
    assert shifted == [20, 40, 60, 80, 100, 100]
    (report,) = (world.services.settings.home / "reports").glob(f"version-{second}-*.html")
    assert "data:image/png;base64,iVBOR" in report.read_text()


@pytest.mark.usefixtures("unabridged")
def test_a_regressed_model_is_rejected_in_numbers_before_it_meets_a_user(world: World) -> None:
    second = world.stage(found=0.7)
    run = world.run(second)
    ends(world, second, run, Outcome.REJECTED)
    assert "on 1,000 labelled images" in world.attempts(second)[0].reason
    assert (world.serving, world.weights) == (FIRST, OLD_ONE_ALONE)


def test_a_release_that_fails_its_tests_is_rejected(world: World) -> None:
    version = world.stage()
    world.evidence.broken[version] = "status 500 instead of 200"
    run = world.run(version)
    ends(world, version, run, Outcome.REJECTED)
    assert "status 500" in world.attempts(version)[0].reason


def test_one_that_breaks_in_the_shift_is_rolled_back_and_revoked(world: World) -> None:
    second = world.stage(BETTER)
    world.target.at[Moment(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: world.break_candidate(error_rate=0.5)
    ends(world, second, world.run(second), Outcome.ROLLED_BACK)
    attempt = world.attempts(second)[0]
    assert (world.serving, world.weights) == (FIRST, OLD_ONE_ALONE)
    assert attempt.revoked
    assert attempt.rollback_seconds is not None
    assert world.registry.describe(FIRST).stage == "Production"


def test_one_that_fails_under_a_tenth_of_the_users_is_rejected_by_the_report(world: World) -> None:
    second = world.stage(BETTER)
    world.target.at[Moment(Environment.PRODUCTION, Phase.COMPARING)] = lambda: world.break_candidate(error_rate=1.0)
    ends(world, second, world.run(second), Outcome.REJECTED)
    assert (world.serving, world.weights) == (FIRST, OLD_ONE_ALONE)


def test_an_undecided_report_is_parked_until_a_person_approves(world: World) -> None:
    second = world.stage(found=0.885)
    run = world.run(second)
    ends(world, second, run, Outcome.PARKED)
    assert f"banana-delivery approve {second}" in world.attempts(second)[0].reason
    word = Word(kind=WordKind.APPROVAL, version=second, by="Ada", reason="I looked.", at=world.clock.far)
    History(world.instance).say(word)
    ends(world, second, world.run(second, assets=("production_release",)), Outcome.RELEASED)
    assert world.attempts(second)[0].basis == "approval"


def test_a_router_that_is_away_for_a_moment_is_asked_again(world: World) -> None:
    second = world.stage(BETTER)
    world.target.place.fail_next("set_weights", "The router does not answer.")
    ends(world, second, world.run(second), Outcome.RELEASED)


def test_a_place_that_fails_is_an_error_with_nothing_half_done(world: World) -> None:
    second = world.stage(BETTER)
    world.target.place.fail_next("deploy", "The disk of the router is full; make room and deliver again.")
    run = world.run(second)
    ends(world, second, run, Outcome.ERROR)
    assert "disk of the router" in world.attempts(second)[0].reason
    assert (world.serving, world.weights) == (FIRST, OLD_ONE_ALONE)


@pytest.mark.parametrize(
    ("moment", "where"),
    [
        (Moment(Environment.STAGING, Phase.DEPLOYING), "Staging sole"),
        (Moment(Environment.PRODUCTION, Phase.DEPLOYING), "Production green"),
        (Moment(Environment.PRODUCTION, Phase.SCALING), "Production green"),
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
    world: World, moment: Moment, where: str, state: dict[str, str], sentence: str
) -> None:
    world.change(settings=world.services.settings.model_copy(update={"ready_timeout_seconds": 0.001}))
    version = world.stage(BETTER)

    def keep_from_starting() -> None:
        candidate = world.target.record(moment.environment).candidate
        assert candidate is not None
        world.break_image(candidate.digest, place_at_fault=True, **state)

    world.target.at[moment] = keep_from_starting
    ends(world, version, world.run(version), Outcome.ERROR)
    replicas = 2 if moment.phase is Phase.SCALING else 1
    reason = sentence.format(where, replicas)
    assert world.attempts(version)[0].reason == reason
    assert world.told[-1].body.startswith(reason)
    is_at_rest(world, FIRST)


@pytest.mark.parametrize("phase", [Phase.COMPARING, Phase.SHIFTING, Phase.WATCHING])
def test_another_digest_than_meant_is_an_error_and_no_fault_of_the_model(world: World, phase: Phase) -> None:
    version = world.stage(BETTER)
    other = "sha256:" + "f" * 64
    world.target.at[Moment(Environment.PRODUCTION, phase)] = lambda: world.break_candidate(reports=other)
    ends(world, version, world.run(version), Outcome.ERROR)
    (attempt,) = world.attempts(version)
    assert attempt.reason.startswith(f"Green runs {other[:19]}, not ")
    assert attempt.reason.endswith(": another release was measured.")
    assert world.told[-1].body.startswith(attempt.reason)
    assert not attempt.revoked
    is_at_rest(world, FIRST)


def test_a_freeze_window_parks_what_would_enter_production(world: World) -> None:
    world.change(settings=world.services.settings.model_copy(update={"freeze": True}))
    version = world.stage(BETTER)
    ends(world, version, world.run(version), Outcome.PARKED)
    assert "freeze window" in world.attempts(version)[0].reason


@pytest.mark.parametrize(
    ("tags", "outcome"), [({}, Outcome.CANCELLED), ({TRIGGER_TAG: "sensor", SUPERSEDED_TAG: "9"}, Outcome.SUPERSEDED)]
)
def test_a_cancelled_run_is_logged_by_the_sensor(world: World, tags: dict[str, str], outcome: Outcome) -> None:
    version = world.stage()
    run = world.cancelled(version, tags)
    ends(world, version, run, outcome)


def test_redeploying_reuses_the_original_digest_and_waives_the_comparison(world: World) -> None:
    digest = world.attempts(FIRST)[0].digest
    second = world.stage(BETTER)
    world.run(second)
    asked = list(world.evidence.asked)
    run = world.run(FIRST)
    ends(world, FIRST, run, Outcome.RELEASED)
    assert asked == [second, FIRST] == world.evidence.asked, "a redeploy was compared anew"
    attempt = world.attempts(FIRST)[0]
    assert (attempt.digest, attempt.basis, world.serving) == (digest, "redeploy", FIRST)


def test_delivering_what_is_live_changes_nothing(world: World) -> None:
    changes = [call for call in world.target.calls if "production" in call]
    ends(world, FIRST, world.run(FIRST, assets=("production_release",)), Outcome.RELEASED)
    assert [call for call in world.target.calls if "production" in call] == changes


def test_a_revoked_version_is_refused_until_somebody_overrides(world: World) -> None:
    second = world.stage(BETTER)
    world.run(second)
    roll_back(world.instance, world.services, actor="Ada", reason="It looks wrong.", log=print)
    assert world.serving == FIRST
    refused = world.run(second)
    assert world.attempts(second)[0].outcome is Outcome.REJECTED
    assert refused.status is dg.DagsterRunStatus.FAILURE
    word = Word(kind=WordKind.OVERRIDE, version=second, by="Ada", reason="I was wrong.", at=world.clock.far)
    History(world.instance).say(word)
    ends(world, second, world.run(second), Outcome.RELEASED)
    assert world.attempts(second)[0].basis == "override"


def test_production_release_alone_is_refused_for_what_nobody_vouches_for(world: World) -> None:
    version = world.stage()
    world.run(version, assets=("model_artifact", "image"))
    ends(world, version, world.run(version, assets=("production_release",)), Outcome.REJECTED)
    assert world.serving == FIRST


def test_materializing_one_asset_alone_is_no_attempt(world: World) -> None:
    version = world.stage()
    run = world.run(version, assets=("model_artifact",))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert world.attempts(version) == []


def test_an_autoscaler_that_is_at_work_at_one_look_is_no_hand_edit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed, odd = world.target.observed, iter([1])

    def at_work(environment: Environment) -> Observed:
        seen = observed(environment)
        return replace(seen, replicas={colour: count + next(odd, 0) for colour, count in seen.replicas.items()})

    second = world.stage(BETTER)
    world.target.at[Moment(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: monkeypatch.setattr(
        world.target, "observed", at_work
    )
    ends(world, second, world.run(second), Outcome.RELEASED)
    assert next(odd, None) is None


def test_a_hand_edit_during_the_shift_holds_production_and_touches_nothing_more(world: World) -> None:
    second = world.stage(BETTER)
    edited = {Colour.BLUE: 55, Colour.GREEN: 45}
    world.target.at[Moment(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: world.target.place.edit_weights(
        Environment.PRODUCTION, edited
    )
    run = world.run(second)
    record = world.target.record(Environment.PRODUCTION)
    assert (record.phase, world.weights) == (Phase.HELD, edited)
    reason = world.attempts(second)[0].reason
    assert "by hand" in reason
    (told,) = [notice for notice in world.told if notice.key.startswith(run.run_id)]
    assert told.body.startswith(reason)
    assert "banana-delivery resume production" in told.body
    again = world.run(second)
    assert again.status is dg.DagsterRunStatus.FAILURE
    assert world.weights == edited
