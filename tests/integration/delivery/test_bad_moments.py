"""Something fails at the worst moment: what was decided, who is told, and what may be done next stay right."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest

from banana_delivery.delivery import record_attempt, recovery
from banana_delivery.errors import ImageError, NothingToRollBackError, TargetError
from banana_delivery.evaluation.fake import FakeEvaluator, FakeLoad
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment, ImageRef, Outcome, Phase
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.claims import steal
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.999
SHIFTING = PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)
COMPARING = PhaseHook(Environment.PRODUCTION, Phase.COMPARING)


class ForgetfulRegistry(FakeImages):
    """An image store that is away whenever ``stable`` is to be moved."""

    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        if "stable" in tags:
            raise ImageError("The registry does not answer.")
        super().tag(ref, tags)


def test_a_release_is_released_although_the_tag_stable_could_not_be_moved(pipeline: PipelineHarness) -> None:
    forgetful = ForgetfulRegistry()
    vars(forgetful).update(vars(pipeline.resources.image_store))
    pipeline.change(image_store=forgetful)
    second = pipeline.stage(BETTER)
    ends(pipeline, second, pipeline.run(second), Outcome.RELEASED)


def test_a_rollback_counts_although_the_bad_colour_could_not_be_scaled_down(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)

    def break_candidate_and_its_scaling() -> None:
        pipeline.break_candidate(error_rate=1.0)
        pipeline.target.place.fail_next("scale", "The quota is used up.")

    pipeline.target.at[SHIFTING] = break_candidate_and_its_scaling
    ends(pipeline, second, pipeline.run(second), Outcome.ROLLED_BACK)
    pipeline.tick("cool_down")
    is_at_rest(pipeline, FIRST)


@pytest.mark.parametrize("hook", [COMPARING, SHIFTING], ids=str)
def test_users_are_brought_back_before_anybody_waits_for_what_a_hanging_candidate_owes_to_the_probe(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, hook: PhaseHook
) -> None:
    weights_at_the_end: list[dict[Colour, int]] = []

    @contextmanager
    def lingering(evaluator: FakeEvaluator, url: str, token: str) -> Iterator[FakeLoad]:
        with probe(evaluator, url, token) as load:
            yield load
        weights_at_the_end.append(pipeline.weights)

    probe = FakeEvaluator.probe
    monkeypatch.setattr(FakeEvaluator, "probe", lingering)
    pipeline.target.at[hook] = lambda: pipeline.break_candidate(error_rate=1.0)
    pipeline.run(pipeline.stage(BETTER))
    assert weights_at_the_end[-1] == {Colour.BLUE: 100, Colour.GREEN: 0}


def test_a_rollback_uses_the_replicas_that_are_warm_however_many_the_bad_release_has_grown_to(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(pipeline.stage(BETTER))
    warm = pipeline.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas
    monkeypatch.setattr(pipeline.target, "default_replicas", lambda _: 9)
    pipeline.roll_back(actor="Ada", reason="It looks wrong.")
    assert pipeline.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == warm
    is_at_rest(pipeline, FIRST)


def test_that_a_version_was_revoked_is_written_down_although_its_run_has_a_line(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    run = pipeline.run(second)
    undone = AttemptRecord(
        version=second,
        outcome=Outcome.ROLLED_BACK,
        reason="By hand.",
        run_id=run.run_id,
        at=pipeline.clock.far,
        revoked=True,
    )
    for _ in range(2):
        pipeline.resources.recorder.record(pipeline.audit_log, undone)
    assert [attempt.outcome for attempt in pipeline.attempts(second)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    assert [notice.title for notice in pipeline.sent if "ROLLED BACK" in notice.title] != []


@pytest.mark.parametrize("revoked", [False, True], ids=["frozen", "revoked"])
def test_what_may_not_enter_production_meets_none_of_its_users(pipeline: PipelineHarness, revoked: bool) -> None:
    version = pipeline.stage(BETTER)
    if revoked:
        pipeline.run(version)
        pipeline.roll_back(actor="Ada", reason="It looks wrong.")
        pipeline.registry.stage(version)
    else:
        pipeline.change(settings=pipeline.resources.settings.model_copy(update={"freeze": True}))
    pipeline.target.calls.clear()
    pipeline.run(version)
    assert pipeline.attempts(version)[0].outcome is (Outcome.REJECTED if revoked else Outcome.PARKED)
    assert [call for call in pipeline.target.calls if call.startswith(("deploy production", "set_weights"))] == []


def test_a_run_whose_end_could_not_be_written_down_gets_its_line_later(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.stage(BETTER)
    pipeline.target.at[SHIFTING] = lambda: steal(pipeline.target, Environment.PRODUCTION, "Ada")
    run = pipeline.run_alone(version)
    pipeline.target.place.fail_next("record", "Production does not answer.")
    with pytest.raises(TargetError):
        pipeline.after(run)
    assert pipeline.attempts(version) == []
    recovery.take_over(pipeline.target, Environment.PRODUCTION, "Ada", pipeline.clock)
    monkeypatch.setattr(record_attempt, "SENSORS_SECONDS", -1e6)
    for _ in range(2):
        pipeline.tick("reconcile")
    assert [attempt.outcome for attempt in pipeline.attempts(version)] == [Outcome.ERROR]


def test_a_notice_about_an_error_names_the_image_and_what_serves(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    pipeline.target.at[SHIFTING] = lambda: steal(pipeline.target, Environment.PRODUCTION, "Ada")
    pipeline.run(version)
    digest = pipeline.audit_log.attempts(version)[0].digest
    assert digest
    (notice,) = [notice for notice in pipeline.sent if f"version {version} " in notice.title]
    assert f"Image: {digest[:19]}. Production serves version {FIRST}." in notice.body


def test_after_resuming_a_held_production_the_next_delivery_goes_through(pipeline: PipelineHarness) -> None:
    held = pipeline.stage(BETTER)
    pipeline.target.at[SHIFTING] = lambda: pipeline.target.place.edit_replicas(Environment.PRODUCTION, Colour.BLUE, 3)
    pipeline.run(held)
    assert pipeline.target.record(Environment.PRODUCTION).phase is Phase.DRIFTED
    recovery.resume(pipeline.target, Environment.PRODUCTION, "Ada", pipeline.clock)
    is_at_rest(pipeline, FIRST)
    following = pipeline.stage(BETTER)
    ends(pipeline, following, pipeline.run(following), Outcome.RELEASED)


def test_what_is_not_held_cannot_be_resumed_and_nobody_is_robbed(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)

    def resume() -> None:
        with pytest.raises(TargetError, match="Production is not held"):
            recovery.resume(pipeline.target, Environment.PRODUCTION, "Ada", pipeline.clock)

    pipeline.target.at[SHIFTING] = resume
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)


def test_a_watch_takes_out_what_it_watched_and_revokes_nothing_that_came_after(pipeline: PipelineHarness) -> None:
    bad, innocent = pipeline.stage(BETTER), pipeline.stage(BETTER)
    pipeline.run(bad)
    digest = pipeline.attempts(bad)[0].digest

    def undo() -> None:
        pipeline.roll_back(actor="production_watch", reason="Errors.", digest=digest)

    pipeline.target.at[COMPARING] = undo
    pipeline.run(innocent)
    assert [attempt.revoked for attempt in pipeline.attempts(bad)] == [True, False]
    assert [attempt.revoked for attempt in pipeline.attempts(innocent)] == [False]
    is_at_rest(pipeline, FIRST)
    with pytest.raises(NothingToRollBackError, match="not in production any more"):
        undo()


def test_a_lost_cursor_does_not_supersede_what_waits_for_a_person(pipeline: PipelineHarness) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"freeze": True}))
    parked = [pipeline.stage(BETTER), pipeline.stage(BETTER)]
    for version in parked:
        pipeline.run(version)
    pipeline.tick("staged_versions", cursor=None)
    for version in parked:
        assert [attempt.outcome for attempt in pipeline.attempts(version)] == [Outcome.PARKED]
        assert pipeline.registry.describe(version).stage == "Staging"
