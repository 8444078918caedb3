"""Something fails at the worst moment: what was decided, who is told, and what may be done next stay right."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest

from banana_delivery.delivery import record_attempt, rollback
from banana_delivery.delivery.record_attempt import record
from banana_delivery.delivery.rollback import NothingToRollBackError, roll_back
from banana_delivery.evaluation.fake import FakeEvidence, FakeLoad
from banana_delivery.images.base import ImageError
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment, ImageRef, Outcome, Phase
from banana_delivery.runs.audit_log import History
from banana_delivery.targets.base import TargetError
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World

BETTER = 0.999
SHIFTING = Moment(Environment.PRODUCTION, Phase.SHIFTING)
COMPARING = Moment(Environment.PRODUCTION, Phase.COMPARING)


class ForgetfulRegistry(FakeImages):
    """An image store that is away whenever ``stable`` is to be moved."""

    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        if "stable" in tags:
            raise ImageError("The registry does not answer.")
        super().tag(ref, tags)


def test_a_release_is_released_although_the_tag_stable_could_not_be_moved(world: World) -> None:
    forgetful = ForgetfulRegistry()
    vars(forgetful).update(vars(world.services.images))
    world.change(images=forgetful)
    second = world.stage(BETTER)
    ends(world, second, world.run(second), Outcome.RELEASED)


def test_a_rollback_counts_although_the_bad_colour_could_not_be_scaled_down(world: World) -> None:
    second = world.stage(BETTER)

    def break_candidate_and_its_scaling() -> None:
        world.break_candidate(error_rate=1.0)
        world.target.place.fail_next("scale", "The quota is used up.")

    world.target.at[SHIFTING] = break_candidate_and_its_scaling
    ends(world, second, world.run(second), Outcome.ROLLED_BACK)
    world.tick("cool_down")
    is_at_rest(world, FIRST)


@pytest.mark.parametrize("moment", [COMPARING, SHIFTING], ids=str)
def test_users_are_brought_back_before_anybody_waits_for_what_a_hanging_candidate_owes_to_the_probe(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    weights_at_the_end: list[dict[Colour, int]] = []

    @contextmanager
    def lingering(evidence: FakeEvidence, url: str) -> Iterator[FakeLoad]:
        with probe(evidence, url) as load:
            yield load
        weights_at_the_end.append(world.weights)

    probe = FakeEvidence.probe
    monkeypatch.setattr(FakeEvidence, "probe", lingering)
    world.target.at[moment] = lambda: world.break_candidate(error_rate=1.0)
    world.run(world.stage(BETTER))
    assert weights_at_the_end[-1] == {Colour.BLUE: 100, Colour.GREEN: 0}


def test_a_rollback_uses_the_replicas_that_are_warm_however_many_the_bad_release_has_grown_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(world.stage(BETTER))
    warm = world.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas
    monkeypatch.setattr(world.target, "default_replicas", lambda _: 9)
    roll_back(world.instance, world.services, actor="Ada", reason="It looks wrong.", log=print)
    assert world.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == warm
    is_at_rest(world, FIRST)


def test_that_a_version_was_revoked_is_written_down_although_its_run_has_a_line(world: World) -> None:
    second = world.stage(BETTER)
    run = world.run(second)
    undone = AttemptRecord(
        version=second,
        outcome=Outcome.ROLLED_BACK,
        reason="By hand.",
        run_id=run.run_id,
        at=world.clock.far,
        revoked=True,
    )
    for _ in range(2):
        record(world.instance, world.services, undone)
    assert [attempt.outcome for attempt in world.attempts(second)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    assert [notice.title for notice in world.told if "ROLLED BACK" in notice.title] != []


@pytest.mark.parametrize("revoked", [False, True], ids=["frozen", "revoked"])
def test_what_may_not_enter_production_meets_none_of_its_users(world: World, revoked: bool) -> None:
    version = world.stage(BETTER)
    if revoked:
        world.run(version)
        roll_back(world.instance, world.services, actor="Ada", reason="It looks wrong.", log=print)
        world.registry.stage(version)
    else:
        world.change(settings=world.services.settings.model_copy(update={"freeze": True}))
    world.target.calls.clear()
    world.run(version)
    assert world.attempts(version)[0].outcome is (Outcome.REJECTED if revoked else Outcome.PARKED)
    assert [call for call in world.target.calls if call.startswith(("deploy production", "set_weights"))] == []


def test_a_run_whose_end_could_not_be_written_down_gets_its_line_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = world.stage(BETTER)
    world.target.at[SHIFTING] = lambda: world.target.claim(Environment.PRODUCTION, "Ada", steal=True)
    run = world.run_alone(version)
    world.target.place.fail_next("record", "Production does not answer.")
    with pytest.raises(TargetError):
        world.after(run)
    assert world.attempts(version) == []
    rollback.take_over(world.target, Environment.PRODUCTION, "Ada")
    monkeypatch.setattr(record_attempt, "SENSORS_SECONDS", -10.0)
    for _ in range(2):
        world.tick("reconcile")
    assert [attempt.outcome for attempt in world.attempts(version)] == [Outcome.ERROR]


def test_a_notice_about_an_error_names_the_image_and_what_serves(world: World) -> None:
    version = world.stage(BETTER)
    world.target.at[SHIFTING] = lambda: world.target.claim(Environment.PRODUCTION, "Ada", steal=True)
    world.run(version)
    digest = History(world.instance).attempts(version)[0].digest
    assert digest
    (notice,) = [notice for notice in world.told if f"version {version} " in notice.title]
    assert f"Image: {digest[:19]}. Production serves version {FIRST}." in notice.body


def test_after_resuming_a_held_production_the_next_delivery_goes_through(world: World) -> None:
    held = world.stage(BETTER)
    world.target.at[SHIFTING] = lambda: world.target.place.edit_replicas(Environment.PRODUCTION, Colour.BLUE, 3)
    world.run(held)
    assert world.target.record(Environment.PRODUCTION).phase is Phase.HELD
    rollback.resume(world.target, Environment.PRODUCTION, "Ada")
    is_at_rest(world, FIRST)
    following = world.stage(BETTER)
    ends(world, following, world.run(following), Outcome.RELEASED)


def test_what_is_not_held_cannot_be_resumed_and_nobody_is_robbed(world: World) -> None:
    version = world.stage(BETTER)

    def resume() -> None:
        with pytest.raises(TargetError, match="Production is not held"):
            rollback.resume(world.target, Environment.PRODUCTION, "Ada")

    world.target.at[SHIFTING] = resume
    ends(world, version, world.run(version), Outcome.RELEASED)


def test_a_watch_takes_out_what_it_watched_and_revokes_nothing_that_came_after(world: World) -> None:
    bad, innocent = world.stage(BETTER), world.stage(BETTER)
    world.run(bad)
    digest = world.attempts(bad)[0].digest

    def undo() -> None:
        roll_back(world.instance, world.services, actor="production_watch", reason="Errors.", digest=digest, log=print)

    world.target.at[COMPARING] = undo
    world.run(innocent)
    assert [attempt.revoked for attempt in world.attempts(bad)] == [True, False]
    assert [attempt.revoked for attempt in world.attempts(innocent)] == [False]
    is_at_rest(world, FIRST)
    with pytest.raises(NothingToRollBackError, match="not in production any more"):
        undo()


def test_a_lost_cursor_does_not_supersede_what_waits_for_a_person(world: World) -> None:
    world.change(settings=world.services.settings.model_copy(update={"freeze": True}))
    parked = [world.stage(BETTER), world.stage(BETTER)]
    for version in parked:
        world.run(version)
    world.tick("staged_versions", cursor=None)
    for version in parked:
        assert [attempt.outcome for attempt in world.attempts(version)] == [Outcome.PARKED]
        assert world.registry.describe(version).stage == "Staging"
